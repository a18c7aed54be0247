//! The use of a connection to the hub by one request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::link::{Link, Sender};
use super::upstream::Upstream;

/// A connection, or a stream of one, that is a request's own until it is given back.
pub(super) struct Lease {
    link: Option<Link>,
    upstream: Arc<Upstream>,
    /// Of which identity it was made.
    generation: u64,
    /// It was there before the request was.
    pub(super) warm: bool,
    /// Something was sent over it.
    used: bool,
}

impl Lease {
    /// Of an HTTP/2 connection, this takes one of its streams.
    pub(super) fn of(link: Link, upstream: &Arc<Upstream>, generation: u64, warm: bool) -> Self {
        if let Sender::Http2(_) = link.sender {
            link.fate.streams.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            link: Some(link),
            upstream: Arc::clone(upstream),
            generation,
            warm,
            used: false,
        }
    }

    pub(super) fn link(&mut self) -> Option<&mut Link> {
        self.used = true;
        self.link.as_mut()
    }

    pub(super) fn is_h2(&self) -> bool {
        let sender = self.link.as_ref().map(|link| &link.sender);
        matches!(sender, Some(Sender::Http2(_)))
    }

    /// An HTTP/1.1 connection itself, with its generation.
    pub(super) fn into_link(mut self) -> Option<(Link, u64)> {
        let link = self
            .link
            .take_if(|link| matches!(link.sender, Sender::Http1(_)));
        link.map(|link| (link, self.generation))
    }

    /// The answer came to its end: another request may use the connection.
    pub(super) fn finish(mut self) {
        let http1 = |link: &mut Link| matches!(link.sender, Sender::Http1(_));
        if let Some(link) = self.link.take_if(http1) {
            self.upstream.give_back(link, self.generation);
        }
    }

    /// The same, of an answer that came before the request was sent: who answers so, closes, also
    /// where it does not say so. It may take the next request with it.
    pub(super) fn finish_early(self) {
        if let Some(link) = &self.link {
            link.fate.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    /// An HTTP/1.1 connection in the middle of an answer is of no more use, and ends here. Of an
    /// HTTP/2 connection, a stream becomes free either way.
    fn drop(&mut self) {
        let Some(link) = self.link.take() else {
            return;
        };
        match link.sender {
            Sender::Http2(_) => {
                link.fate.streams.fetch_sub(1, Ordering::Relaxed);
                drop(link);
                self.upstream.serve_waiting();
            }
            // Who was to have it has gone.
            Sender::Http1(_) if !self.used => self.upstream.give_back(link, self.generation),
            Sender::Http1(_) => {}
        }
    }
}
