//! What of a request's body has not been read yet, and who reads it: the hub, for as long as it
//! takes it, then nobody. What nobody wants is read to its end nevertheless, because an application
//! may write all of it before it looks for an answer.

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

/// A hub that has refused a request, and takes nothing for so long, takes nothing more.
const TAKES_NO_MORE: Duration = Duration::from_secs(1);
/// The same of one that has done what it was asked for, and may want the rest.
const MAY_TAKE_MORE: Duration = Duration::from_secs(5);

/// The body of a request, for who reads it. Let go before its end, it is read and forgotten.
pub(super) struct DrainableBody(Arc<Shared>);

/// The same, for who knows what has become of the request.
#[derive(Clone)]
pub(super) struct BodyDrain(Arc<Shared>);

struct Shared {
    context: Arc<ProxyContext>,
    activity: Arc<RequestActivity>,
    /// Which request of the connection it is.
    begun: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    body: Option<Incoming>,
    /// The application waits for 100 (Continue), and has not been sent it.
    awaits_continue: bool,
    /// Its reader has asked for more, and nothing was there.
    wanted: bool,
    /// Nobody wants it any more.
    given_up: bool,
    /// The hub's answer has begun, and come to its end.
    answering: bool,
    answered: bool,
    /// It began before the body was read.
    early: bool,
    /// Why it was not handed on as a whole.
    fault: Option<BodyFault>,
    /// Frames that were read.
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
        let state = State {
            body: Some(body),
            awaits_continue,
            ..State::default()
        };
        Self(Arc::new(Shared {
            context: Arc::clone(context),
            activity: Arc::clone(activity),
            begun: activity.begun(),
            state: Mutex::new(state),
        }))
    }

    pub(super) fn drain(&self) -> BodyDrain {
        BodyDrain(Arc::clone(&self.0))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.0.state();
        !state.given_up && state.body.as_ref().is_none_or(Body::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.0.state();
        let none = || SizeHint::with_exact(0);
        state.body.as_ref().map_or_else(none, Body::size_hint)
    }

    /// The next frame. An error where it is not wanted any more, or broke off.
    pub(super) fn poll_frame(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        let mut state = self.0.state();
        if state.given_up {
            return state.ends(task);
        }
        state.awaits_continue = false;
        let Some(body) = &mut state.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(task);
        let at_end = match &polled {
            Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if at_end {
            self.0.activity.has_read(self.0.begun);
        }
        state.wanted = polled.is_pending();
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

    /// What comes is not handed on any more, for a reason of the application's.
    pub(super) fn fail<T>(
        &self,
        fault: BodyFault,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<T, ()>>> {
        let answering = {
            let mut state = self.0.state();
            state.fault.get_or_insert(fault);
            state.answering
        };
        if !answering {
            return Poll::Ready(Some(Err(())));
        }
        self.0.give_up();
        let mut state = self.0.state();
        state.given_up = true;
        state.ends(task)
    }
}

impl State {
    /// A body that breaks off ends the connection to the hub, or the stream; so not before the
    /// answer has come, where one is under way.
    fn ends<T>(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<T, ()>>> {
        if self.answered || !self.answering {
            return Poll::Ready(Some(Err(())));
        }
        self.reader = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Drop for DrainableBody {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl BodyDrain {
    /// Whether the hub answered before the body was read.
    pub(super) fn is_early(&self) -> bool {
        self.0.state().early
    }

    /// Why the body was not handed on as a whole, where the application is the reason.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.0.state().fault
    }

    /// The hub answers while the body is under way. Where it refuses the request and takes no more
    /// of it, the rest is not kept for it.
    pub(super) fn answers(&self, status: u16) {
        self.0.state().answering = true;
        if self.0.is_over() {
            return;
        }
        self.0.state().early = true;
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let refused = refuses(status);
            let patience = if refused {
                TAKES_NO_MORE
            } else {
                MAY_TAKE_MORE
            };
            let mut seen = None;
            while !shared.is_over() {
                let stuck = shared.stuck(refused);
                if stuck.is_some() && stuck == seen {
                    return shared.give_up();
                }
                seen = stuck;
                sleep(patience).await;
            }
        });
    }

    /// The hub's answer has come to its end. What it refused is not sent on; what it took without
    /// having read it as a whole is, for as long as it takes it.
    pub(super) fn answered(&self, status: u16) {
        let over = self.0.is_over();
        self.0.waits_no_more();
        if refuses(status) && !over {
            self.0.give_up();
        }
    }

    /// The answer is broken off, most often because the application has gone: the hub is not left
    /// waiting for the rest of the body.
    pub(super) fn abandoned(&self) {
        self.0.waits_no_more();
    }
}

/// Whether an answer says that the request was not done: the rest of its body changes nothing then.
fn refuses(status: u16) -> bool {
    status >= 300
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignore_poison()
    }

    /// There is no answer any more that the end of the body could cut off.
    fn waits_no_more(&self) {
        let reader = {
            let mut state = self.state();
            state.answered = true;
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn is_over(&self) -> bool {
        let state = self.state();
        state.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// How much was read where the reader does not ask for more, and will not.
    fn stuck(&self, refused: bool) -> Option<u64> {
        let state = self.state();
        (!state.wanted && (refused || state.answered)).then_some(state.frames)
    }

    /// From now on what comes is forgotten.
    fn give_up(&self) {
        let (body, awaits_continue) = {
            let mut state = self.state();
            let Some(body) = state.body.take_if(|body| !body.is_end_stream()) else {
                return;
            };
            state.given_up = true;
            (body, state.awaits_continue)
        };
        // To read it would send the 100 that it waits for.
        let runtime = Handle::try_current().ok().filter(|_| !awaits_continue);
        let Some(runtime) = runtime else {
            self.activity.cut.store(true, Ordering::Relaxed);
            return;
        };
        let (context, activity) = (Arc::clone(&self.context), Arc::clone(&self.activity));
        let begun = self.begun;
        activity.enter();
        runtime.spawn(async move {
            if context.closing.discard(body, &activity).await {
                activity.has_read(begun);
            }
            activity.leave();
        });
    }
}
