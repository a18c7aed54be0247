//! `openssl s_server`, `gnutls-serv` and Java's server as processes of their own. Each answers a request with what it saw
//! of the connection.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::poll::found;
use crate::common::ports;
use crate::common::trust_framework::write_file;
use crate::peer::{Served, TlsVersion};

/// The files that each of them is given.
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server-key.pem";
const CLIENTS: &str = "clients.pem";

/// A server that is killed when it is dropped.
pub struct ServerProcess {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl ServerProcess {
    /// Its page about the connection ends with the client's certificate.
    pub fn openssl(version: TlsVersion, served: &Served) -> Self {
        let (dir, port) = (folder(served), ports::unused());
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-www", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["-cert", SERVER, "-key", SERVER_KEY, "-cert_chain", SERVER])
            .args(["-Verify", "2", "-verify_return_error", "-CAfile", CLIENTS])
            .arg(match version {
                TlsVersion::Tls12 => "-tls1_2",
                TlsVersion::Tls13 => "-tls1_3",
            });
        Self::listening(command, dir, port)
    }

    /// It cannot be told an address: it listens at all of the machine's.
    pub fn gnutls(version: TlsVersion, served: &Served) -> Self {
        let (dir, port) = (folder(served), ports::unused());
        let version = match version {
            TlsVersion::Tls12 => "VERS-TLS1.2",
            TlsVersion::Tls13 => "VERS-TLS1.3",
        };
        let mut command = Command::new("gnutls-serv");
        command
            .args(["--http", "--require-client-cert", "--verify-client-cert"])
            .arg(format!("--priority=NORMAL:-VERS-ALL:+{version}"))
            .arg(format!("--port={port}"))
            .arg(format!("--x509certfile={SERVER}"))
            .arg(format!("--x509keyfile={SERVER_KEY}"))
            .arg(format!("--x509cafile={CLIENTS}"));
        Self::listening(command, dir, port)
    }

    /// It binds a port of its own and prints it.
    pub fn java(version: TlsVersion, served: &Served) -> Self {
        let dir = folder(served);
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/interop/ClientCertificateServer.java"
        );
        let mut child = Command::new("java")
            .arg(source)
            .arg(dir.path())
            .arg(version.with_v())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java: make test installs it");
        let mut port = String::new();
        let printed = child.stdout.take().expect("its output");
        BufReader::new(printed)
            .read_line(&mut port)
            .expect("its port");
        Self {
            port: port.trim().parse().expect("the port of Java's server"),
            child,
            _dir: dir,
        }
    }

    fn listening(mut command: Command, dir: TempDir, port: u16) -> Self {
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; make test installs it"));
        let mut server = Self {
            child,
            port,
            _dir: dir,
        };
        let listens = found(|| {
            if let Some(status) = server.child.try_wait().expect("its state") {
                return Some(Err(status));
            }
            let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            connection.is_ok().then_some(Ok(()))
        });
        assert_eq!(listens, Some(Ok(())), "{command:?}");
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder(served: &Served) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder for the server");
    let put = |name: &str, text: &str, mode| write_file(&path(&dir, name), text, mode);
    put(SERVER, &served.server.chain_pem, 0o644);
    put(SERVER_KEY, &served.server.key_pem, 0o600);
    put(CLIENTS, &served.client_roots_pem, 0o644);
    dir
}

fn path(dir: &TempDir, name: &str) -> PathBuf {
    Path::new(dir.path()).join(name)
}
