//! Notifies systemd of the state of the service (sd_notify(3)): ready, reloading, stopping. Without systemd this does
//! nothing.
//!
//! A busy service manager does not empty its socket. READY=1 must not be lost then, because systemd ends a service that
//! does not report it in time; so messages are queued, and the proxy does not wait for them.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use hsm_mtls::internal::lossy_writer::{LossyWriter, Notices, Target};

/// The most bytes of messages that are queued.
const MAX_QUEUED: usize = 4 << 10;
/// How long the end of the proxy waits until the last message is sent.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// The connection to the service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<LossyWriter>,
}

const NOTICES: Notices = Notices {
    lost: |_| {},
    failing: |error| tracing::warn!(error, "the service manager was not told"),
    recovered: |_| {},
};

impl ServiceManager {
    /// Connects to the socket that `$NOTIFY_SOCKET` names. To be called before the process is under a system call filter.
    pub fn from_environment() -> Self {
        let socket = env::var("NOTIFY_SOCKET").ok().and_then(|name| {
            let connected = connect(&name);
            if let Err(error) = &connected {
                tracing::warn!(name, %error, "NOTIFY_SOCKET is not there");
            }
            connected.ok()
        });
        let writer = |socket: UnixDatagram| {
            let target = Target::Owned(socket.into());
            LossyWriter::new("sd-notify", target, MAX_QUEUED, NOTICES, false)
        };
        Self {
            socket: socket.map(writer),
        }
    }

    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Waits a moment until the queued messages are sent.
    pub(super) fn flush(&self) {
        if let Some(socket) = &self.socket {
            socket.flush(FLUSH_TIMEOUT);
        }
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket {
            socket.add(state.as_bytes().to_vec());
        }
    }
}

fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
