//! Handshakes on threads of their own, so that the application's tasks go on meanwhile.
//!
//! rustls asks for a signature in the middle of a poll, and the token takes its time. On the
//! application's runtime that would stop every task of the thread, and on a runtime of one thread
//! the whole application. Sockets and timers stay with the application's runtime, and so does the
//! wait for the network: a thread is held only while there is something to do.

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

/// Handshakes that are worked on at once; more of them wait for a thread.
const MOST_THREADS: usize = 512;

/// A runtime whose threads are all that is used of it: not the application's own pool, because a
/// handshake that holds a thread of it while its name is resolved on another could starve itself.
static THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let threads = Builder::new_current_thread()
        .thread_name("hsm-handshake")
        .thread_keep_alive(Duration::from_secs(10))
        .max_blocking_threads(MOST_THREADS)
        .build();
    threads.ok()
});

/// Polls a future where it may block.
#[cfg(feature = "reqwest")]
pub(crate) async fn apart<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let due = Arc::new(Due::default());
    due.wake_by_ref();
    // Its records belong to the caller, whatever thread they are made on.
    poll_apart(Box::pin(future.in_current_span()), &due).await
}

/// As [`apart`], for a future that cannot block in its first poll: that one is the caller's own,
/// and is spared the way to another thread and back.
pub(crate) async fn apart_once_begun<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut future = Box::pin(future.in_current_span());
    let due = Arc::new(Due::default());
    match due.poll_here(&mut future).await {
        Poll::Ready(output) => output,
        Poll::Pending => poll_apart(future, &due).await,
    }
}

async fn poll_apart<F>(mut future: Pin<Box<F>>, due: &Arc<Due>) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (Some(threads), Ok(application)) = (&*THREADS, Handle::try_current()) else {
        return future.await;
    };
    loop {
        due.again().await;
        let (application, waker) = (application.clone(), Waker::from(Arc::clone(due)));
        let polled = threads.spawn_blocking(move || {
            let _sockets_and_timers = application.enter();
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => Err(future),
            }
        });
        // Nothing is signed for somebody who has gone before a thread was free.
        let _unbegun = Abandon(polled.abort_handle());
        future = match polled.await {
            Ok(Ok(output)) => return output,
            Ok(Err(unfinished)) => unfinished,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The threads end with the process: there is nobody left to tell.
                Err(_) => std::future::pending().await,
            },
        };
    }
}

/// Whether the future has asked for another poll, also while it was being polled elsewhere.
#[derive(Default)]
struct Due {
    asked: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Due {
    async fn poll_here<F: Future>(self: &Arc<Self>, future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(self));
        poll_fn(|task| {
            self.wakes(task);
            Poll::Ready(future.as_mut().poll(&mut Context::from_waker(&waker)))
        })
        .await
    }

    async fn again(&self) {
        poll_fn(|task| {
            self.wakes(task);
            match self.asked.swap(false, Ordering::AcqRel) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Before `asked` is looked at: who asks in between finds the task to wake.
    fn wakes(&self, task: &Context<'_>) {
        *self.lock() = Some(task.waker().clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.task.lock().ignore_poison()
    }
}

impl Wake for Due {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.asked.store(true, Ordering::Release);
        let task = self.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Takes back a poll that no thread has begun.
struct Abandon(AbortHandle);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abort();
    }
}
