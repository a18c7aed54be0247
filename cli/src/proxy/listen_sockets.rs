//! Opens the sockets that the proxy listens on, or receives them from systemd (socket activation).

use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
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
use rustix::process::umask;

use super::ProxyError;
use super::descriptor_limit::raise_open_file_limit;
use super::socket_checks::{check_callers, check_folder, check_loopback};
use hsm_mtls::internal::backoff::Backoff;
use hsm_mtls::internal::config::listener::{ListenAddress, ListenerConfig};
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::standard_error;

/// A proxy that is being replaced has ended this long after its `stop_timeout`.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// Between attempts to bind an address that is in use or not configured yet.
const BIND_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// A listening socket.
#[derive(Debug)]
pub(super) enum ListenSocket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// All listening sockets of the proxy.
#[derive(Debug)]
pub struct Sockets {
    pub(super) listeners: Vec<(ListenSocket, ListenerConfig)>,
    /// The socket of the health endpoints.
    pub(super) operations: Option<ListenSocket>,
}

impl Sockets {
    /// Opens or receives all sockets, and starts the writer thread of standard error. To be called before any other
    /// thread is started, because it removes systemd's variables from the environment.
    ///
    /// # Errors
    /// A socket cannot be opened, was not passed, or must not be used with the configured `callers`.
    pub fn open(config: &ProxyConfig) -> Result<Self, ProxyError> {
        raise_open_file_limit();
        let mut activated = ActivatedSockets::from_environment();
        // The environment is not changed any more, so a thread may run. It writes the warnings of the waits below.
        standard_error::release();
        let mut listeners = Vec::new();
        // A proxy that is being replaced keeps its sockets until its last requests are answered.
        let max_wait = config.stop_timeout + STOP_MARGIN;
        for listener in &config.listeners {
            let socket = open(&listener.address, &mut activated, max_wait)?;
            check_folder(&socket, &listener.address)?;
            check_callers(&socket, listener)?;
            listeners.push((socket, listener.clone()));
        }
        let operations = config.operations.as_ref();
        let operations = operations
            .map(|config| {
                let socket = open(&config.address, &mut activated, max_wait)?;
                check_folder(&socket, &config.address)?;
                check_loopback(&socket, &config.address)?;
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
    /// The descriptors in the order of the configuration, to be passed to the front end.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let listeners = self.listeners.iter().map(|(socket, _)| socket);
        let all = listeners.chain(&self.operations);
        all.map(|socket| match socket {
            ListenSocket::Unix(socket) => socket.as_fd(),
            ListenSocket::Tcp(socket) => socket.as_fd(),
        })
        .collect()
    }

    /// The sockets of inherited descriptors, which are in the order of [`Self::descriptors`].
    ///
    /// A front end before may have made them blocking, for all who have them.
    ///
    /// # Errors
    /// There are fewer than are configured.
    pub fn inherited(config: &ProxyConfig, descriptors: Vec<OwnedFd>) -> Result<Self, ProxyError> {
        let missing = || ProxyError::NotHandedOver {
            name: "of the supervisor".to_owned(),
            found: Vec::new(),
        };
        let socket_of = |socket: OwnedFd| match socket_domain(&socket) {
            Ok(AddressFamily::UNIX) => ListenSocket::Unix(socket.into()),
            _ => ListenSocket::Tcp(socket.into()),
        };
        let sockets: Vec<_> = descriptors.into_iter().map(socket_of).collect();
        for socket in &sockets {
            set_nonblocking(socket).map_err(ProxyError::System)?;
        }
        let mut sockets = sockets.into_iter();
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            listeners.push((sockets.next().ok_or_else(missing)?, listener.clone()));
        }
        let operations = match &config.operations {
            Some(_) => Some(sockets.next().ok_or_else(missing)?),
            None => None,
        };
        Ok(Self {
            listeners,
            operations,
        })
    }
}

/// The sockets that systemd passed (sd_listen_fds(3)), by name.
struct ActivatedSockets {
    sockets: ListenFd,
    names: Vec<String>,
}

impl ActivatedSockets {
    fn from_environment() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            names: names.split(':').map(str::to_owned).collect(),
            sockets: ListenFd::from_env(),
        }
    }

    fn take(&mut self, name: &str) -> Result<ListenSocket, ProxyError> {
        let count = self.sockets.len();
        let index = self
            .names
            .iter()
            .take(count)
            .position(|known| known == name);
        let missing = || ProxyError::NotHandedOver {
            name: name.to_owned(),
            found: self.names.iter().take(count).cloned().collect(),
        };
        let index = index.ok_or_else(missing)?;
        let socket = match self.sockets.take_unix_listener(index) {
            Ok(socket) => socket.map(ListenSocket::Unix),
            // Not a Unix socket. The failed attempt left it in the list.
            Err(_) => self
                .sockets
                .take_tcp_listener(index)
                .map_err(|error| listen_error(&ListenAddress::Systemd(name.to_owned()), &error))?
                .map(ListenSocket::Tcp),
        };
        socket.ok_or_else(missing)
    }
}

/// Opens a socket. Waits up to `max_wait` if the address is not available yet.
fn open(
    address: &ListenAddress,
    activated: &mut ActivatedSockets,
    max_wait: Duration,
) -> Result<ListenSocket, ProxyError> {
    let deadline = Instant::now() + max_wait;
    let mut failures = 0;
    loop {
        match open_now(address, activated) {
            Err(OpenError::System(error)) if is_temporary(&error) && Instant::now() < deadline => {
                if failures == 0 {
                    tracing::warn!(place = %address, %error, seconds = max_wait.as_secs(), "cannot listen yet: it is tried again for so long");
                }
                failures += 1;
                thread::park_timeout(BIND_BACKOFF.delay(failures));
            }
            Err(OpenError::System(error)) => return Err(listen_error(address, &error)),
            Err(OpenError::NotHandedOver(error)) => return Err(error),
            Ok(socket) => return Ok(socket),
        }
    }
}

/// Why a socket could not be opened.
enum OpenError {
    System(io::Error),
    NotHandedOver(ProxyError),
}

/// Whether waiting may help: the previous proxy has not ended yet, or the address is not configured yet.
fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

fn open_now(
    address: &ListenAddress,
    activated: &mut ActivatedSockets,
) -> Result<ListenSocket, OpenError> {
    let socket = match address {
        ListenAddress::Unix {
            path,
            mode,
            owner,
            group,
        } => bind_unix(path, *mode, *owner, *group).map(ListenSocket::Unix),
        ListenAddress::Tcp(address) => TcpListener::bind(address).map(ListenSocket::Tcp),
        ListenAddress::Systemd(name) => {
            Ok(activated.take(name).map_err(OpenError::NotHandedOver)?)
        }
    };
    let socket = socket.map_err(OpenError::System)?;
    set_nonblocking(&socket).map_err(OpenError::System)?;
    Ok(socket)
}

fn set_nonblocking(socket: &ListenSocket) -> io::Result<()> {
    match socket {
        ListenSocket::Unix(socket) => socket.set_nonblocking(true),
        ListenSocket::Tcp(socket) => socket.set_nonblocking(true),
    }
}

fn listen_error(address: &ListenAddress, error: &io::Error) -> ProxyError {
    ProxyError::Listen {
        address: address.to_string(),
        reason: error.to_string(),
    }
}

/// Binds a Unix socket. Replaces the socket file of a proxy that has ended, but not one on which a process listens.
pub(super) fn bind_unix(
    path: &Path,
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
) -> io::Result<UnixListener> {
    let existing = fs::symlink_metadata(path).map(|meta| meta.file_type());
    if existing.as_ref().is_ok_and(|kind| !kind.is_socket()) {
        let text = "something is there that is no socket; it is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    if existing.is_ok() {
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            Err(error) => return Err(error),
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    // No other user can connect before owner, group and mode are set.
    let old_umask = umask(Mode::from_raw_mode(0o177));
    let socket = UnixListener::bind(path);
    umask(old_umask);
    let socket = socket?;
    if owner.is_some() || group.is_some() {
        chown(path, owner, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(socket)
}
