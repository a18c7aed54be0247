//! Polls reqwest's TLS handshakes on blocking threads, so that they do not block the application's tasks. reqwest makes them out
//! of our sight, so they cannot have the two runs of [`crate::tls::replay`].
//!
//! rustls requests a signature within a poll, and the poll blocks until the token has signed. On the application's runtime
//! that would block every task of the thread, and on a runtime of one thread the whole application. Sockets, timers and the
//! wait for the network stay with the application's runtime: a blocking thread is in use only during a poll.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::poison::IgnorePoison as _;

/// The number of handshakes that are polled at once; further ones wait for a thread.
const MAX_THREADS: usize = 512;

/// A runtime of which only the blocking threads are used. The application's blocking threads cannot be used: handshakes
/// that occupied all of them would wait for name resolution, which needs one of them too.
static THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let threads = Builder::new_current_thread()
        .thread_name("hsm-handshake")
        .thread_keep_alive(Duration::from_secs(10))
        .max_blocking_threads(MAX_THREADS)
        .build();
    threads.ok()
});

/// Runs a future whose polls may block.
pub(crate) async fn offload<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let notify = Arc::new(PollNotify::default());
    notify.wake_by_ref();
    // Log events of any thread belong to the caller's span.
    poll_on_threads(Box::pin(future.in_current_span()), &notify).await
}

async fn poll_on_threads<F>(mut future: Pin<Box<F>>, notify: &Arc<PollNotify>) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (Some(threads), Ok(application)) = (&*THREADS, Handle::try_current()) else {
        return future.await;
    };
    loop {
        notify.requested().await;
        let (application, waker) = (application.clone(), Waker::from(Arc::clone(notify)));
        let polled = threads.spawn_blocking(move || {
            let _entered = application.enter();
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => Err(future),
            }
        });
        // A caller that is dropped before a thread was free causes no signature.
        let _abort_on_drop = AbortOnDrop(polled.abort_handle());
        future = match polled.await {
            Ok(Ok(output)) => return output,
            Ok(Err(unfinished)) => unfinished,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The threads end only with the process: no output is needed any more.
                Err(_) => std::future::pending().await,
            },
        };
    }
}

/// The future's waker. It keeps the request for another poll, also one that comes during a poll on another thread.
#[derive(Default)]
struct PollNotify {
    poll_requested: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl PollNotify {
    async fn requested(&self) {
        poll_fn(|task| {
            self.register(task);
            match self.poll_requested.swap(false, Ordering::AcqRel) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Registers the task to wake. To be called before `poll_requested` is read, so that no request in between is lost.
    fn register(&self, task: &Context<'_>) {
        *self.lock() = Some(task.waker().clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.task.lock().ignore_poison()
    }
}

impl Wake for PollNotify {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.poll_requested.store(true, Ordering::Release);
        let task = self.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Cancels a poll that no thread has started.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
