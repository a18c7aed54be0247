//! A bounded pool of threads, each with a session of its own, behind a bounded queue.
//!
//! PKCS#11 has neither time-outs nor cancellation: a call that hangs holds its thread until the
//! vendor's code returns. So the caller waits on a channel, not in the call, and goes away at its
//! deadline; the thread that hangs is one of a bounded few.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Span;

use super::queue::{Claim, Job, Next, Queue, Seat};
use super::work::{OneTooMany, Open, Work};
use super::{EngineError, SignRequest};
use crate::poison::IgnorePoison as _;

/// How long the last owner waits for sessions to close, so that no thread is inside the module
/// while the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    shared: Arc<Shared>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool of at most {}", self.shared.queue.most_workers())
    }
}

struct Shared {
    work: Arc<Work>,
    keep_alive: Duration,
    queue: Arc<Queue>,
}

impl Pool {
    pub(super) fn new(work: Arc<Work>, most_workers: usize, keep_alive: Duration) -> Self {
        let queue = Arc::new(Queue::new(most_workers, work.meter().clone()));
        Self {
            shared: Arc::new(Shared {
                work,
                keep_alive,
                queue,
            }),
        }
    }

    pub(super) fn counts(&self) -> (usize, usize, usize) {
        self.shared.queue.counts()
    }

    /// Queues a message and waits for the token's answer until the deadline.
    pub(super) fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, EngineError> {
        let deadline = request.deadline;
        let waited = deadline.saturating_duration_since(Instant::now());
        let (answer, receive) = sync_channel(1);
        self.submit(Job {
            scheme: request.scheme,
            message: request.message.to_vec(),
            claim: Box::new(Claim {
                purpose: request.purpose,
                peer: request.peer.name.map(str::to_owned),
                interaction_id: request.peer.interaction_id.map(str::to_owned),
            }),
            deadline,
            answer,
            span: Span::current(),
        })?;
        match receive.recv_timeout(waited) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(EngineError::Deadline(waited)),
            // A job that is late is dropped, perhaps a moment before this thread wakes.
            Err(RecvTimeoutError::Disconnected) if Instant::now() >= deadline => {
                Err(EngineError::Deadline(waited))
            }
            Err(RecvTimeoutError::Disconnected) => Err(EngineError::Stopped),
        }
    }

    fn submit(&self, job: Job) -> Result<(), EngineError> {
        let queue = &self.shared.queue;
        let Some(seat) = queue.submit(job)? else {
            return Ok(());
        };
        // In an Option, so that a thread that could not be started leaves it here.
        let seat = Arc::new(Mutex::new(Some(seat)));
        let (worker, taken) = (Arc::clone(&self.shared), Arc::clone(&seat));
        let spawned = thread::Builder::new()
            .name("hsm-session".to_owned())
            .spawn(move || {
                let mut seat = take(&taken);
                let leaving = worker.work();
                if let Some(seat) = &mut seat {
                    seat.leaving = leaving;
                }
                // Before the seat: whoever waits for the count may end the process next.
                drop(worker);
            });
        match spawned {
            Ok(_) => Ok(()),
            Err(_) => take(&seat).map_or(Ok(()), |seat| queue.without(seat)),
        }
    }
}

fn take(seat: &Mutex<Option<Seat>>) -> Option<Seat> {
    seat.lock().ignore_poison().take()
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.close(FAREWELL);
    }
}

impl Shared {
    /// Works until the engine is gone, or until the token has no session for this worker: then it
    /// says so.
    fn work(&self) -> bool {
        let mut open: Option<Open> = None;
        loop {
            let job = match self.queue.next(self.keep_alive) {
                Next::Job(job) => job,
                Next::Idle => {
                    self.work.keep_alive(&mut open);
                    continue;
                }
                Next::Closed => return false,
            };
            if Instant::now() >= job.deadline {
                // Its caller has gone: signing now would be a use of the key that nobody asked for.
                continue;
            }
            // What is said of the token meanwhile is said of this signature.
            let asked_by = job.span.clone();
            let _entered = asked_by.enter();
            let signed = self.work.sign(&mut open, &job.request());
            let (job, result) = match signed {
                Ok(result) => (job, result),
                Err(OneTooMany(error)) => match self.queue.one_too_many(job) {
                    Ok(()) => return true,
                    Err(job) => (job, Err(error)),
                },
            };
            // A caller that has gone away at its deadline no longer listens.
            let _ = job.answer.send(result);
        }
    }
}
