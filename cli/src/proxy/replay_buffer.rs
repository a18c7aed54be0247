//! The replay buffer of a streamed request body: what was sent is kept until the hub responds, because an HTTP/2 server
//! may report afterwards that it did not process the request, and the request is retried then.
//!
//! A server that has not read a request accepts no more of its body than the flow-control window. So the buffer is
//! bounded, for one body and for all together; a body that exceeds it cannot be retried.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::SizeHint;

use super::body_drain::BodyDrain;
use super::request_body::{BodyFault, BodyRemainder};
use hsm_mtls::internal::poison::IgnorePoison as _;

/// The most bytes that are buffered of one body.
const MAX_PER_BODY: usize = 1 << 20;
/// The most bytes that are buffered of all bodies.
const MAX_TOTAL: usize = 32 << 20;

/// The bytes that are buffered of all bodies.
static BUFFERED: AtomicUsize = AtomicUsize::new(0);

/// The body of one attempt at the request.
pub(super) struct StreamedBody {
    source: Arc<Mutex<BodySource>>,
    attempt: u32,
}

/// Makes the body of the next attempt.
pub(super) struct ReplayBuffer(Arc<Mutex<BodySource>>);

/// The body itself, shared by all attempts.
struct BodySource {
    /// The number of the current attempt; the earlier ones have failed.
    attempt: u32,
    /// What was read ahead, and, while `replayable`, everything that was read after it.
    chunks: Vec<Bytes>,
    /// The next chunk that the current attempt gets.
    position: usize,
    /// All chunks from the beginning are buffered.
    replayable: bool,
    /// The buffered bytes, without those that were read ahead.
    buffered: usize,
    remainder: BodyRemainder,
}

impl StreamedBody {
    /// The body of the first attempt: what was read ahead, then the remainder.
    pub(super) fn new(ahead: Bytes, remainder: BodyRemainder) -> Self {
        let source = BodySource {
            attempt: 0,
            chunks: vec![ahead],
            position: 0,
            replayable: true,
            buffered: 0,
            remainder,
        };
        Self {
            source: Arc::new(Mutex::new(source)),
            attempt: 0,
        }
    }

    pub(super) fn replay_buffer(&self) -> ReplayBuffer {
        ReplayBuffer(Arc::clone(&self.source))
    }

    /// The counter of the bytes received.
    pub(super) fn received(&self) -> Arc<AtomicU64> {
        lock(&self.source).remainder.received()
    }

    /// A handle on the unread part of the body.
    pub(super) fn drain(&self) -> BodyDrain {
        lock(&self.source).remainder.drain()
    }

    pub(super) fn poll_data(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyFault>>> {
        let mut source = lock(&self.source);
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyFault::Superseded)));
        }
        if let Some(chunk) = source.next_chunk() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        let chunk = ready!(source.remainder.poll_data(task));
        if let Some(Ok(chunk)) = &chunk {
            source.buffer(chunk);
        }
        Poll::Ready(chunk)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let source = lock(&self.source);
        source.buffered_ahead() == 0 && source.remainder.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
        match source.remainder.exact_length() {
            Some(exact) => SizeHint::with_exact(exact + source.buffered_ahead()),
            None => SizeHint::default(),
        }
    }
}

impl ReplayBuffer {
    /// The body of a new attempt, from the beginning. None: its beginning is no longer buffered.
    pub(super) fn restart(&self) -> Option<StreamedBody> {
        let mut source = lock(&self.0);
        if !source.replayable {
            return None;
        }
        source.attempt += 1;
        source.position = 0;
        Some(StreamedBody {
            source: Arc::clone(&self.0),
            attempt: source.attempt,
        })
    }

    /// No further attempt will follow: frees the buffer.
    pub(super) fn release(&self) {
        let mut source = lock(&self.0);
        source.replayable = false;
        source.free_sent();
    }
}

impl BodySource {
    fn next_chunk(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.get(self.position).cloned()?;
        self.position += 1;
        self.free_sent();
        Some(chunk)
    }

    /// The bytes of chunks that the current attempt has not got yet.
    fn buffered_ahead(&self) -> u64 {
        let chunks = self.chunks.iter().skip(self.position);
        chunks.map(|chunk| chunk.len() as u64).sum()
    }

    /// Keeps a chunk for retries, unless the buffer is full: then the body is no longer replayable.
    fn buffer(&mut self, chunk: &Bytes) {
        if !self.replayable {
            return;
        }
        let total = BUFFERED.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        self.buffered += chunk.len();
        self.chunks.push(chunk.clone());
        self.position += 1;
        if self.buffered > MAX_PER_BODY || total > MAX_TOTAL {
            self.replayable = false;
            self.free_sent();
        }
    }

    /// Frees the chunks once they were sent, if there will be no retry.
    fn free_sent(&mut self) {
        if !self.replayable && self.position == self.chunks.len() {
            self.chunks = Vec::new();
            self.position = 0;
            BUFFERED.fetch_sub(std::mem::take(&mut self.buffered), Ordering::Relaxed);
        }
    }
}

impl Drop for BodySource {
    fn drop(&mut self) {
        BUFFERED.fetch_sub(self.buffered, Ordering::Relaxed);
    }
}

fn lock(source: &Mutex<BodySource>) -> MutexGuard<'_, BodySource> {
    source.lock().ignore_poison()
}
