//! The unread part of a request body. It is streamed to the hub for as long as the hub reads it. What the hub does not
//! read is drained (read and discarded), because an application may write its whole body before it reads the response.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::client_stream::RequestActivity;
use super::context::ProxyContext;
use super::request_body::BodyFault;
use hsm_mtls::internal::poison::IgnorePoison as _;

/// After an error response, a hub that reads nothing of the body for this long is taken to read no more.
const STALL_TIMEOUT_REFUSED: Duration = Duration::from_secs(1);
/// The stall timeout after a successful response: the hub may still need the rest of the body.
const STALL_TIMEOUT_ACCEPTED: Duration = Duration::from_secs(5);

/// The reader of a body. If it is dropped before the end, the rest is drained.
pub(super) struct DrainableBody(Arc<SharedBody>);

/// The handle by which the response side reports its progress: it decides when the body is drained.
#[derive(Clone)]
pub(super) struct BodyDrain(Arc<SharedBody>);

struct SharedBody {
    context: Arc<ProxyContext>,
    activity: Arc<RequestActivity>,
    state: Mutex<DrainState>,
}

#[derive(Default)]
struct DrainState {
    body: Option<Incoming>,
    /// The application waits for 100 (Continue), which was not sent yet.
    awaits_continue: bool,
    /// The reader waits for data.
    reader_waits: bool,
    /// The rest is not handed to the reader any more.
    draining: bool,
    /// The response of the hub has started.
    response_started: bool,
    /// The response has ended, or was aborted.
    response_over: bool,
    /// The response started before the body was read completely.
    early_response: bool,
    /// Why the body is incomplete.
    fault: Option<BodyFault>,
    /// The number of frames that were read.
    frames: u64,
    reader: Option<Waker>,
}

impl DrainableBody {
    pub(super) fn new(
        body: Incoming,
        awaits_continue: bool,
        context: &Arc<ProxyContext>,
        activity: &Arc<RequestActivity>,
    ) -> Self {
        let state = DrainState {
            body: Some(body),
            awaits_continue,
            ..DrainState::default()
        };
        Self(Arc::new(SharedBody {
            context: Arc::clone(context),
            activity: Arc::clone(activity),
            state: Mutex::new(state),
        }))
    }

    pub(super) fn drain(&self) -> BodyDrain {
        BodyDrain(Arc::clone(&self.0))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.0.state();
        !state.draining && state.body.as_ref().is_none_or(Body::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.0.state();
        let none = || SizeHint::with_exact(0);
        state.body.as_ref().map_or_else(none, Body::size_hint)
    }

    /// The next frame. An error if the body is being drained, or broke off.
    pub(super) fn poll_frame(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        let mut state = self.0.state();
        if state.draining {
            return state.poll_cut_off(task);
        }
        state.awaits_continue = false;
        let Some(body) = &mut state.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(task);
        state.reader_waits = polled.is_pending();
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                state.frames += 1;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                state.body = None;
                Poll::Ready(end.map(|broken| broken.map_err(|_| ())))
            }
            Poll::Pending => {
                state.reader = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Ends the body with an error, because of a fault of the application. The rest is drained.
    pub(super) fn fail<T>(
        &self,
        fault: BodyFault,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<T, ()>>> {
        let response_started = {
            let mut state = self.0.state();
            state.fault.get_or_insert(fault);
            state.response_started
        };
        if !response_started {
            return Poll::Ready(Some(Err(())));
        }
        self.0.start_draining();
        let mut state = self.0.state();
        state.draining = true;
        state.poll_cut_off(task)
    }
}

impl DrainState {
    /// Reports to hyper that the body is cut off, which ends the connection to the hub or the HTTP/2 stream. So while a
    /// response is being received, this is pending until it has ended.
    fn poll_cut_off<T>(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<T, ()>>> {
        if self.response_over || !self.response_started {
            return Poll::Ready(Some(Err(())));
        }
        self.reader = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Drop for DrainableBody {
    fn drop(&mut self) {
        self.0.start_draining();
    }
}

impl BodyDrain {
    /// Whether the response started before the body was read completely.
    pub(super) fn is_early_response(&self) -> bool {
        self.0.state().early_response
    }

    /// The fault of the application because of which the body is incomplete.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.0.state().fault
    }

    /// The response of the hub has started. If the body was not read completely, a task watches whether the hub still
    /// reads it, and drains the rest if not.
    pub(super) fn response_started(&self, status: u16) {
        self.0.state().response_started = true;
        if self.0.is_read() {
            return;
        }
        self.0.state().early_response = true;
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let refused = is_refusal(status);
            let stall_timeout = if refused {
                STALL_TIMEOUT_REFUSED
            } else {
                STALL_TIMEOUT_ACCEPTED
            };
            let mut frames_before = None;
            while !shared.is_read() {
                let frames = shared.stalled_frames(refused);
                if frames.is_some() && frames == frames_before {
                    return shared.start_draining();
                }
                frames_before = frames;
                sleep(stall_timeout).await;
            }
        });
    }

    /// The response has ended. After an error response the rest of the body is drained; after a successful one it is
    /// sent for as long as the hub reads it.
    pub(super) fn response_ended(&self, status: u16) {
        let read = self.0.is_read();
        self.0.set_response_over();
        if is_refusal(status) && !read {
            self.0.start_draining();
        }
    }

    /// The response was aborted, most often because the application has gone. The body ends with an error, so that the
    /// hub does not wait for the rest of it.
    pub(super) fn response_aborted(&self) {
        self.0.set_response_over();
    }
}

/// Whether a status means that the request was not carried out: then the hub does not need the rest of the body.
fn is_refusal(status: u16) -> bool {
    status >= 300
}

impl SharedBody {
    fn state(&self) -> MutexGuard<'_, DrainState> {
        self.state.lock().ignore_poison()
    }

    /// From now on cutting the body off interrupts no response. Wakes the reader.
    fn set_response_over(&self) {
        let reader = {
            let mut state = self.state();
            state.response_over = true;
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether the body was read to its end.
    fn is_read(&self) -> bool {
        let state = self.state();
        state.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// The number of frames read, if the reader does not wait for data although the response is an error or has ended.
    fn stalled_frames(&self, refused: bool) -> Option<u64> {
        let state = self.state();
        (!state.reader_waits && (refused || state.response_over)).then_some(state.frames)
    }

    /// Discards the rest of the body in a task of its own.
    fn start_draining(&self) {
        let (body, awaits_continue) = {
            let mut state = self.state();
            let Some(body) = state.body.take_if(|body| !body.is_end_stream()) else {
                return;
            };
            state.draining = true;
            (body, state.awaits_continue)
        };
        // Reading would send 100 (Continue). An application that waits for it gets none, and the connection ends.
        let runtime = Handle::try_current().ok().filter(|_| !awaits_continue);
        let Some(runtime) = runtime else {
            self.activity.body_cut.store(true, Ordering::Relaxed);
            return;
        };
        let (context, activity) = (Arc::clone(&self.context), Arc::clone(&self.activity));
        activity.begin();
        runtime.spawn(async move {
            context.lingering_close.discard_body(body, &activity).await;
            activity.end();
        });
    }
}
