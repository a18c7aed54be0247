//! A lease: the exclusive use of a pooled connection, or of one HTTP/2 stream, by one request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ConnectionPool;
use super::hub_connection::{HubConnection, RequestSender};

/// A connection, or a stream of one, that is a request's own until it is given back.
pub(in crate::proxy) struct Lease {
    connection: Option<HubConnection>,
    upstream: Arc<ConnectionPool>,
    /// Of which identity it was made.
    generation: u64,
    /// It was there before the request was.
    pub(in crate::proxy) warm: bool,
    /// Something was sent over it.
    used: bool,
}

impl Lease {
    /// Of an HTTP/2 connection, this takes one of its streams.
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

    /// An HTTP/1.1 connection itself, with its generation.
    pub(super) fn into_http1(mut self) -> Option<(HubConnection, u64)> {
        let connection = self
            .connection
            .take_if(|connection| matches!(connection.sender, RequestSender::Http1(_)));
        connection.map(|connection| (connection, self.generation))
    }

    /// The answer came to its end: another request may use the connection.
    pub(in crate::proxy) fn finish(mut self) {
        let http1 =
            |connection: &mut HubConnection| matches!(connection.sender, RequestSender::Http1(_));
        if let Some(connection) = self.connection.take_if(http1) {
            self.upstream.release(connection, self.generation);
        }
    }

    /// The same, of an answer that came before the request was sent: who answers so, closes, also
    /// where it does not say so. It may take the next request with it.
    pub(in crate::proxy) fn finish_early(self) {
        if let Some(connection) = &self.connection {
            connection.state.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    /// An HTTP/1.1 connection in the middle of an answer is of no more use, and ends here. Of an
    /// HTTP/2 connection, a stream becomes free either way.
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
            // Who was to have it has gone.
            RequestSender::Http1(_) if !self.used => {
                self.upstream.release(connection, self.generation)
            }
            RequestSender::Http1(_) => {}
        }
    }
}
