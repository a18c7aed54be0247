//! What systemd is told (sd_notify(3)): ready, reloading, stopping. Elsewhere nobody listens.
//!
//! A manager that is busy does not empty its socket. The word that the proxy is ready is worth waiting
//! for then, because a start that is not told of is ended; but the proxy's own work waits for nothing.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use hsm_mtls::internal::lossy_writer::{LossyWriter, Notices, Target};

/// Bytes of words that wait.
const MOST: usize = 4 << 10;
/// How long the end of the proxy waits for the last one.
const FAREWELL: Duration = Duration::from_millis(100);

/// The service manager, where there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: Option<LossyWriter>,
}

const NOTICES: Notices = Notices {
    lost: |_| {},
    failing: |error| tracing::warn!(error, "the service manager was not told"),
    recovered: |_| {},
};

impl ServiceManager {
    /// The one that `$NOTIFY_SOCKET` names. Connected at once: the way there may be closed later.
    pub(super) fn from_environment() -> Self {
        let socket = env::var("NOTIFY_SOCKET").ok().and_then(|name| {
            let connected = connect(&name);
            if let Err(error) = &connected {
                tracing::warn!(name, %error, "NOTIFY_SOCKET is not there");
            }
            connected.ok()
        });
        let writer = |socket: UnixDatagram| {
            let target = Target::Owned(socket.into());
            LossyWriter::new("sd-notify", target, MOST, NOTICES, false)
        };
        Self {
            socket: socket.map(writer),
        }
    }

    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Waits a moment for what it was told last.
    pub(super) fn end(&self) {
        if let Some(socket) = &self.socket {
            socket.flush(FAREWELL);
        }
    }

    fn tell(&self, state: &str) {
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
