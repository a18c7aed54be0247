//! The hub, and the proxies that are compared: each a process of its own, so that its CPU is not ours.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::bank::Bank;
use crate::common::poll::found;
use crate::common::softhsm::MODULE;
use crate::common::trust_framework::write_file;
use crate::processes;

/// What the hub answers.
pub const BODY: &[u8] = b"established\n";
/// Where the hub ends the connection after its answer. Everywhere else it keeps it.
pub const ONCE: &str = "/once";
/// Where the hub says how many connections it was asked over.
const COUNT: &str = "/count";

/// A server that ends with its value.
pub struct Server {
    child: Child,
    pub port: u16,
    dir: TempDir,
}

impl Server {
    /// Starts a program whose configuration is written by `configure`, given a folder and a port.
    fn start(
        command: impl FnOnce(&Path) -> Command,
        configure: impl FnOnce(&Path, u16),
    ) -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a folder for a server");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        configure(dir.path(), port);
        let log = fs::File::create(dir.path().join("output")).expect("a log");
        let mut child = command(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let listens = found(|| {
            let ended = child.try_wait().ok().flatten().is_some();
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            (ended || connected).then_some(connected)
        });
        let server = Self { child, port, dir };
        match listens {
            Some(true) => Ok(server),
            _ => Err(server.failed()),
        }
    }

    /// Shows what it wrote, and says for the table that it failed.
    pub fn failed(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        eprintln!("{}{}", read("output"), read("error.log"));
        "does not work here".to_owned()
    }

    /// The process and those below it.
    pub fn processes(&self) -> Vec<u32> {
        processes::tree(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // SIGTERM, so that a master takes its workers with it.
        let id = self.child.id().to_string();
        let asked = Command::new("kill").arg(&id).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find(|program| program.is_file())
}

/// OpenSSL's engine for PKCS#11, where libengine-pkcs11-openssl is installed.
fn engine() -> Option<PathBuf> {
    let architectures = fs::read_dir("/usr/lib").ok()?.flatten();
    architectures
        .map(|folder| folder.path().join("engines-3/pkcs11.so"))
        .find(|engine| engine.is_file())
}

fn nginx(extra: &str, http: &str) -> String {
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

fn nginx_command(dir: &Path) -> Command {
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

/// nginx that requires a certificate of the bank's Trust Framework, with TLS 1.3 and no resumption.
pub fn hub(bank: &Bank) -> Server {
    let identity = bank.framework.issue_server(&["localhost", "127.0.0.1"]);
    let configure = |dir: &Path, port| {
        write_file(&dir.join("server.pem"), &identity.chain_pem, 0o644);
        write_file(&dir.join("server-key.pem"), &identity.key_pem, 0o600);
        write_file(
            &dir.join("clients.pem"),
            &bank.framework.bundle_pem(),
            0o644,
        );
        let body = String::from_utf8_lossy(BODY).replace('\n', "\\n");
        let http = format!(
            "server {{ listen 127.0.0.1:{port} ssl backlog=4096; ssl_certificate server.pem; ssl_certificate_key server-key.pem;\n\
             ssl_protocols TLSv1.3; ssl_client_certificate clients.pem; ssl_verify_client on; ssl_verify_depth 2;\n\
             ssl_session_tickets off; ssl_session_cache off; keepalive_requests 1000000; location / {{ return 200 \"{body}\"; }}\n\
             location {ONCE} {{ keepalive_timeout 0; return 200 \"{body}\"; }}\n\
             location {COUNT} {{ stub_status; }} }}"
        );
        write_file(&dir.join("nginx.conf"), &nginx("", &http), 0o644);
    };
    Server::start(nginx_command, configure).unwrap_or_else(|why| panic!("the hub: {why}"))
}

/// Connections that the hub has accepted and requests that it was asked, so far; asked through a
/// proxy, because the hub wants a certificate of its callers.
pub fn hub_counts(proxy: u16) -> (u64, u64) {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy))?;
        let head = format!("GET {COUNT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().expect("the hub's counts");
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

/// A row of the table that may be missing.
pub type Peer = Result<Server, String>;

const NOT_INSTALLED: &str = "not installed";

/// nginx as a proxy, whose key is in the token by OpenSSL's engine: a connection to the hub for each
/// request, and no log.
pub fn nginx_with_engine(bank: &Bank, hub: &Server) -> Peer {
    let port = hub.port;
    let locations = format!("location / {{ proxy_pass https://127.0.0.1:{port}; }}");
    with_engine(bank, "", &locations)
}

/// The same as it is operated: with its access log, and with connections to the hub that are kept,
/// except where the hub ends them.
pub fn nginx_kept_alive(bank: &Bank, hub: &Server) -> Peer {
    let upstream = format!(
        "upstream hub {{ server 127.0.0.1:{}; keepalive 64; keepalive_requests 1000000; }}",
        hub.port
    );
    let locations = "access_log access.log; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         location / { proxy_pass https://hub; }";
    with_engine(bank, &upstream, locations)
}

fn with_engine(bank: &Bank, upstream: &str, locations: &str) -> Peer {
    let engine = engine().ok_or(NOT_INSTALLED)?;
    let pin = fs::read_to_string(bank.token.pin_file()).map_err(|error| error.to_string())?;
    let openssl_conf = bank.write(
        "openssl.cnf",
        &format!(
            "openssl_conf = start\n[start]\nengines = all\n[all]\npkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\n\
             dynamic_path = {}\nMODULE_PATH = {MODULE}\ninit = 1\n",
            engine.display()
        ),
    );
    let configure = |dir: &Path, port| {
        let certificate = bank.path("c3.pem");
        let key = format!(
            "engine:pkcs11:pkcs11:token={};object=c3;type=private;pin-value={}",
            bank.token.label(),
            pin.trim()
        );
        write_file(&dir.join("roots.pem"), &bank.framework.bundle_pem(), 0o644);
        let http = format!(
            "{upstream}\nserver {{ listen 127.0.0.1:{port}; keepalive_requests 1000000;\n\
             proxy_ssl_certificate {}; proxy_ssl_certificate_key \"{key}\"; proxy_ssl_session_reuse off; proxy_ssl_protocols TLSv1.3;\n\
             proxy_ssl_verify on; proxy_ssl_verify_depth 2; proxy_ssl_trusted_certificate roots.pem; proxy_ssl_name localhost;\n\
             {locations} }}",
            certificate.display()
        );
        let extra = "env SOFTHSM2_CONF;\nenv OPENSSL_CONF;";
        write_file(&dir.join("nginx.conf"), &nginx(extra, &http), 0o600);
    };
    let command = |dir: &Path| {
        let mut command = nginx_command(dir);
        command
            .env("SOFTHSM2_CONF", bank.token.conf())
            .env("OPENSSL_CONF", &openssl_conf);
        command
    };
    Server::start(command, configure)
}

/// stunnel with the same engine. It has no HTTP: each connection to it is one to the hub.
pub fn stunnel_with_engine(bank: &Bank, hub: &Server) -> Peer {
    let program = program(&["stunnel4", "stunnel"]).ok_or(NOT_INSTALLED)?;
    engine().ok_or(NOT_INSTALLED)?;
    let pin = fs::read_to_string(bank.token.pin_file()).map_err(|error| error.to_string())?;
    let configure = |dir: &Path, port| {
        write_file(&dir.join("roots.pem"), &bank.framework.bundle_pem(), 0o644);
        let text = format!(
            "foreground = yes\npid =\ndebug = 3\nengine = pkcs11\nengineCtrl = MODULE_PATH:{MODULE}\nengineCtrl = PIN:{}\n\
             [hub]\nclient = yes\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{}\nengineId = pkcs11\n\
             key = pkcs11:token={};object=c3;type=private\ncert = {}\nCAfile = {}\nverifyChain = yes\n\
             sessionResume = no\nsslVersionMin = TLSv1.3\ncheckHost = localhost\n",
            pin.trim(),
            hub.port,
            bank.token.label(),
            bank.path("c3.pem").display(),
            dir.join("roots.pem").display(),
        );
        write_file(&dir.join("stunnel.conf"), &text, 0o600);
    };
    let command = |dir: &Path| {
        let mut command = Command::new(&program);
        command
            .arg(dir.join("stunnel.conf"))
            .env("SOFTHSM2_CONF", bank.token.conf());
        command
    };
    Server::start(command, configure)
}
