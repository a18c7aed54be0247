//! Accepts applications' connections, as many at once as are configured, and lets in who may.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::caller_auth::not_admitted;
use super::client_connection::{Stop, serve};
use super::client_stream::ClientStream;
use super::context::ListenerContext;
use super::listen_sockets::Listening;
use super::metrics;

/// Out of descriptors, most likely: some are given back soon.
const BREATH: Duration = Duration::from_millis(50);

/// A listening socket on the runtime.
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    pub(super) fn new(socket: Listening) -> io::Result<Self> {
        Ok(match socket {
            Listening::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
            Listening::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
        })
    }

    /// The next connection, and of a Unix socket who made it.
    pub(super) async fn accept(
        &self,
    ) -> io::Result<(ClientStream, Option<tokio::net::unix::UCred>)> {
        match self {
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let peer = stream.peer_cred()?;
                Ok((ClientStream::Unix(stream), Some(peer)))
            }
            Self::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                // An answer of two small writes would wait 40 ms for the caller's ACK.
                stream.set_nodelay(true)?;
                Ok((ClientStream::Tcp(stream), None))
            }
        }
    }
}

/// Accepts until the proxy stops.
pub(super) async fn listen(
    listener: Listener,
    door: Arc<ListenerContext>,
    clients: Arc<Semaphore>,
    mut stop: Stop,
) {
    loop {
        let Ok(place) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, place, &door, &stop),
            Err(error) => {
                tracing::error!(%error, "no connection could be accepted");
                drop(place);
                sleep(BREATH).await;
            }
        }
    }
    // What has connected already would be cut off with the socket. Of a socket that systemd keeps,
    // the next process would take it; it is answered here as well.
    while let Ok(place) = Arc::clone(&clients).try_acquire_owned() {
        let accepted = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        let Ok(Ok((stream, peer))) = accepted else {
            return;
        };
        admit(stream, peer, place, &door, &stop);
    }
}

fn admit(
    stream: ClientStream,
    peer: Option<tokio::net::unix::UCred>,
    place: OwnedSemaphorePermit,
    door: &Arc<ListenerContext>,
    stop: &Stop,
) {
    if !door.gate().admits(peer) {
        metrics::caller_refused();
        let (uid, gid) = (peer.map(|peer| peer.uid()), peer.map(|peer| peer.gid()));
        let pid = peer.and_then(|peer| peer.pid());
        tracing::warn!(uid, gid, pid, "a process that may not call was refused");
        // Some are told; many at once would take places from those who may call.
        if let Ok(told) = Arc::clone(&door.strangers).try_acquire_owned() {
            let context = Arc::clone(&door.context);
            tokio::spawn(async move {
                stream.say(&not_admitted().raw(&context.ids.fresh())).await;
                context.closing.close(stream).await;
                drop(told);
            });
        }
        return;
    }
    let uid = peer.map(|peer| peer.uid());
    let (door, stop) = (Arc::clone(door), stop.clone());
    tokio::spawn(async move {
        let context = Arc::clone(&door.context);
        if let Some(stream) = serve(door, stream, uid, stop).await {
            context.closing.close_in_stages(stream, place).await;
        }
    });
}
