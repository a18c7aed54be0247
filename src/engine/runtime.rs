//! Handshakes on threads of their own, so that the application's tasks go on meanwhile.
//!
//! rustls asks for a signature in the middle of a poll, and the token takes its time. On the
//! application's runtime that would stop every task of the thread, and on a runtime of one thread
//! the whole application. Sockets and timers stay with the application's runtime; only the polling
//! is done here.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tracing::Instrument;

/// Handshakes at once; more of them wait for a thread.
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

/// Polls a future on a thread where it may block. It ends when the answer is no longer waited for.
pub(crate) async fn apart<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (Some(threads), Ok(application)) = (&*THREADS, Handle::try_current()) else {
        return future.await;
    };
    // Its records belong to the caller, whatever thread they are made on.
    let future = future.in_current_span();
    let (waits, gone) = oneshot::channel::<()>();
    let polled = threads.spawn_blocking(move || {
        let (mut future, mut gone) = (pin!(future), pin!(gone));
        application.block_on(poll_fn(|context| {
            // First: nothing is signed for somebody who has gone.
            if gone.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(context).map(Some)
        }))
    });
    let output = polled.await;
    drop(waits);
    match output {
        Ok(Some(output)) => output,
        // Nobody else can have dropped the sender.
        Ok(None) => std::future::pending().await,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The threads end with the process: there is nobody left to tell.
            Err(_) => std::future::pending().await,
        },
    }
}
