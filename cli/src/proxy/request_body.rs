//! The body of a request: its first bytes are read before a connection to the hub is leased, so that a slow application
//! does not occupy one; the rest is streamed as fast as the hub reads it.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use super::body_drain::{BodyDrain, DrainableBody};
use super::replay_buffer::{ReplayBuffer, StreamedBody};

/// The number of bytes that are read before the request is sent. Forms and JSON of the scheme fit.
pub(super) const READ_AHEAD: usize = 64 << 10;

/// Why a body was not received completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    TooLong,
    TooSlow,
    /// The application closed the connection, or the framing of the body is invalid.
    Broken,
    /// The request is being retried, and this is the body of an earlier attempt.
    Superseded,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the body is longer than is allowed",
            Self::TooSlow => "the body did not come in time",
            Self::Broken => "the body broke off, or is malformed",
            Self::Superseded => "the request is being sent again",
        })
    }
}

impl StdError for BodyFault {}

/// The limits of a request body: its length, and the time without progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

/// The body of a request to the hub.
pub(super) enum RequestBody {
    /// A body that was received completely.
    Complete(Bytes),
    /// A body that is still being received.
    Streamed(StreamedBody),
}

/// Makes the body of a retry.
pub(super) enum ReplayableBody {
    Complete(Bytes),
    Streamed(ReplayBuffer),
}

impl ReplayableBody {
    /// The body from its beginning. None: its beginning is no longer buffered.
    pub(super) fn replay(&self) -> Option<RequestBody> {
        match self {
            Self::Complete(bytes) => Some(RequestBody::Complete(bytes.clone())),
            Self::Streamed(replay) => replay.restart().map(RequestBody::Streamed),
        }
    }

    /// No retry will follow: frees the buffer.
    pub(super) fn release(&self) {
        if let Self::Streamed(replay) = self {
            replay.release();
        }
    }
}

/// The number of bytes of a body that were received.
#[derive(Debug)]
pub(super) enum BytesReceived {
    Final(u64),
    Counting(Arc<AtomicU64>),
}

impl BytesReceived {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Final(bytes) => *bytes,
            Self::Counting(bytes) => bytes.load(Ordering::Relaxed),
        }
    }
}

/// The part of a body that was not read ahead, with its limits.
pub(super) struct BodyRemainder {
    unread: DrainableBody,
    /// The bytes that were received, for the access log.
    received: Arc<AtomicU64>,
    /// The bytes that may still come.
    left: u64,
    read_timeout: Duration,
    read_timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// Reads up to [`READ_AHEAD`] bytes of the body.
    pub(super) async fn read_ahead(
        unread: Option<DrainableBody>,
        limits: BodyLimits,
    ) -> Result<Self, BodyFault> {
        let Some(unread) = unread else {
            return Ok(Self::Complete(Bytes::new()));
        };
        if unread.size_hint().lower() > limits.bytes {
            return Err(BodyFault::TooLong);
        }
        let deadline = Instant::now() + limits.time;
        let expected = unread.size_hint().exact().unwrap_or(4096);
        let mut ahead = BytesMut::with_capacity(expected.min(READ_AHEAD as u64) as usize);
        while ahead.len() < READ_AHEAD {
            let next = poll_fn(|task| unread.poll_frame(task));
            let frame = timeout_at(deadline, next)
                .await
                .map_err(|_| BodyFault::TooSlow)?;
            match frame {
                // Copied: a slice of one byte would keep the whole receive buffer in memory.
                // Trailers are dropped: few servers read them, and they could contradict the head.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        ahead.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(BodyFault::Broken),
                None => return complete(ahead, limits),
            }
            if unread.is_end_stream() {
                return complete(ahead, limits);
            }
        }
        let received = ahead.len() as u64;
        let left = limits.bytes.checked_sub(received);
        let rest = BodyRemainder {
            unread,
            received: Arc::new(AtomicU64::new(received)),
            left: left.ok_or(BodyFault::TooLong)?,
            read_timeout: limits.time,
            read_timer: None,
        };
        Ok(Self::Streamed(StreamedBody::new(ahead.freeze(), rest)))
    }

    /// The number of bytes received, now and later.
    pub(super) fn received(&self) -> BytesReceived {
        match self {
            Self::Complete(bytes) => BytesReceived::Final(bytes.len() as u64),
            Self::Streamed(streamed) => BytesReceived::Counting(streamed.received()),
        }
    }

    /// A handle for retries. To be released when no retry will follow.
    pub(super) fn replayable(&self) -> ReplayableBody {
        match self {
            Self::Complete(bytes) => ReplayableBody::Complete(bytes.clone()),
            Self::Streamed(streamed) => ReplayableBody::Streamed(streamed.replay_buffer()),
        }
    }

    /// A handle on the unread part of the body, if there is one.
    pub(super) fn drain(&self) -> Option<BodyDrain> {
        match self {
            Self::Complete(_) => None,
            Self::Streamed(streamed) => Some(streamed.drain()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Complete(bytes) if bytes.is_empty())
    }
}

fn complete(body: BytesMut, limits: BodyLimits) -> Result<RequestBody, BodyFault> {
    match body.len() as u64 <= limits.bytes {
        true => Ok(RequestBody::Complete(body.freeze())),
        false => Err(BodyFault::TooLong),
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.get_mut() {
            Self::Complete(bytes) if bytes.has_remaining() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Self::Complete(_) => Poll::Ready(None),
            Self::Streamed(streamed) => {
                let data = ready!(streamed.poll_data(task));
                Poll::Ready(data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Complete(bytes) => bytes.is_empty(),
            Self::Streamed(streamed) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Complete(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(streamed) => streamed.size_hint(),
        }
    }
}

impl BodyRemainder {
    pub(super) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    pub(super) fn drain(&self) -> BodyDrain {
        self.unread.drain()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.unread.is_end_stream()
    }

    /// The number of bytes that are still to come, if the length is known.
    pub(super) fn exact_length(&self) -> Option<u64> {
        self.unread.size_hint().exact()
    }

    pub(super) fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            let fault = match self.unread.poll_frame(task) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.read_timer = None;
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    match self.left.checked_sub(data.len() as u64) {
                        Some(left) => {
                            self.left = left;
                            self.received
                                .fetch_add(data.len() as u64, Ordering::Relaxed);
                            return Poll::Ready(Some(Ok(data)));
                        }
                        None => BodyFault::TooLong,
                    }
                }
                Poll::Ready(Some(Err(()))) => BodyFault::Broken,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let timeout = self.read_timeout;
                    let timer = self
                        .read_timer
                        .get_or_insert_with(|| Box::pin(sleep(timeout)));
                    ready!(timer.as_mut().poll(task));
                    BodyFault::TooSlow
                }
            };
            self.read_timer = None;
            return self.unread.fail(fault, task).map_err(|()| fault);
        }
    }
}

/// The fault of the request body that caused an error of hyper's.
pub(super) fn find_body_fault(error: &(dyn StdError + 'static)) -> Option<BodyFault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref() {
            return Some(*fault);
        }
        next = error.source();
    }
    None
}
