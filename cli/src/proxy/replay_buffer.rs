//! A body that is streamed to the hub, and can be sent again from its beginning: what the hub was sent is kept until it
//! answers, because an HTTP/2 server may say afterwards that it did not process the request.
//!
//! A server that has not read a request takes no more of it than its flow-control window, so what is kept is bounded: of
//! one body, and of all. Beyond that a body can be sent once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::SizeHint;

use super::body_drain::BodyDrain;
use super::request_body::{BodyFault, Rest};
use hsm_mtls::internal::poison::IgnorePoison as _;

/// The most that is kept of one body, in bytes.
const OF_ONE: usize = 1 << 20;
/// The most that is kept of all together, in bytes.
const OF_ALL: usize = 32 << 20;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// One attempt at sending the body.
pub(super) struct StreamedBody {
    source: Arc<Mutex<Source>>,
    attempt: u32,
}

/// What makes another attempt.
pub(super) struct ReplayBuffer(Arc<Mutex<Source>>);

struct Source {
    /// The last attempt; those before it have failed, and get nothing more.
    attempt: u32,
    /// What was read ahead, and, while `keeps`, what was handed out after it.
    pieces: Vec<Bytes>,
    /// How many of the pieces the last attempt was handed.
    at: usize,
    /// Another attempt is possible: all is there from the beginning.
    keeps: bool,
    /// Bytes that are kept beyond what was read ahead.
    kept: usize,
    rest: Rest,
}

impl StreamedBody {
    /// The first attempt: what was read ahead, and the rest as it comes.
    pub(super) fn new(ahead: Bytes, rest: Rest) -> Self {
        let source = Source {
            attempt: 0,
            pieces: vec![ahead],
            at: 0,
            keeps: true,
            kept: 0,
            rest,
        };
        Self {
            source: Arc::new(Mutex::new(source)),
            attempt: 0,
        }
    }

    pub(super) fn replay(&self) -> ReplayBuffer {
        ReplayBuffer(Arc::clone(&self.source))
    }

    /// How many bytes have come, for who asks afterwards.
    pub(super) fn received(&self) -> Arc<AtomicU64> {
        lock(&self.source).rest.received()
    }

    /// What is read of it later.
    pub(super) fn drain(&self) -> BodyDrain {
        lock(&self.source).rest.drain()
    }

    pub(super) fn poll_data(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyFault>>> {
        let mut source = lock(&self.source);
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyFault::Superseded)));
        }
        if let Some(piece) = source.next_piece() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let piece = ready!(source.rest.poll_data(task));
        if let Some(Ok(piece)) = &piece {
            source.keep(piece);
        }
        Poll::Ready(piece)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let source = lock(&self.source);
        source.ahead() == 0 && source.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
        match source.rest.exact() {
            Some(exact) => SizeHint::with_exact(exact + source.ahead()),
            None => SizeHint::default(),
        }
    }
}

impl ReplayBuffer {
    /// Another attempt from the beginning, where all of it is still there.
    pub(super) fn again(&self) -> Option<StreamedBody> {
        let mut source = lock(&self.0);
        if !source.keeps {
            return None;
        }
        source.attempt += 1;
        source.at = 0;
        Some(StreamedBody {
            source: Arc::clone(&self.0),
            attempt: source.attempt,
        })
    }

    /// The hub answers: nothing is sent again.
    pub(super) fn release(&self) {
        let mut source = lock(&self.0);
        source.keeps = false;
        source.forget_sent();
    }
}

impl Source {
    fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.at).cloned()?;
        self.at += 1;
        self.forget_sent();
        Some(piece)
    }

    /// Bytes of pieces that the last attempt was not handed yet.
    fn ahead(&self) -> u64 {
        let pieces = self.pieces.iter().skip(self.at);
        pieces.map(|piece| piece.len() as u64).sum()
    }

    fn keep(&mut self, piece: &Bytes) {
        if !self.keeps {
            return;
        }
        let all = KEPT.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
        self.kept += piece.len();
        self.pieces.push(piece.clone());
        self.at += 1;
        if self.kept > OF_ONE || all > OF_ALL {
            self.keeps = false;
            self.forget_sent();
        }
    }

    /// What is not sent again is let go as soon as it was sent once.
    fn forget_sent(&mut self) {
        if !self.keeps && self.at == self.pieces.len() {
            self.pieces = Vec::new();
            self.at = 0;
            KEPT.fetch_sub(std::mem::take(&mut self.kept), Ordering::Relaxed);
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.kept, Ordering::Relaxed);
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().ignore_poison()
}
