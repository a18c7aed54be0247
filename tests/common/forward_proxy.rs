//! Forward proxies that we did not write, started as they are installed: squid and tinyproxy; and stunnel before one of them, for
//! a forward proxy that is at https.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::getuid;
use tempfile::TempDir;

use super::poll::found;
use super::ports;
use super::trust_framework::{ServerIdentity, write_file};

/// The account of the tests, of letters that tinyproxy takes.
pub const USER: &str = "svc-hsm";
pub const PASSWORD: &str = "p4ss.W0rd-of-the-proxy";

/// Squid is slow at its first start, since it looks for host names.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(40);

/// Whom a forward proxy serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    All,
    /// Who sends [`USER`] and [`PASSWORD`].
    Account,
    /// Nobody who asks for the hub.
    Nobody,
}

/// A forward proxy on 127.0.0.1 that stops when it is dropped.
pub struct ForwardProxy {
    child: Child,
    port: u16,
    dir: TempDir,
    log: &'static str,
}

impl ForwardProxy {
    pub fn squid(serves: Serves) -> Self {
        let dir = folder();
        let port = ports::unused();
        let path = dir.path().display();
        let rules = match serves {
            Serves::All => "http_access allow all".to_owned(),
            Serves::Nobody => "http_access deny all".to_owned(),
            Serves::Account => {
                let line = good(Command::new("openssl").args(["passwd", "-apr1", PASSWORD]));
                let file = format!("{USER}:{}\n", line.trim());
                write_file(&dir.path().join("passwd"), &file, 0o644);
                format!(
                    "auth_param basic program /usr/lib/squid/basic_ncsa_auth {path}/passwd\n\
                     auth_param basic children 2\nauth_param basic realm tests\n\
                     acl account proxy_auth REQUIRED\nhttp_access allow account\nhttp_access deny all"
                )
            }
        };
        let user = match getuid().is_root() {
            true => "cache_effective_user proxy\ncache_effective_group proxy\n",
            false => "",
        };
        let text = format!(
            "http_port 127.0.0.1:{port}\n{user}pid_filename {path}/squid.pid\ncache_log {path}/cache.log\n\
             access_log stdio:{path}/access.log\ncoredump_dir {path}\nvisible_hostname forward-proxy.test\n\
             unique_hostname forward-proxy-{port}.test\nshutdown_lifetime 0 seconds\ncache deny all\nicon_directory /usr/share/squid/icons\n\
             hosts_file /etc/hosts\nconnect_timeout 5 seconds\npinger_enable off\nmax_filedescriptors 1024\n{rules}\n"
        );
        write_file(&dir.path().join("squid.conf"), &text, 0o644);
        let mut command = Command::new(program("squid"));
        command.args(["-N", "-n", &format!("test{port}"), "-f"]);
        command.arg(dir.path().join("squid.conf"));
        Self::start(command, port, dir, "access.log")
    }

    pub fn tinyproxy(serves: Serves) -> Self {
        let dir = folder();
        let port = ports::unused();
        let path = dir.path().display();
        let rules = match serves {
            Serves::All => String::new(),
            Serves::Account => format!("BasicAuth {USER} {PASSWORD}\n"),
            Serves::Nobody => "ConnectPort 1\n".to_owned(),
        };
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nLogFile \"{path}/tinyproxy.log\"\nLogLevel Connect\n\
             PidFile \"{path}/tinyproxy.pid\"\nMaxClients 200\nAllow 127.0.0.1\n{rules}"
        );
        write_file(&dir.path().join("tinyproxy.conf"), &text, 0o644);
        let mut command = Command::new(program("tinyproxy"));
        command
            .arg("-d")
            .arg("-c")
            .arg(dir.path().join("tinyproxy.conf"));
        Self::start(command, port, dir, "tinyproxy.log")
    }

    /// TLS before a forward proxy at this port.
    pub fn stunnel(server: &ServerIdentity, to: u16) -> Self {
        let dir = folder();
        let port = ports::unused();
        let path = dir.path().display();
        let both = format!("{}{}", server.key_pem, server.chain_pem);
        write_file(&dir.path().join("server.pem"), &both, 0o600);
        // verify = 0: whoever connects is asked for a certificate, and need not have one. What came is in the log.
        let text = format!(
            "foreground = yes\npid =\noutput = {path}/stunnel.log\ndebug = info\n[proxy]\naccept = 127.0.0.1:{port}\n\
             connect = 127.0.0.1:{to}\ncert = {path}/server.pem\nverify = 0\n"
        );
        write_file(&dir.path().join("stunnel.conf"), &text, 0o644);
        let mut command = Command::new(program("stunnel4"));
        command.arg(dir.path().join("stunnel.conf"));
        Self::start(command, port, dir, "stunnel.log")
    }

    fn start(mut command: Command, port: u16, dir: TempDir, log: &'static str) -> Self {
        let output = fs::File::create(dir.path().join("output")).expect("a file");
        let errors = output.try_clone().expect("a file");
        let mut child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("a forward proxy");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let up =
            super::poll::found_within(PATIENCE, || match child.try_wait().expect("its state") {
                Some(status) => Some(Err(status)),
                None => TcpStream::connect(addr).is_ok().then_some(Ok(())),
            });
        let proxy = Self {
            child,
            port,
            dir,
            log,
        };
        assert!(
            matches!(up, Some(Ok(()))),
            "{command:?} {up:?}: {}",
            proxy.all_logs()
        );
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The log of its connections.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join(self.log)).unwrap_or_default()
    }

    /// Waits until the log has this.
    pub fn logged(&self, what: &str) {
        let logged = found(|| self.log().contains(what).then_some(()));
        assert!(logged.is_some(), "{what}: {}", self.all_logs());
    }

    fn all_logs(&self) -> String {
        let names = ["output", "cache.log", self.log];
        let texts = names.map(|name| fs::read_to_string(self.dir.path().join(name)));
        texts.map(Result::unwrap_or_default).join("\n")
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        // Its helpers end with it, at SIGTERM.
        let pid = self.child.id().to_string();
        let _sent = Command::new("kill").args(["-TERM", &pid]).status();
        let ended = found(|| self.child.try_wait().ok().flatten());
        if ended.is_none() {
            let _killed = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

/// A folder in which a server writes that has given up being root.
fn folder() -> TempDir {
    let dir = TempDir::new().expect("a folder");
    if getuid().is_root() {
        let uid = good(Command::new("id").args(["-u", "proxy"]));
        let uid = uid.trim().parse().expect("a uid");
        chown(dir.path(), Some(uid), None).expect("its folder");
    }
    dir
}

fn good(command: &mut Command) -> String {
    let output = command.output().expect("make test installs it");
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn program(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin"].map(Path::new);
    let mut programs = folders.iter().map(|folder| folder.join(name));
    let found = programs.find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: make test installs it"))
}
