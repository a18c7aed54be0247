//! The body of a request: read a little ahead, so that a slow application holds no connection to
//! the hub, then streamed as fast as the hub takes it.

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

/// How much is kept before the hub is asked, in bytes. Forms and JSON of the scheme fit.
pub(super) const AHEAD: usize = 64 << 10;

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    TooLong,
    TooSlow,
    /// The application went away, or what it sent is no body.
    Broken,
    /// The request is being sent again, and this attempt at it is over.
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

/// Limits of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

/// A body on its way to the hub.
pub(super) enum RequestBody {
    /// All of it.
    Whole(Bytes),
    /// Its beginning, and the rest as it comes.
    Streamed(StreamedBody),
}

/// What makes the same body again.
pub(super) enum RepeatableBody {
    Whole(Bytes),
    Streamed(ReplayBuffer),
}

impl RepeatableBody {
    /// The body from its beginning, where that is still there.
    pub(super) fn body(&self) -> Option<RequestBody> {
        match self {
            Self::Whole(bytes) => Some(RequestBody::Whole(bytes.clone())),
            Self::Streamed(replay) => replay.again().map(RequestBody::Streamed),
        }
    }

    /// There is an answer: nothing is sent again.
    pub(super) fn release(&self) {
        if let Self::Streamed(replay) = self {
            replay.release();
        }
    }
}

/// How many bytes of a body have come.
#[derive(Debug)]
pub(super) enum BytesReceived {
    All(u64),
    SoFar(Arc<AtomicU64>),
}

impl BytesReceived {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::All(bytes) => *bytes,
            Self::SoFar(bytes) => bytes.load(Ordering::Relaxed),
        }
    }
}

pub(super) struct Rest {
    unread: DrainableBody,
    /// Bytes that have come, for who asks afterwards.
    received: Arc<AtomicU64>,
    left: u64,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// Reads so far ahead as is kept.
    pub(super) async fn read_ahead(
        unread: Option<DrainableBody>,
        limits: BodyLimits,
    ) -> Result<Self, BodyFault> {
        let Some(unread) = unread else {
            return Ok(Self::Whole(Bytes::new()));
        };
        if unread.size_hint().lower() > limits.bytes {
            return Err(BodyFault::TooLong);
        }
        let deadline = Instant::now() + limits.time;
        let expected = unread.size_hint().exact().unwrap_or(4096);
        let mut ahead = BytesMut::with_capacity(expected.min(AHEAD as u64) as usize);
        while ahead.len() < AHEAD {
            let next = poll_fn(|task| unread.poll_frame(task));
            let frame = timeout_at(deadline, next)
                .await
                .map_err(|_| BodyFault::TooSlow)?;
            match frame {
                // Copied: a chunk of a byte would hold on to the whole buffer that it came in.
                // Trailers are left out: few servers read them, and they change what was said.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        ahead.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(BodyFault::Broken),
                None => return whole(ahead, limits),
            }
            if unread.is_end_stream() {
                return whole(ahead, limits);
            }
        }
        let come = ahead.len() as u64;
        let left = limits.bytes.checked_sub(come);
        let rest = Rest {
            unread,
            received: Arc::new(AtomicU64::new(come)),
            left: left.ok_or(BodyFault::TooLong)?,
            patience: limits.time,
            waiting: None,
        };
        Ok(Self::Streamed(StreamedBody::new(ahead.freeze(), rest)))
    }

    /// How many bytes have come, now and later.
    pub(super) fn received(&self) -> BytesReceived {
        match self {
            Self::Whole(bytes) => BytesReceived::All(bytes.len() as u64),
            Self::Streamed(streamed) => BytesReceived::SoFar(streamed.received()),
        }
    }

    /// What makes it again, should the hub not process the request.
    pub(super) fn again(&self) -> RepeatableBody {
        match self {
            Self::Whole(bytes) => RepeatableBody::Whole(bytes.clone()),
            Self::Streamed(streamed) => RepeatableBody::Streamed(streamed.replay()),
        }
    }

    /// What is read of it later, if anything is.
    pub(super) fn drain(&self) -> Option<BodyDrain> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(streamed) => Some(streamed.drain()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }
}

fn whole(body: BytesMut, limits: BodyLimits) -> Result<RequestBody, BodyFault> {
    match body.len() as u64 <= limits.bytes {
        true => Ok(RequestBody::Whole(body.freeze())),
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
            Self::Whole(bytes) if bytes.has_remaining() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Self::Whole(_) => Poll::Ready(None),
            Self::Streamed(streamed) => {
                let data = ready!(streamed.poll_data(task));
                Poll::Ready(data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streamed(streamed) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(streamed) => streamed.size_hint(),
        }
    }
}

impl Rest {
    pub(super) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    pub(super) fn drain(&self) -> BodyDrain {
        self.unread.drain()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.unread.is_end_stream()
    }

    /// How many bytes are still to come, where that was said.
    pub(super) fn exact(&self) -> Option<u64> {
        self.unread.size_hint().exact()
    }

    pub(super) fn poll_data(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            let fault = match self.unread.poll_frame(task) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = None;
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
                    let patience = self.patience;
                    let waiting = self
                        .waiting
                        .get_or_insert_with(|| Box::pin(sleep(patience)));
                    ready!(waiting.as_mut().poll(task));
                    BodyFault::TooSlow
                }
            };
            self.waiting = None;
            return self.unread.fail(fault, task).map_err(|()| fault);
        }
    }
}

/// The fault of the application's body that made a call fail.
pub(super) fn fault_in(error: &(dyn StdError + 'static)) -> Option<BodyFault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref() {
            return Some(*fault);
        }
        next = error.source();
    }
    None
}
