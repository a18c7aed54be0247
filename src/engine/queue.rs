//! The worker pool's bounded queue, and the count of its workers. It is separate from what workers sign with: the
//! last worker counts itself out only after it has dropped session and token.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::Span;

use super::session_limit::SessionLimit;
use super::{EngineError, Peer, Purpose, SignRequest};
use crate::key::scheme::Scheme;
use crate::metrics::KeyMetrics;
use crate::poison::IgnorePoison as _;

/// How many requests may wait before a caller is refused: as many as there may be handshakes at once. This bounds
/// memory; how long one waits is bounded by its deadline.
const MAX_WAITING: usize = 512;

/// A signature request that outlives its caller's deadline: a [`SignRequest`] that owns its parts.
pub(super) struct Job {
    pub(super) scheme: Scheme,
    pub(super) message: Vec<u8>,
    pub(super) purpose: Purpose,
    pub(super) peer: Option<String>,
    pub(super) interaction_id: Option<String>,
    pub(super) deadline: Instant,
    pub(super) answer: SyncSender<Result<Vec<u8>, EngineError>>,
    /// The caller's, for what a worker logs.
    pub(super) span: Span,
}

impl Job {
    pub(super) fn request(&self) -> SignRequest<'_> {
        SignRequest {
            message: &self.message,
            scheme: self.scheme,
            purpose: self.purpose,
            deadline: self.deadline,
            peer: Peer {
                name: self.peer.as_deref(),
                interaction_id: self.interaction_id.as_deref(),
            },
        }
    }
}

/// What a worker does next.
pub(super) enum NextJob {
    Job(Box<Job>),
    /// No request came for as long as a session may be idle.
    Idle,
    /// The engine is closed.
    Closed,
}

pub(super) struct JobQueue {
    meter: KeyMetrics,
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    waiting: VecDeque<Box<Job>>,
    limit: SessionLimit,
    workers: usize,
    /// Of the workers, those that have requeued their job and are about to end.
    leaving: usize,
    idle: usize,
    closed: bool,
}

impl QueueState {
    fn record(&self, meter: &KeyMetrics) {
        let in_use = self.workers - self.idle;
        meter.queue(self.waiting.len(), in_use, self.limit.current());
    }
}

/// A worker's entry in the count, removed however its thread ends, also by a panic.
pub(super) struct WorkerSlot {
    queue: Arc<JobQueue>,
    pub(super) leaving: bool,
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.workers -= 1;
        state.leaving -= usize::from(self.leaving);
        state.record(&self.queue.meter);
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl JobQueue {
    pub(super) fn new(max_workers: usize, meter: KeyMetrics) -> Self {
        Self {
            meter,
            state: Mutex::new(QueueState {
                waiting: VecDeque::new(),
                limit: SessionLimit::new(max_workers),
                workers: 0,
                leaving: 0,
                idle: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn max_workers(&self) -> usize {
        self.lock().limit.current()
    }

    /// Requests that wait, workers that sign, and the most workers there may be.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        let in_use = state.workers - state.idle;
        (state.waiting.len(), in_use, state.limit.current())
    }

    /// Queues a job. Where no worker is free for it, another is to be started in the returned slot.
    ///
    /// # Errors
    /// The queue is full.
    pub(super) fn submit(
        self: &Arc<Self>,
        job: Box<Job>,
    ) -> Result<Option<WorkerSlot>, EngineError> {
        let mut state = self.lock();
        // Expired jobs do not count: their callers have returned.
        let now = Instant::now();
        state.waiting.retain(|waiting| waiting.deadline > now);
        if state.waiting.len() >= MAX_WAITING {
            return Err(EngineError::QueueFull(state.waiting.len()));
        }
        state.waiting.push_back(job);
        let busy = state.idle < state.waiting.len();
        if busy {
            state.limit.restore_if_due(now);
        }
        let wanted = busy && state.workers < state.limit.current();
        if wanted {
            state.workers += 1;
        }
        state.record(&self.meter);
        drop(state);
        self.changed.notify_one();
        Ok(wanted.then(|| WorkerSlot {
            queue: Arc::clone(self),
            leaving: false,
        }))
    }

    /// The worker of this slot could not be started. Without any worker the waiting jobs are dropped.
    ///
    /// # Errors
    /// There is no worker.
    pub(super) fn worker_not_started(&self, slot: WorkerSlot) -> Result<(), EngineError> {
        drop(slot);
        let mut state = self.lock();
        if state.workers > 0 {
            return Ok(());
        }
        state.waiting.clear();
        Err(EngineError::Stopped)
    }

    /// Waits for a job, or for as long as a session may be idle.
    pub(super) fn next(&self, idle: Duration) -> NextJob {
        let mut state = self.lock();
        loop {
            if state.closed {
                return NextJob::Closed;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.record(&self.meter);
                return NextJob::Job(job);
            }
            state.idle += 1;
            state.record(&self.meter);
            let (woken, waited) = self.changed.wait_timeout(state, idle).ignore_poison();
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() && !state.closed {
                return NextJob::Idle;
            }
        }
    }

    /// The token has no session for this worker: its job goes back to the head of the queue for another worker, and
    /// the worker ends; its slot is to be marked so. The only worker gets its job back.
    pub(super) fn requeue_and_leave(&self, job: Box<Job>) -> Result<(), Box<Job>> {
        let mut state = self.lock();
        let others = state.workers.saturating_sub(state.leaving + 1);
        if others == 0 {
            return Err(job);
        }
        state.leaving += 1;
        state.limit.lower(others, Instant::now());
        state.waiting.push_front(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Tells the workers to end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().ignore_poison()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn job() -> Box<Job> {
        Box::new(Job {
            scheme: Scheme::EcdsaP256Sha256,
            message: Vec::new(),
            purpose: Purpose::SelfTest,
            peer: None,
            interaction_id: None,
            deadline: Instant::now() + Duration::from_secs(3600),
            answer: sync_channel(1).0,
            span: Span::none(),
        })
    }

    #[test]
    fn a_lowered_session_limit_is_restored_later() -> Result<(), EngineError> {
        let queue = Arc::new(JobQueue::new(2, KeyMetrics::new("pkcs11:object=c3")));
        let _first = queue.submit(job())?;
        let mut second = queue.submit(job())?;
        assert!(queue.requeue_and_leave(job()).is_ok());
        if let Some(slot) = &mut second {
            slot.leaving = true;
        }
        drop(second);
        assert!(queue.submit(job())?.is_none(), "the limit was just lowered");
        queue.lock().limit.expire();
        assert!(queue.submit(job())?.is_some());
        Ok(())
    }
}
