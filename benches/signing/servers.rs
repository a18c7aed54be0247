//! The servers of the benchmark: the hubs, and how a server is started, started again and ended. Each is a process of
//! its own, so that its CPU is not that of what is measured.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, RsaKeySize, SanType,
    string::Ia5String,
};
use tempfile::TempDir;

use crate::common::bank::Bank;
use crate::common::poll::found;
use crate::common::trust_framework::write_file;
use crate::processes;

/// What the hub answers.
pub const BODY: &[u8] = b"established\n";
/// Where the hub ends the connection after its answer. Everywhere else it keeps it.
pub const ONCE: &str = "/once";
/// Where the hub serves files of its folder `bodies`, and takes uploads.
pub const BODIES: &str = "/bodies/";
/// Where the hub says how many connections it was asked over.
const COUNT: &str = "/count";
/// How long a server that is started again may take until it answers.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two tries of [`first_answer`]: short beside what is measured.
const TRY_AGAIN: Duration = Duration::from_micros(200);

/// A server that ends with its value.
pub struct Server {
    child: Child,
    command: Box<dyn Fn(&Path) -> Command>,
    pub port: u16,
    dir: TempDir,
}

/// The type of the hub's own key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HubKey {
    P256,
    Rsa2048,
}

impl HubKey {
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::Rsa2048 => "RSA-2048",
        }
    }
}

impl Server {
    /// Starts a program whose configuration is written by `configure`, given a folder and a port.
    pub fn start(
        command: impl Fn(&Path) -> Command + 'static,
        configure: impl FnOnce(&Path, u16),
    ) -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a folder for a server");
        let port = free_port();
        configure(dir.path(), port);
        let child = spawn(command(dir.path()), dir.path())?;
        let mut server = Self {
            child,
            command: Box::new(command),
            port,
            dir,
        };
        let listens = found(|| {
            let ended = server.child.try_wait().ok().flatten().is_some();
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            (ended || connected).then_some(connected)
        });
        match listens {
            Some(true) => Ok(server),
            _ => Err(server.failed()),
        }
    }

    /// Ends it, starts it again, and tells the time until it answers.
    pub fn start_again(&mut self, path: &str) -> Result<Duration, String> {
        end(&mut self.child);
        let began = Instant::now();
        self.child = spawn((self.command)(self.dir.path()), self.dir.path())?;
        first_answer(self.port, path, began).ok_or_else(|| self.failed())
    }

    /// Shows what it wrote, and says for the table that it failed.
    pub fn failed(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        eprintln!("{}{}", read("output"), read("error.log"));
        "does not work here".to_owned()
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The process and those below it.
    pub fn processes(&self) -> Vec<u32> {
        processes::tree(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(mut command: Command, dir: &Path) -> Result<Child, String> {
    let log = fs::File::create(dir.join("output")).expect("a log");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .map_err(|error| error.to_string())
}

/// SIGTERM, so that a master takes its workers with it.
pub fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let asked = Command::new("kill").arg(child.id().to_string()).status();
    if !asked.is_ok_and(|status| status.success()) {
        let _ = child.kill();
    }
    let _ = child.wait();
}

/// A port of this machine that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// The time from `began` to the end of the first good answer at a port; `None` where none came.
pub fn first_answer(port: u16, path: &str, began: Instant) -> Option<Duration> {
    while began.elapsed() < STARTS_WITHIN {
        if answer(port, path).is_some_and(|text| text.starts_with("HTTP/1.1 200")) {
            return Some(began.elapsed());
        }
        std::thread::park_timeout(TRY_AGAIN);
    }
    None
}

/// The whole answer to a GET, whose connection is closed after it.
fn answer(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The first of these programs that is installed.
pub fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find(|program| program.is_file())
}

/// A configuration of nginx with two workers.
pub fn nginx(extra: &str, http: &str) -> String {
    // Workers are root too where the master is: they open the token's files.
    let root =
        fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let user = if root { "user root;" } else { "" };
    format!(
        "daemon off;\nworker_processes 2;\npid nginx.pid;\nerror_log error.log error;\n{user}\n{extra}\n\
         events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\nclient_body_temp_path body;\n\
         proxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n{http}\n}}\n"
    )
}

pub fn nginx_command(dir: &Path) -> Command {
    let mut command = Command::new(program(&["nginx"]).expect("nginx: make bench installs it"));
    let conf = dir.join("nginx.conf");
    let log = dir.join("error.log");
    command
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(conf)
        .arg("-e")
        .arg(log);
    command
}

/// nginx that requires a certificate of the bank's Trust Framework, with TLS 1.3. Its address is 127.0.0.1: no name is
/// resolved for a connection. `resumes` says whether it gives out session tickets.
pub fn hub(bank: &Bank, key: HubKey, resumes: bool) -> Server {
    let (chain, key) = match key {
        HubKey::P256 => {
            let identity = bank.framework.issue_server(&["localhost", "127.0.0.1"]);
            (identity.chain_pem, identity.key_pem)
        }
        HubKey::Rsa2048 => rsa_identity(bank),
    };
    let configure = |dir: &Path, port| {
        write_file(&dir.join("server.pem"), &chain, 0o644);
        write_file(&dir.join("server-key.pem"), &key, 0o600);
        write_file(
            &dir.join("clients.pem"),
            &bank.framework.bundle_pem(),
            0o644,
        );
        fs::create_dir(dir.join("bodies")).expect("a folder for bodies");
        let body = String::from_utf8_lossy(BODY).replace('\n', "\\n");
        let sessions = match resumes {
            true => "ssl_session_tickets on; ssl_session_cache shared:tls:1m;",
            false => "ssl_session_tickets off; ssl_session_cache off;",
        };
        let http = format!(
            "server {{ listen 127.0.0.1:{port} ssl backlog=4096; ssl_certificate server.pem; ssl_certificate_key server-key.pem;\n\
             ssl_protocols TLSv1.3; ssl_client_certificate clients.pem; ssl_verify_client on; ssl_verify_depth 2;\n\
             {sessions} keepalive_requests 1000000; client_max_body_size 0; location / {{ return 200 \"{body}\"; }}\n\
             location {ONCE} {{ keepalive_timeout 0; return 200 \"{body}\"; }}\n\
             location {BODIES} {{ root {}; }}\n\
             location {COUNT} {{ stub_status; }} }}",
            dir.display()
        );
        write_file(&dir.join("nginx.conf"), &nginx("", &http), 0o644);
    };
    Server::start(nginx_command, configure).unwrap_or_else(|why| panic!("the hub: {why}"))
}

/// A server's certificate for an RSA key, and the key: the fixtures' own servers have P-256 keys.
fn rsa_identity(bank: &Bank) -> (String, String) {
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048);
    let key = key.expect("an RSA key");
    let request = CertificateParams::default().serialize_request(&key);
    let request = request
        .and_then(|request| request.pem())
        .expect("a request");
    let leaf = bank.framework.issue_client_with(&request, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let name = Ia5String::try_from("localhost").expect("ASCII");
        params.subject_alt_names = vec![
            SanType::DnsName(name),
            SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        ];
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "localhost");
    });
    (leaf + &bank.framework.issuing_pem(), key.serialize_pem())
}

/// Connections that the hub has accepted and requests that it was asked, so far; asked through a
/// proxy, because the hub wants a certificate of its callers.
pub fn hub_counts(proxy: u16) -> (u64, u64) {
    let answer = answer(proxy, COUNT).expect("the hub's counts");
    // server accepts handled requests
    //  7 7 12
    let (_, counts) = answer.split_once("requests").expect("nginx's words");
    let counts = counts
        .split_whitespace()
        .map_while(|count| count.parse().ok());
    match counts.collect::<Vec<u64>>()[..] {
        [accepted, _, requests, ..] => (accepted, requests),
        _ => panic!("no counts: {answer}"),
    }
}
