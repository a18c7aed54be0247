//! A lease: the exclusive use of a pooled connection, or of one HTTP/2 stream, by one request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ConnectionPool;
use super::hub_connection::{HubConnection, RequestSender};

/// An HTTP/1.1 connection, or a stream of an HTTP/2 connection, that one request uses until it is released.
pub(in crate::proxy) struct Lease {
    connection: Option<HubConnection>,
    upstream: Arc<ConnectionPool>,
    /// The generation of the identity that the connection was opened with.
    generation: u64,
    /// The connection existed before the request.
    pub(in crate::proxy) warm: bool,
    /// The request was sent, or may have been.
    used: bool,
}

impl Lease {
    /// Leases the connection, or one of its streams with HTTP/2.
    pub(super) fn of(
        connection: HubConnection,
        upstream: &Arc<ConnectionPool>,
        generation: u64,
        warm: bool,
    ) -> Self {
        if let RequestSender::Http2(_) = connection.sender {
            connection.state.streams.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            connection: Some(connection),
            upstream: Arc::clone(upstream),
            generation,
            warm,
            used: false,
        }
    }

    /// Whether the connection resumes a session, which its server may refuse.
    pub(in crate::proxy) fn is_resumed(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.state.resumed.is_some())
    }

    /// What the access log says of the connection.
    pub(in crate::proxy) fn kind(&self) -> &'static str {
        match self.is_resumed() {
            _ if self.warm => "warm",
            true => "resumed",
            false => "new",
        }
    }

    pub(in crate::proxy) fn connection(&mut self) -> Option<&mut HubConnection> {
        self.used = true;
        self.connection.as_mut()
    }

    pub(in crate::proxy) fn is_h2(&self) -> bool {
        let sender = self
            .connection
            .as_ref()
            .map(|connection| &connection.sender);
        matches!(sender, Some(RequestSender::Http2(_)))
    }

    /// Takes an HTTP/1.1 connection out of the lease, with its generation.
    pub(super) fn into_http1(mut self) -> Option<(HubConnection, u64)> {
        let connection = self
            .connection
            .take_if(|connection| matches!(connection.sender, RequestSender::Http1(_)));
        connection.map(|connection| (connection, self.generation))
    }

    /// The response has ended: another request may use the connection.
    pub(in crate::proxy) fn finish(mut self) {
        let http1 =
            |connection: &mut HubConnection| matches!(connection.sender, RequestSender::Http1(_));
        if let Some(connection) = self.connection.take_if(http1) {
            self.upstream.release(connection, self.generation);
        }
    }

    /// The response ended before the request was sent completely. Servers close such a connection, often without
    /// announcing it, and a further request on it could be lost: it is not reused.
    pub(in crate::proxy) fn finish_without_reuse(self) {
        if let Some(connection) = &self.connection {
            connection.state.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    /// Closes an HTTP/1.1 connection whose response has not ended; an unused one goes back to the pool. With HTTP/2 the
    /// stream becomes free.
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        match connection.sender {
            RequestSender::Http2(_) => {
                connection.state.streams.fetch_sub(1, Ordering::Relaxed);
                drop(connection);
                self.upstream.serve_waiters();
            }
            // The request that waited for it has gone.
            RequestSender::Http1(_) if !self.used => {
                self.upstream.release(connection, self.generation)
            }
            RequestSender::Http1(_) => {}
        }
    }
}
