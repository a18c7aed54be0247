//! The sockets that the proxy listens on: made here or received from systemd, and nowhere else.

use std::env;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use rustix::fs::Mode;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Resource, getrlimit, setrlimit, umask};

use super::ProxyError;
use hsm_mtls::internal::backoff::Backoff;
use hsm_mtls::internal::config::listener::{Callers, ListenAddress, ListenerConfig};
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::standard_error;

/// How long after its `stop_timeout` a proxy has surely ended.
const AFTER_ITS_STOP: Duration = Duration::from_secs(5);
const BIND_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Something to accept connections from.
#[derive(Debug)]
pub(super) enum Listening {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// All that the proxy listens on.
#[derive(Debug)]
pub struct Sockets {
    pub(super) listeners: Vec<(Listening, ListenerConfig)>,
    pub(super) operations: Option<Listening>,
}

impl Sockets {
    /// Makes or receives all sockets. To be called before any thread is started: what systemd says
    /// of its sockets is taken out of the environment. The writer of standard error is, here.
    ///
    /// # Errors
    /// One cannot be had.
    pub fn open(config: &ProxyConfig) -> Result<Self, ProxyError> {
        raise_the_limit_of_open_files();
        let mut received = Received::from_environment();
        // From here on another thread may run; what is waited for below is to be read meanwhile.
        standard_error::release();
        let mut listeners = Vec::new();
        // A proxy that is being replaced answers what is under way, and is gone by then.
        let patience = config.stop_timeout + AFTER_ITS_STOP;
        for listener in &config.listeners {
            let socket = open(&listener.address, &mut received, patience)?;
            fits(&socket, listener)?;
            listeners.push((socket, listener.clone()));
        }
        let operations = config.operations.as_ref();
        let operations = operations
            .map(|config| {
                let socket = open(&config.address, &mut received, patience)?;
                loopback(&socket, &config.address)?;
                Ok::<_, ProxyError>(socket)
            })
            .transpose()?;
        Ok(Self {
            listeners,
            operations,
        })
    }
}

impl Sockets {
    /// The descriptors, in the order of the configuration: for the process that will use them.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let listeners = self.listeners.iter().map(|(socket, _)| socket);
        let all = listeners.chain(&self.operations);
        all.map(|socket| match socket {
            Listening::Unix(socket) => socket.as_fd(),
            Listening::Tcp(socket) => socket.as_fd(),
        })
        .collect()
    }

    /// The same again, in the process that was given them.
    ///
    /// # Errors
    /// They are not as many as are configured.
    pub fn inherited(config: &ProxyConfig, given: Vec<OwnedFd>) -> Result<Self, ProxyError> {
        let missing = || ProxyError::NotHandedOver {
            name: "of the supervisor".to_owned(),
            found: Vec::new(),
        };
        let mut given = given
            .into_iter()
            .map(|socket| match socket_domain(&socket) {
                Ok(AddressFamily::UNIX) => Listening::Unix(socket.into()),
                _ => Listening::Tcp(socket.into()),
            });
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            listeners.push((given.next().ok_or_else(missing)?, listener.clone()));
        }
        let operations = match &config.operations {
            Some(_) => Some(given.next().ok_or_else(missing)?),
            None => None,
        };
        Ok(Self {
            listeners,
            operations,
        })
    }
}

/// What systemd handed over (sd_listen_fds(3)), by name.
struct Received {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Received {
    fn from_environment() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            names: names.split(':').map(str::to_owned).collect(),
            sockets: ListenFd::from_env(),
        }
    }

    fn take(&mut self, name: &str) -> Result<Listening, ProxyError> {
        let given = self.sockets.len();
        let at = self.names.iter().take(given).position(|of| of == name);
        let missing = || ProxyError::NotHandedOver {
            name: name.to_owned(),
            found: self.names.iter().take(given).cloned().collect(),
        };
        let at = at.ok_or_else(missing)?;
        let found = match self.sockets.take_unix_listener(at) {
            Ok(socket) => socket.map(Listening::Unix),
            // Not a Unix socket: it stays to be taken.
            Err(_) => self
                .sockets
                .take_tcp_listener(at)
                .map_err(|error| refused(&ListenAddress::Systemd(name.to_owned()), &error))?
                .map(Listening::Tcp),
        };
        found.ok_or_else(missing)
    }
}

fn open(
    place: &ListenAddress,
    received: &mut Received,
    patience: Duration,
) -> Result<Listening, ProxyError> {
    let until = Instant::now() + patience;
    let mut failures = 0;
    loop {
        match open_now(place, received) {
            Err(Unopened::System(error)) if passes(&error) && Instant::now() < until => {
                if failures == 0 {
                    tracing::warn!(%place, %error, seconds = patience.as_secs(), "cannot listen yet: it is tried again for so long");
                }
                failures += 1;
                thread::park_timeout(BIND_BACKOFF.delay(failures));
            }
            Err(Unopened::System(error)) => return Err(refused(place, &error)),
            Err(Unopened::NotHandedOver(error)) => return Err(error),
            Ok(socket) => return Ok(socket),
        }
    }
}

/// Why there is no socket.
enum Unopened {
    System(io::Error),
    NotHandedOver(ProxyError),
}

/// The one before has not ended, or the address is not configured yet.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

fn open_now(place: &ListenAddress, received: &mut Received) -> Result<Listening, Unopened> {
    let socket = match place {
        ListenAddress::Unix {
            path,
            mode,
            owner,
            group,
        } => unix(path, *mode, *owner, *group).map(Listening::Unix),
        ListenAddress::Tcp(address) => TcpListener::bind(address).map(Listening::Tcp),
        ListenAddress::Systemd(name) => Ok(received.take(name).map_err(Unopened::NotHandedOver)?),
    };
    let socket = socket.map_err(Unopened::System)?;
    let ready = match &socket {
        Listening::Unix(socket) => socket.set_nonblocking(true),
        Listening::Tcp(socket) => socket.set_nonblocking(true),
    };
    ready.map_err(Unopened::System)?;
    Ok(socket)
}

fn refused(place: &ListenAddress, error: &io::Error) -> ProxyError {
    ProxyError::Listen {
        place: place.to_string(),
        why: error.to_string(),
    }
}

/// What a proxy that has ended left behind is replaced; a socket that is served is not taken over.
fn unix(
    path: &Path,
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
) -> io::Result<UnixListener> {
    let there = fs::symlink_metadata(path).map(|meta| meta.file_type());
    if there.as_ref().is_ok_and(|kind| !kind.is_socket()) {
        let why = "something is there that is no socket; it is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    if there.is_ok() {
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            Err(error) => return Err(error),
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    // Nobody may connect before owner, group and mode are what they are to be.
    let before = umask(Mode::from_raw_mode(0o177));
    let socket = UnixListener::bind(path);
    umask(before);
    let socket = socket?;
    if owner.is_some() || group.is_some() {
        chown(path, owner, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(socket)
}

/// A socket unit may say something else than the configuration meant.
fn fits(socket: &Listening, config: &ListenerConfig) -> Result<(), ProxyError> {
    loopback(socket, &config.address)?;
    let of_tcp = matches!(socket, Listening::Tcp(_));
    let fit = match &config.callers {
        Callers::AnyLocalProcess => true,
        Callers::Token(_) => of_tcp,
        Callers::SameUser | Callers::Peers { .. } | Callers::SocketMode => !of_tcp,
    };
    if fit {
        return Ok(());
    }
    let why = match of_tcp {
        true => {
            "it is a TCP port, so `callers` is { token_file = \"/a/file\" } or \"allow-any-local-process\""
        }
        false => "it is a Unix socket: a caller is known by its user there, not by a token",
    };
    Err(ProxyError::Listen {
        place: config.address.to_string(),
        why: why.to_owned(),
    })
}

fn loopback(socket: &Listening, place: &ListenAddress) -> Result<(), ProxyError> {
    let outside = match socket {
        Listening::Unix(_) => false,
        Listening::Tcp(socket) => !socket.local_addr().is_ok_and(is_loopback),
    };
    match outside {
        false => Ok(()),
        true => Err(ProxyError::Listen {
            place: place.to_string(),
            why: "it is not on loopback: whoever reaches it would speak to the hub as the bank"
                .to_owned(),
        }),
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// A process is given 1024 descriptors unless it asks for what it may have.
fn raise_the_limit_of_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, accepting stops earlier: nothing is lost.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_handed_over_is_held_to_the_same_rule() {
        let config = |callers| ListenerConfig {
            address: ListenAddress::Systemd("hub".to_owned()),
            callers,
            service: None,
            host_names: Vec::new(),
        };
        let tcp = |address: &str| Listening::Tcp(TcpListener::bind(address).unwrap());
        let any = || config(Callers::AnyLocalProcess);
        assert!(fits(&tcp("127.0.0.1:0"), &any()).is_ok());
        assert!(fits(&tcp("0.0.0.0:0"), &any()).is_err());
        // Who calls is not known there.
        assert!(fits(&tcp("127.0.0.1:0"), &config(Callers::SameUser)).is_err());
        assert!(fits(&tcp("127.0.0.1:0"), &config(Callers::Token("t".into()))).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let socket = unix(&folder.path().join("s"), 0o600, None, None).unwrap();
        let socket = Listening::Unix(socket);
        assert!(fits(&socket, &config(Callers::SameUser)).is_ok());
        assert!(fits(&socket, &config(Callers::Token("t".into()))).is_err());
    }
}
