//! `hsm-mtls proxy` as a process of its own, and what it says of itself.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::bank::Bank;
use super::poll::{found, found_within, until};
use super::ports;
use super::procfs::{children, command_line, launched, state, threads};

/// Examples share these fixtures, and cargo does not build the command for them.
pub const BINARY: Option<&str> = option_env!("CARGO_BIN_EXE_hsm-mtls");

/// The default of `stop_timeout`, and some for a busy machine.
const STOPS_WITHIN: Duration = Duration::from_secs(40);

/// A proxy that is killed when it is dropped.
pub struct Proxy {
    child: Child,
    folder: PathBuf,
    operations: SocketAddr,
}

impl Proxy {
    /// With a Unix socket `hub.sock` for this user, one at `tcp` for who knows the token, and
    /// operations; `lines` are further lines of [proxy], `listeners` further sections.
    pub fn configure(bank: &mut Bank, lines: &str, listeners: &str) -> Ports {
        let ports = Ports::unused();
        bank.write("caller-token", TOKEN);
        fs::create_dir_all(bank.path("log")).expect("a folder for the access log");
        let token = bank.path("caller-token");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("its mode");
        let sections = format!(
            r#"
[proxy]
access_log = "log/access.jsonl"
accept_same_user = true
{lines}

[[proxy.listener]]
unix = "hub.sock"

[[proxy.listener]]
tcp = "{}"
callers = {{ token_file = "caller-token" }}

[proxy.operations]
tcp = "{}"
{listeners}
"#,
            ports.tcp, ports.operations
        );
        bank.configure(|settings| settings.sections = sections);
        ports
    }

    /// Starts it, and waits until it is ready.
    pub fn start(bank: &Bank, ports: Ports) -> Self {
        Self::start_with(bank, ports, &[])
    }

    pub fn start_with(bank: &Bank, ports: Ports, environment: &[(&str, PathBuf)]) -> Self {
        let log = File::options()
            .append(true)
            .create(true)
            .open(bank.path("proxy.log"))
            .expect("a log");
        let mut command = Self::command(bank, &[]);
        command
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::null())
            .stderr(log);
        Self::start_command(bank, ports, command)
    }

    /// To be started, by `before` where that is not empty.
    pub fn command(bank: &Bank, before: &[&str]) -> Command {
        let program = BINARY.expect("cargo tells tests where the command is");
        let mut words = before.iter().copied().chain([program]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .arg("--config")
            .arg(bank.config_path())
            .arg("proxy")
            .env_remove("SOFTHSM2_CONF")
            .stdin(Stdio::null());
        command
    }

    /// Starts what [`Self::command`] made, with other streams, and waits until it is ready.
    pub fn start_command(bank: &Bank, ports: Ports, mut command: Command) -> Self {
        let mut proxy = Self {
            child: command.spawn().expect("hsm-mtls runs"),
            folder: bank.folder().to_owned(),
            operations: ports.operations,
        };
        let up = found(|| {
            let ended = proxy.child.try_wait().expect("its state");
            if let Some(status) = ended {
                return Some(Err(status));
            }
            let (status, _) = get(proxy.operations, "/healthz")?;
            (status == 200).then_some(Ok(()))
        });
        assert_eq!(up, Some(Ok(())), "{}", proxy.log());
        proxy
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("hub.sock")
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("proxy.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process that parses the network: by its command line, which a process that ends has no more.
    pub fn front_end(&self) -> Option<u32> {
        let mut launched = launched(self.pid()).into_iter();
        launched.find(|pid| command_line(*pid).ends_with(b"front-end\0"))
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end, which may take as long as `stop_timeout`.
    pub fn ended(mut self) -> ExitStatus {
        let ended = found_within(STOPS_WITHIN, || self.child.try_wait().expect("its state"));
        ended.unwrap_or_else(|| panic!("it goes on:\n{}", self.log()))
    }

    pub fn operations(&self, path: &str) -> (u16, String) {
        get(self.operations, path).expect("operations answer")
    }

    pub fn ready(&self) -> Value {
        let (_, text) = self.operations("/readyz");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A counter or gauge of /metrics, its labels in any order; 0 where it is not there.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = self.operations("/metrics");
        let label = |(name, value): &(&str, &str)| format!("{name}=\"{value}\"");
        let fit = |line: &&str| {
            let own = line.split(['{', ' ']).next() == Some(name);
            own && labels.iter().all(|found| line.contains(&label(found)))
        };
        text.lines()
            .filter(fit)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until so many connections to a service are ready.
    pub fn warm(&self, upstream: &str, connections: u64) {
        until("warm connections", || {
            let ready = self.ready();
            let mut all = ready["upstreams"].as_array().expect("upstreams").iter();
            all.any(|found| {
                found["name"] == upstream
                    && found["ready_connections"].as_u64().unwrap_or(0) >= connections
            })
        });
    }

    /// Lines of the access log, once there are so many.
    pub fn accesses(&self, count: usize) -> Vec<Value> {
        let read = || {
            let text = fs::read_to_string(self.folder.join("log/access.jsonl")).unwrap_or_default();
            let lines: Vec<Value> = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            (lines.len() >= count).then_some(lines)
        };
        found(read).unwrap_or_else(|| panic!("{count} lines of the access log"))
    }

    /// Sends bytes over the Unix socket, and reads to the end.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(&self.socket(), bytes)
    }

    /// A GET that asks for the connection to be closed: status and the whole answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = self.raw(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        );
        let text = String::from_utf8_lossy(&answer).into_owned();
        (status(&text), text)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let started = [children(self.child.id()), launched(self.child.id())].concat();
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its own end with it, a moment later: until then they hold its sockets.
        // Of one with several threads, the last of those does.
        let gone = |pid: &u32| state(*pid).is_none_or(|state| state == 'Z') && threads(*pid) <= 1;
        let _ = found(|| started.iter().all(gone).then_some(()));
    }
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub tcp: SocketAddr,
    pub operations: SocketAddr,
}

impl Ports {
    fn unused() -> Self {
        let [tcp, operations] = [(); 2].map(|()| (Ipv4Addr::LOCALHOST, ports::unused()).into());
        Self { tcp, operations }
    }
}

/// What callers over TCP know.
pub const TOKEN: &str = "0123456789abcdef-caller_TOKEN";

/// Sends bytes, and reads to the end.
pub fn exchange(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("the proxy listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time-out");
    // It may refuse before all is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    // A reset after the answer is an end as well.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The status of an answer; 0 where there is none.
pub fn status(answer: &str) -> u16 {
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// The JSON body of an answer.
pub fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let code = status(&answer);
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((code, body.to_owned()))
}
