//! Handshakes take turns on the runtime's threads. Each computes for a tenth of a millisecond or two at a time, and where many
//! can go on at once, the other tasks of the runtime would wait for all of them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// A poll that took longer was a computation. One that only looks whether something has come takes a few microseconds.
const COMPUTATION: Duration = Duration::from_micros(30);

/// The turns of all handshakes of a connector: as many as its runtime has threads. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct CpuTurns(Arc<OnceLock<Semaphore>>);

impl CpuTurns {
    /// Polls a future in turns. A turn in which it computed ends after the runtime has looked for what else is ready: sockets,
    /// timers and the tasks that wait for them.
    pub(super) async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            // It is never closed; without a turn the future is polled all the same.
            let turn = self.turns().acquire().await;
            let began = Instant::now();
            let polled = poll_fn(|task| Poll::Ready(future.as_mut().poll(task))).await;
            let is_computation = began.elapsed() >= COMPUTATION;
            if is_computation {
                yield_now().await;
            }
            drop(turn);
            match polled {
                Poll::Ready(output) => return output,
                // What woke it meanwhile is not known: it is polled again.
                Poll::Pending if is_computation => {}
                Poll::Pending => until_woken().await,
            }
        }
    }

    fn turns(&self) -> &Semaphore {
        self.0.get_or_init(|| {
            let threads = Handle::try_current().map(|runtime| runtime.metrics().num_workers());
            Semaphore::new(threads.unwrap_or(1).max(1))
        })
    }
}

/// Ends when the task is polled again. The waker is the one with which the future was polled just before.
async fn until_woken() {
    let mut is_woken = false;
    poll_fn(|_| match std::mem::replace(&mut is_woken, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    /// Computes twice, as a handshake does, and returns how often the other task had run before each.
    async fn computes(others: Rc<Cell<u32>>) -> [u32; 2] {
        let compute = || {
            let before = others.get();
            let began = Instant::now();
            while began.elapsed() < 2 * COMPUTATION {
                std::hint::spin_loop();
            }
            before
        };
        let first = compute();
        yield_now().await;
        [first, compute()]
    }

    #[tokio::test]
    async fn other_tasks_run_between_the_computations() {
        let turns = CpuTurns::default();
        let others = Rc::new(Cell::new(0));
        let tasks = LocalSet::new();
        let counted = Rc::clone(&others);
        tasks.spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        let computing: Vec<_> = (0..20)
            .map(|_| {
                let (turns, others) = (turns.clone(), Rc::clone(&others));
                tasks.spawn_local(async move { turns.run(computes(others)).await })
            })
            .collect();
        let mut seen = Vec::new();
        for computed in computing {
            seen.extend(tasks.run_until(computed).await.unwrap());
        }
        seen.sort_unstable();
        let twice = seen.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(
            twice, 0,
            "computations without the other task in between: {seen:?}"
        );
    }

    #[tokio::test]
    async fn a_turn_is_given_back_by_a_future_that_is_dropped() {
        let turns = CpuTurns::default();
        for _ in 0..3 {
            let ended = turns.run(std::future::pending::<()>());
            assert!(
                tokio::time::timeout(Duration::from_millis(1), ended)
                    .await
                    .is_err()
            );
        }
        assert_eq!(turns.run(async { 7 }).await, 7);
        assert_eq!(turns.turns().available_permits(), 1);
    }
}
