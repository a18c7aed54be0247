//! Accepts applications' connections, at most `max_clients` at once, and refuses those that the access control of the
//! listener does not allow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::UCred;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::access_control::forbidden;
use super::client_connection::{Stop, serve};
use super::client_stream::ClientStream;
use super::context::ListenerContext;
use super::listen_sockets::ListenSocket;
use super::proxy_metrics;

/// The pause after a failed accept: most likely the descriptors are used up, and some are closed soon.
pub(super) const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

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

/// Accepts connections until the proxy stops. Each holds a permit of `clients`.
pub(super) async fn accept_loop(
    socket: AsyncListener,
    listener: Arc<ListenerContext>,
    clients: Arc<Semaphore>,
    mut stop: Stop,
) {
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => start(stream, peer, permit, &listener, &stop),
            Err(error) => {
                tracing::error!(%error, "no connection could be accepted");
                drop(permit);
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    // Connections in the backlog would be reset when the socket is closed, so they are served first. The next process
    // could take them if systemd keeps the socket open, but they are served here as well.
    while let Ok(permit) = Arc::clone(&clients).try_acquire_owned() {
        let accepted = tokio::time::timeout(Duration::ZERO, socket.accept()).await;
        let Ok(Ok((stream, peer))) = accepted else {
            return;
        };
        start(stream, peer, permit, &listener, &stop);
    }
}

/// Starts the task that serves a connection, or the one that refuses it.
fn start(
    stream: ClientStream,
    peer: Option<UCred>,
    permit: OwnedSemaphorePermit,
    listener: &Arc<ListenerContext>,
    stop: &Stop,
) {
    if !listener.access_control().allows_peer(peer) {
        proxy_metrics::caller_refused();
        let (uid, gid) = (peer.map(|peer| peer.uid()), peer.map(|peer| peer.gid()));
        let pid = peer.and_then(|peer| peer.pid());
        tracing::warn!(uid, gid, pid, "a process that may not call was refused");
        // Refusals have permits of their own, so that many of them do not keep allowed processes out. Without a permit
        // the connection is closed without a response.
        if let Ok(refusal_permit) = Arc::clone(&listener.refusals).try_acquire_owned() {
            let context = Arc::clone(&listener.context);
            tokio::spawn(async move {
                let response = forbidden().to_http1_bytes(&context.ids.generate());
                stream.write_final(&response).await;
                context.lingering_close.close(stream).await;
                drop(refusal_permit);
            });
        }
        return;
    }
    let uid = peer.map(|peer| peer.uid());
    let (listener, stop) = (Arc::clone(listener), stop.clone());
    tokio::spawn(async move {
        let context = Arc::clone(&listener.context);
        if let Some(stream) = serve(listener, stream, uid, stop).await {
            let lingering_close = &context.lingering_close;
            lingering_close.close_with_permit(stream, permit).await;
        }
    });
}
