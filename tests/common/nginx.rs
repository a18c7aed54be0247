//! A real nginx as the hub, because what a server of our own accepts proves less than what a stranger's does.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::getuid;
use tempfile::TempDir;

use super::hub::answer::{AFTER_AUTH, AFTER_CONFIRM};
use super::poll::found;
use super::ports;
use super::trust_framework::{ServerIdentity, TrustFramework, write_file};

/// A port that was free can be taken before nginx binds it.
const PORTS_TRIED: usize = 5;

/// What nginx's `ssl_protocols` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Tls12,
    Tls13,
    Both,
}

pub struct NginxOptions {
    pub server: ServerIdentity,
    pub client_roots_pem: String,
    /// `ssl_verify_client on`; otherwise the certificate is not asked for.
    pub verify_client: bool,
    pub protocols: Protocols,
    /// What `/hello-mtls` calls itself.
    pub host_name: String,
    /// Offers HTTP/2 beside HTTP/1.1.
    pub http2: bool,
    /// `keepalive_requests`: after so many it ends a connection, of HTTP/2 by GOAWAY.
    pub requests_per_connection: u32,
    /// `ssl_session_timeout`, in seconds, which a ticket says too.
    pub session_timeout: u32,
    /// A worker beside its master, as it is installed: without one it cannot be [reconfigured](Nginx::reconfigure).
    pub has_master: bool,
}

impl NginxOptions {
    /// Both protocols, certificate required, everything from one Trust Framework.
    pub fn of(framework: &TrustFramework, names: &[&str]) -> Self {
        Self {
            server: framework.issue_server(names),
            client_roots_pem: framework.bundle_pem(),
            verify_client: true,
            protocols: Protocols::Both,
            host_name: names.first().expect("a server name").to_string(),
            http2: false,
            requests_per_connection: 1000,
            session_timeout: 300,
            has_master: false,
        }
    }
}

/// A line of nginx's access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `GET /hello-mtls HTTP/1.1`
    pub request: String,
    pub status: u16,
    /// `SUCCESS`, `NONE` or `FAILED:reason`
    pub verify: String,
    /// `TLSv1.2` or `TLSv1.3`
    pub protocol: String,
    /// SHA-1 of the client certificate in lower-case hex, which is all that nginx offers; `-` without one.
    pub fingerprint: String,
    pub resumed: bool,
}

/// An nginx on 127.0.0.1 that stops when it is dropped.
pub struct Nginx {
    child: Child,
    port: u16,
    dir: TempDir,
    has_master: bool,
}

impl Nginx {
    pub fn start(options: &NginxOptions) -> Self {
        let program = program();
        let dir = TempDir::new().expect("a directory for nginx");
        put_certificates(options, dir.path());
        for _ in 0..PORTS_TRIED {
            let port = ports::unused();
            let text = configuration(options, dir.path(), port);
            write_file(&dir.path().join("nginx.conf"), &text, 0o644);
            if let Some(child) = launch(&program, dir.path(), port) {
                return Self {
                    child,
                    port,
                    dir,
                    has_master: options.has_master,
                };
            }
        }
        panic!("nginx found no port to bind:\n{}", error_log(dir.path()));
    }

    /// Gives it other certificates while it serves, and waits until a new connection has the server's new one. Connections
    /// that are open stay so.
    pub fn reconfigure(&self, options: &NginxOptions) {
        assert!(self.has_master, "only a master starts another worker");
        put_certificates(options, self.dir.path());
        self.signal("HUP");
        let leaf = options.server.chain_pem.split("-----END").next();
        let leaf = leaf.expect("a certificate");
        let is_shown = || {
            let shown = Command::new("openssl")
                .args(["s_client", "-connect", &self.addr().to_string()])
                .stdin(Stdio::null())
                .output()
                .expect("openssl: make test installs it");
            String::from_utf8_lossy(&shown.stdout).contains(leaf)
        };
        let shown = found(|| is_shown().then_some(()));
        assert!(shown.is_some(), "{}", self.error_log());
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill").success());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Serves this text at `/files/` and `name` from now on, last modified so long ago.
    pub fn serve_file(&self, name: &str, text: &str, age: Duration) {
        let path = self.dir.path().join("files").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of nginx");
        write_file(&path, text, 0o644);
        let file = fs::File::options().write(true).open(&path);
        file.and_then(|file| file.set_modified(SystemTime::now() - age))
            .expect("the time of a file");
    }

    /// The requests so far. nginx writes its line after the answer has gone out: [`wait_for_accesses`](Self::wait_for_accesses).
    pub fn accesses(&self) -> Vec<Access> {
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        // The last line counts once it has its end.
        log.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(access)
            .collect()
    }

    pub fn wait_for_accesses(&self, count: usize) -> Vec<Access> {
        let accesses = found(|| Some(self.accesses()).filter(|found| found.len() >= count));
        accesses.unwrap_or_else(|| panic!("{count} expected, seen: {:?}", self.accesses()))
    }

    /// What nginx says about the connections that it refused (its log level is `info`).
    pub fn error_log(&self) -> String {
        error_log(self.dir.path())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // `master_process off`: the child is all of nginx, so nothing outlives it. A master ends its workers.
        if self.has_master {
            self.signal("TERM");
            let _ended = self.child.wait();
        }
        let stopped = self.child.kill().and_then(|()| self.child.wait());
        assert!(
            stopped.is_ok() || std::thread::panicking(),
            "nginx did not stop: {stopped:?}"
        );
    }
}

fn put_certificates(options: &NginxOptions, dir: &Path) {
    let put = |name: &str, text: &str, mode| write_file(&dir.join(name), text, mode);
    put("server.pem", &options.server.chain_pem, 0o644);
    put("server-key.pem", &options.server.key_pem, 0o600);
    put("clients.pem", &options.client_roots_pem, 0o644);
}

/// Starts nginx and waits until it accepts connections; `None` when the port was taken.
fn launch(program: &Path, dir: &Path, port: u16) -> Option<Child> {
    let mut child = Command::new(program)
        .args(["-p", ".", "-c", "nginx.conf", "-e", "error.log"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx started");
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // A connection alone proves nothing: whoever took the port would accept it too.
    let outcome = found(|| match child.try_wait().expect("the state of nginx") {
        Some(status) => Some(Err(status)),
        // The pid file comes after the bind.
        None => {
            (dir.join("nginx.pid").exists() && TcpStream::connect(addr).is_ok()).then_some(Ok(()))
        }
    });
    match outcome {
        Some(Ok(())) => Some(child),
        Some(Err(_)) if error_log(dir).contains("Address already in use") => {
            fs::remove_file(dir.join("error.log")).expect("the old log removed");
            None
        }
        other => {
            let _gone = child.kill().and_then(|()| child.wait());
            panic!("nginx did not start ({other:?}):\n{}", error_log(dir));
        }
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join("nginx"))
        .find(|program| program.is_file())
        .expect("nginx is missing: install it (apt-get install nginx-light)")
}

fn error_log(dir: &Path) -> String {
    fs::read_to_string(dir.join("error.log")).unwrap_or_default()
}

fn access(line: &str) -> Access {
    let mut fields = line.rsplitn(6, '|');
    let mut field = || fields.next().expect("six fields in a log line").to_owned();
    let (reused, fingerprint, protocol, verify) = (field(), field(), field(), field());
    Access {
        status: field().parse().expect("a status in a log line"),
        request: field(),
        verify,
        protocol,
        fingerprint,
        resumed: reused == "r",
    }
}

/// All paths are relative: to the prefix, or (certificates) to the directory of this file, which is the same.
///
/// nginx gives the DNs by RFC 2253 with octets above 127 as `\C3`, and escapes `"` to `\"`. `sub_filter` turns them
/// into JSON strings: the body has no backslash but theirs.
///
/// nginx by itself reads no body that it has no use for. So `/consents/` is asked of a server behind it, and what
/// that one says is filled in with the body.
fn configuration(options: &NginxOptions, dir: &Path, port: u16) -> String {
    let host_name = &options.host_name;
    assert!(
        host_name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b)),
        "{host_name} would need quoting in {}",
        dir.display()
    );
    let verify = if options.verify_client { "on" } else { "off" };
    let protocols = match options.protocols {
        Protocols::Tls12 => "TLSv1.2",
        Protocols::Tls13 => "TLSv1.3",
        Protocols::Both => "TLSv1.2 TLSv1.3",
    };
    let processes = match options.has_master {
        false => "master_process off;",
        // The folder is this user's alone.
        true if getuid().is_root() => "user root;",
        true => "",
    };
    let http2 = if options.http2 { " http2" } else { "" };
    let (requests, timeout) = (options.requests_per_connection, options.session_timeout);
    // One that was left by a try with another port cannot be bound.
    let echo = format!("{}/echo-{port}.sock", dir.display());
    format!(
        r#"daemon off;
{processes}
pid nginx.pid;
error_log error.log info;
events {{}}
http {{
    default_type application/json;
    client_body_temp_path client-body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    log_format seen '$request|$status|$ssl_client_verify|$ssl_protocol|$ssl_client_fingerprint|$ssl_session_reused';
    access_log access.log seen;
    map $ssl_client_verify $hello {{
        SUCCESS '{{"connectionEstablished":true,"mtlsStatus":"established","hostName":"{host_name}","clientCertificate":{{"subject":"$ssl_client_s_dn","issuer":"$ssl_client_i_dn"}}}}';
        default '{{"connectionEstablished":false,"mtlsStatus":"not-established","hostName":"{host_name}"}}';
    }}
    server {{
        listen 127.0.0.1:{port} ssl{http2};
        keepalive_requests {requests}; ssl_session_cache shared:sessions:1m; ssl_session_timeout {timeout}s;
        ssl_certificate server.pem;
        ssl_certificate_key server-key.pem;
        ssl_protocols {protocols};
        ssl_client_certificate clients.pem;
        ssl_verify_client {verify};
        ssl_verify_depth 2;
        add_header x-fapi-interaction-id $http_x_fapi_interaction_id always;
        location = /hello-mtls {{
            sub_filter_once off;
            sub_filter_types *;
            sub_filter '\\"' '\\\\\\"';
            sub_filter '\\' '\\\\';
            return 200 $hello;
        }}
        location = /auth {{ return 303 "{AFTER_AUTH}"; }}
        location /auth/ {{ return 303 "{AFTER_CONFIRM}"; }}
        location /files/ {{ root .; }}
        location /consents/ {{
            client_max_body_size 16m;
            client_body_buffer_size 16m;
            client_body_in_single_buffer on;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_pass http://unix:{echo}:/;
            sub_filter_types *;
            sub_filter '@body@' '$request_body';
        }}
        location / {{
            return 404 '{{"errorCode":"NotFound","errorMessage":"no such path"}}';
        }}
    }}
    server {{
        listen unix:{echo};
        access_log off;
        location / {{ return 200 '@body@'; }}
    }}
}}
"#
    )
}
