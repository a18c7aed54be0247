//! What the running proxy says of itself over `[proxy.operations]`: which certificates it has in use, and how many reloads it
//! refused. The configuration file says what is wanted, and only the proxy what is so.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hsm_mtls::internal::config::listener::ListenAddress;
use hsm_mtls::internal::config::{Config, KeyRole};
use serde_json::Value;

/// How long each part of an answer may take, and all of them together.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// The proxy of a configuration, where it has a health listener that can be called.
pub(super) struct RunningProxy<'a> {
    address: &'a ListenAddress,
}

impl<'a> RunningProxy<'a> {
    /// `None`: the configuration has no such listener, or its address is systemd's to know.
    pub(super) fn of(config: &'a Config) -> Option<Self> {
        let operations = config.proxy.as_ref()?.operations.as_ref()?;
        match &operations.address {
            ListenAddress::Systemd(_) => None,
            address => Some(Self { address }),
        }
    }

    /// Its readiness report (`/readyz`), whether it is ready or not.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn readiness(&self) -> io::Result<Value> {
        let body = self.get("/readyz")?;
        serde_json::from_str(&body).map_err(io::Error::from)
    }

    /// `x5t#S256` of the certificate that the proxy uses for a role; `None`: it does not answer, or has none.
    pub(super) fn certificate(&self, role: KeyRole) -> Option<String> {
        let report = self.readiness().ok()?;
        let name = match role {
            KeyRole::C3 => &report["certificate"]["x5t_s256"],
            KeyRole::Sig4 => &report["jwt"]["kid"],
        };
        name.as_str().map(str::to_owned)
    }

    /// The number of reloads that were refused since it was started.
    pub(super) fn failed_reloads(&self) -> Option<f64> {
        let body = self.get("/metrics").ok()?;
        let is_failed = |line: &&str| {
            line.starts_with("hsm_mtls_proxy_reloads_total{") && line.contains("\"failed\"")
        };
        let line = body.lines().find(is_failed);
        // A counter that has not counted yet is not shown.
        line.map_or(Some(0.0), |line| line.rsplit(' ').next()?.parse().ok())
    }

    fn get(&self, path: &str) -> io::Result<String> {
        match self.address {
            ListenAddress::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                exchange(stream, path, &address.to_string())
            }
            ListenAddress::Unix { path: socket, .. } => {
                let stream = UnixStream::connect(socket)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                exchange(stream, path, "localhost")
            }
            ListenAddress::Systemd(_) => Err(io::Error::other("systemd has its address")),
        }
    }
}

/// Sends a request, and returns the body of the answer, whatever its status: a proxy that is not ready answers too.
fn exchange(mut stream: impl Read + Write, path: &str, host: &str) -> io::Result<String> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let deadline = Instant::now() + TIMEOUT;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => read,
            // What a socket says whose timeout has passed.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(timed_out()),
            Err(error) => return Err(error),
        };
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        if Instant::now() > deadline || answer.len() > MAX_ANSWER {
            return Err(timed_out());
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("no answer"))?;
    Ok(body.to_owned())
}

fn timed_out() -> io::Error {
    let text = format!("no whole answer within {} s", TIMEOUT.as_secs());
    io::Error::new(ErrorKind::TimedOut, text)
}
