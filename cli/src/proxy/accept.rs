//! Accepts applications' connections, gives each a slot of its listener, and refuses those that the access control of
//! the listener does not allow.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::net::unix::UCred;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::access_control::forbidden;
use super::client_connection::{RequestHandler, serve};
use super::client_stream::ClientStream;
use super::connection_slots::{Caller, ConnectionSlots};
use super::context::ListenerContext;
use super::lingering_close::LingeringClose;
use super::listen_sockets::ListenSocket;
use super::problem_details::Problem;
use super::proxy_metrics;
use super::receive_request::Stop;

/// The pause after a failed accept: most likely the descriptors are used up, and some are closed soon.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A listening socket on the runtime.
pub(super) enum AsyncListener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl AsyncListener {
    pub(super) fn new(socket: ListenSocket) -> io::Result<Self> {
        Ok(match socket {
            ListenSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
            ListenSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
        })
    }

    /// The address of a TCP port.
    pub(super) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(socket) => socket.local_addr().ok(),
        }
    }

    /// The next connection, with the peer credentials if it is one of a Unix socket.
    pub(super) async fn accept(&self) -> io::Result<(ClientStream, Option<UCred>)> {
        match self {
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let peer = stream.peer_cred()?;
                Ok((ClientStream::Unix(stream), Some(peer)))
            }
            Self::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                // With Nagle's algorithm, a response of two small writes waits 40 ms for the client's delayed ACK.
                stream.set_nodelay(true)?;
                Ok((ClientStream::Tcp(stream), None))
            }
        }
    }
}

/// Each connection holds one until its last response.
pub(super) type OpenConnections = mpsc::Sender<()>;

/// Whether a listener accepts a connection, and for whom.
pub(super) trait Gatekeeper: RequestHandler {
    /// The caller of a connection.
    ///
    /// # Errors
    /// Its user may not call.
    fn caller(&self, peer: Option<UCred>) -> Result<Caller, Problem>;

    fn slots(&self) -> &Arc<ConnectionSlots>;

    /// One permit for each refused connection while the refusal is sent: many of them do not keep anybody out.
    fn refusals(&self) -> &Arc<Semaphore>;

    fn lingering_close(&self) -> &LingeringClose;
}

/// Accepts connections until the proxy stops.
pub(super) async fn accept_loop<G: Gatekeeper>(
    socket: AsyncListener,
    listener: Arc<G>,
    open: OpenConnections,
    mut stop: Stop,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                start(stream, peer, &listener, &open, &stop);
                // The request that came with the connection is read before others can take its place.
                yield_now().await;
            }
            Err(error) => {
                tracing::error!(%error, "no connection could be accepted");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    // Connections in the backlog would be reset when the socket is closed, so they are served first. The next process
    // could take them if systemd keeps the socket open, but they are served here as well.
    while listener.slots().has_room() {
        let accepted = timeout(Duration::ZERO, socket.accept()).await;
        let Ok(Ok((stream, peer))) = accepted else {
            return;
        };
        start(stream, peer, &listener, &open, &stop);
    }
}

/// Starts the task that serves a connection, or the one that refuses it.
fn start<G: Gatekeeper>(
    stream: ClientStream,
    peer: Option<UCred>,
    listener: &Arc<G>,
    open: &OpenConnections,
    stop: &Stop,
) {
    let caller = match listener.caller(peer) {
        Ok(caller) => caller,
        Err(problem) => {
            proxy_metrics::caller_refused();
            let (uid, gid) = (peer.map(|peer| peer.uid()), peer.map(|peer| peer.gid()));
            let pid = peer.and_then(|peer| peer.pid());
            tracing::warn!(uid, gid, pid, "a process that may not call was refused");
            return refuse(stream, problem, listener);
        }
    };
    let Some(mut slot) = listener.slots().take(caller) else {
        let problem = Problem::overload(
            "all connections of this listener are in use by requests",
            "max_clients",
        );
        proxy_metrics::problem(problem.stage);
        return refuse(stream, problem, listener);
    };
    let uid = peer.map(|peer| peer.uid());
    let (listener, open, stop) = (Arc::clone(listener), open.clone(), stop.clone());
    let displaced = slot.displaced();
    tokio::spawn(async move {
        let serving = async {
            let served = serve(&listener, stream, uid, &mut slot, stop).await;
            // What is still to be read is no request.
            drop(open);
            if let Some(stream) = served {
                listener
                    .lingering_close()
                    .close_with_slot(stream, slot)
                    .await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = displaced.notified() => {}
        }
    });
}

/// Refuses a connection, with a response if not too many get one at the moment.
fn refuse<G: Gatekeeper>(stream: ClientStream, problem: Problem, listener: &Arc<G>) {
    let Ok(permit) = Arc::clone(listener.refusals()).try_acquire_owned() else {
        return;
    };
    let listener = Arc::clone(listener);
    tokio::spawn(async move {
        let id: HeaderValue = listener.interaction_id();
        stream.write_final(&problem.to_http1_bytes(&id)).await;
        listener.lingering_close().close(stream).await;
        drop(permit);
    });
}

impl Gatekeeper for ListenerContext {
    fn caller(&self, peer: Option<UCred>) -> Result<Caller, Problem> {
        let access_control = self.access_control();
        match access_control.allows_peer(peer) {
            true => Ok(access_control.caller(peer)),
            false => Err(forbidden()),
        }
    }

    fn slots(&self) -> &Arc<ConnectionSlots> {
        &self.slots
    }

    fn refusals(&self) -> &Arc<Semaphore> {
        &self.refusals
    }

    fn lingering_close(&self) -> &LingeringClose {
        &self.context.lingering_close
    }
}
