//! The bounded queue, and the count of those who work on it. Apart from what the workers work with:
//! the last of them counts itself out only after it has let go of session and token.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::Span;

use super::{EngineError, Peer, Purpose, SignRequest};
use crate::key::scheme::Scheme;
use crate::metrics::KeyMetrics;
use crate::poison::IgnorePoison as _;

/// How many requests may wait before a caller is turned away: as many as there may be handshakes
/// at once. It bounds memory; how long one waits is bounded by its deadline.
const MOST_WAITING: usize = 512;

/// After this long a token that had no session left is asked for more again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What its caller says of a signature.
pub(super) struct Claim {
    pub(super) purpose: Purpose,
    pub(super) peer: Option<String>,
    pub(super) interaction_id: Option<String>,
}

/// A message that waits for its signature.
pub(super) struct Job {
    pub(super) scheme: Scheme,
    pub(super) message: Vec<u8>,
    pub(super) claim: Box<Claim>,
    pub(super) deadline: Instant,
    pub(super) answer: SyncSender<Result<Vec<u8>, EngineError>>,
    /// Where the caller is.
    pub(super) span: Span,
}

impl Job {
    /// What was asked.
    pub(super) fn request(&self) -> SignRequest<'_> {
        SignRequest {
            message: &self.message,
            scheme: self.scheme,
            purpose: self.claim.purpose,
            deadline: self.deadline,
            peer: Peer {
                name: self.claim.peer.as_deref(),
                interaction_id: self.claim.interaction_id.as_deref(),
            },
        }
    }
}

/// What a worker does next.
pub(super) enum Next {
    Job(Job),
    /// Nothing was asked for as long as a session may be idle.
    Idle,
    /// The engine is gone.
    Closed,
}

pub(super) struct Queue {
    meter: KeyMetrics,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    configured: usize,
    most_workers: usize,
    /// When the token last showed that it gives fewer sessions than configured.
    limited: Option<Instant>,
    fewest_told: usize,
    workers: usize,
    /// Of these, those that have given their job back and are on their way out.
    leaving: usize,
    idle: usize,
    closed: bool,
}

impl State {
    /// Others of the token's users may have left it since: a limit is not for ever.
    fn ask_again(&mut self, now: Instant) {
        let due = |limited| now.saturating_duration_since(limited) >= ASK_AGAIN;
        if self.limited.is_some_and(due) {
            self.most_workers = self.configured;
            self.limited = None;
        }
    }

    fn tell(&self, meter: &KeyMetrics) {
        let in_use = self.workers - self.idle;
        meter.queue(self.waiting.len(), in_use, self.most_workers);
    }
}

/// A worker's place among those who are counted: given back however its thread ends, also by a
/// panic.
pub(super) struct Seat {
    queue: Arc<Queue>,
    pub(super) leaving: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.workers -= 1;
        state.leaving -= usize::from(self.leaving);
        state.tell(&self.queue.meter);
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl Queue {
    pub(super) fn new(most_workers: usize, meter: KeyMetrics) -> Self {
        Self {
            meter,
            state: Mutex::new(State {
                configured: most_workers,
                fewest_told: most_workers,
                most_workers,
                ..State::default()
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn most_workers(&self) -> usize {
        self.lock().most_workers
    }

    /// Requests that wait, sessions that are in use, and the most there may be.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        let in_use = state.workers - state.idle;
        (state.waiting.len(), in_use, state.most_workers)
    }

    /// Queues a job. Where nobody is free for it, another worker is to be started on the seat.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) fn submit(self: &Arc<Self>, job: Job) -> Result<Option<Seat>, EngineError> {
        let mut state = self.lock();
        // Jobs whose callers have gone hold no place.
        let now = Instant::now();
        state.waiting.retain(|waiting| waiting.deadline > now);
        if state.waiting.len() >= MOST_WAITING {
            return Err(EngineError::QueueFull(state.waiting.len()));
        }
        state.waiting.push_back(job);
        let busy = state.idle < state.waiting.len();
        if busy {
            state.ask_again(now);
        }
        let wanted = busy && state.workers < state.most_workers;
        if wanted {
            state.workers += 1;
        }
        state.tell(&self.meter);
        drop(state);
        self.changed.notify_one();
        Ok(wanted.then(|| Seat {
            queue: Arc::clone(self),
            leaving: false,
        }))
    }

    /// No worker could be started. Where there is none at all, nobody will ever do the jobs.
    ///
    /// # Errors
    /// There is no worker.
    pub(super) fn without(&self, seat: Seat) -> Result<(), EngineError> {
        drop(seat);
        let mut state = self.lock();
        if state.workers > 0 {
            return Ok(());
        }
        state.waiting.clear();
        Err(EngineError::Stopped)
    }

    /// Waits for a job, or for as long as a session may be idle.
    pub(super) fn next(&self, idle: Duration) -> Next {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Next::Closed;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.tell(&self.meter);
                return Next::Job(job);
            }
            state.idle += 1;
            state.tell(&self.meter);
            let (woken, waited) = self.changed.wait_timeout(state, idle).ignore_poison();
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() && !state.closed {
                return Next::Idle;
            }
        }
    }

    /// The token has no session left for the worker that asks: it gives its job back, to be done
    /// first by another, and goes; its seat is to be marked so. The only worker keeps its job.
    pub(super) fn one_too_many(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        let others = state.workers.saturating_sub(state.leaving + 1);
        if others == 0 {
            return Err(job);
        }
        state.leaving += 1;
        // Once, not each time that it is asked again.
        if others < state.fewest_told {
            state.fewest_told = others;
            tracing::warn!(
                sessions = others,
                "the token gives no further session; going on with fewer"
            );
        }
        state.most_workers = others;
        state.limited = Some(Instant::now());
        state.waiting.push_front(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends the workers, and waits until they have gone or `patience` is over.
    pub(super) fn close(&self, patience: Duration) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        self.changed.notify_all();
        let all_gone = self
            .changed
            .wait_timeout_while(state, patience, |state| state.workers > 0);
        drop(all_gone);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single steps: it is whole also after a panic elsewhere.
        self.state.lock().ignore_poison()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn job() -> Job {
        Job {
            scheme: Scheme::EcdsaP256Sha256,
            message: Vec::new(),
            claim: Box::new(Claim {
                purpose: Purpose::SelfTest,
                peer: None,
                interaction_id: None,
            }),
            deadline: Instant::now() + ASK_AGAIN,
            answer: sync_channel(1).0,
            span: Span::none(),
        }
    }

    #[test]
    fn a_token_that_had_no_session_left_is_asked_again() -> Result<(), EngineError> {
        let queue = Arc::new(Queue::new(2, KeyMetrics::new("pkcs11:object=c3")));
        let _first = queue.submit(job())?;
        let mut second = queue.submit(job())?;
        assert!(queue.one_too_many(job()).is_ok());
        if let Some(seat) = &mut second {
            seat.leaving = true;
        }
        drop(second);
        assert!(queue.submit(job())?.is_none(), "it has just said so");
        queue.lock().limited = Instant::now().checked_sub(ASK_AGAIN);
        assert!(queue.submit(job())?.is_some());
        Ok(())
    }
}
