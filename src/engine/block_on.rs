//! Waits for a future on the calling thread, until a deadline: for callers of a signature that is no task of a runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

/// Unparks the waiting thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until the future is ready. `None`: it was not by the deadline. The future must need neither the timers nor
/// the sockets of a runtime.
pub(crate) fn block_on_until<F: Future>(
    deadline: Instant,
    future: Pin<&mut F>,
) -> Option<F::Output> {
    // The caller may be within a task of tokio that has used up its budget. That is renewed only when the task yields, which it does
    // not do here: without it, nothing would be ready.
    let mut future = tokio::task::unconstrained(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn it_returns_when_the_future_is_ready_or_at_the_deadline() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let (_held, never) = oneshot::channel::<u8>();
        assert!(block_on_until(soon(), pin!(never)).is_none());
        let (send, receive) = oneshot::channel();
        let sender = thread::spawn(move || send.send(7));
        let late = Instant::now() + Duration::from_secs(60);
        assert_eq!(block_on_until(late, pin!(receive)), Some(Ok(7)));
        assert_eq!(sender.join().unwrap(), Ok(()));
        // Also in a task that has used up its budget.
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
            }
            let (send, receive) = oneshot::channel();
            assert_eq!(send.send(7), Ok(()));
            let late = Instant::now() + Duration::from_secs(60);
            assert_eq!(block_on_until(late, pin!(receive)), Some(Ok(7)));
            assert!(Instant::now() < late - Duration::from_secs(30));
        });
        // What is ready is taken after the deadline too.
        assert_eq!(block_on_until(Instant::now(), pin!(async { 1 })), Some(1));
    }
}
