//! What the running proxy says of itself over `[proxy.operations]`: which certificates it has in use, and how many reloads it
//! refused. The configuration file says what is wanted, and only the proxy what is so.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use hsm_mtls::internal::config::listener::ListenAddress;
use hsm_mtls::internal::config::{Config, KeyRole};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
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
                let stream = connect_unix(socket, TIMEOUT)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                exchange(stream, path, "localhost")
            }
            ListenAddress::Systemd(_) => Err(io::Error::other("systemd has its address")),
        }
    }
}

/// Connects to a Unix socket. Where the queue of its listener is full, connect(2) waits for as long as SO_SNDTIMEO says, and without
/// that for ever: so it is with a process that was stopped.
///
/// # Errors
/// Nobody listens, this user may not connect, or the time is over.
pub(super) fn connect_unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::AGAIN) => Err(timed_out(timeout)),
        connected => Ok(connected.map(|()| socket.into())?),
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
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(timed_out(TIMEOUT)),
            Err(error) => return Err(error),
        };
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        if Instant::now() > deadline || answer.len() > MAX_ANSWER {
            return Err(timed_out(TIMEOUT));
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("no answer"))?;
    Ok(body.to_owned())
}

fn timed_out(after: Duration) -> io::Error {
    let text = format!("no whole answer within {} s", after.as_secs_f64());
    io::Error::new(ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_listener_that_accepts_nobody_is_not_waited_for() {
        const SHORT: Duration = Duration::from_millis(50);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operations.sock");
        let connected = || connect_unix(&path, SHORT).map_err(|error| error.kind());
        assert_eq!(connected().unwrap_err(), ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        // The shortest queue that there is.
        rustix::net::listen(&listener, 0).unwrap();
        let waiting: Vec<_> = (0..2).map_while(|_| connected().ok()).collect();
        assert!(!waiting.is_empty());
        assert_eq!(connected().unwrap_err(), ErrorKind::TimedOut);
        drop(listener);
        assert_eq!(connected().unwrap_err(), ErrorKind::ConnectionRefused);
    }
}
