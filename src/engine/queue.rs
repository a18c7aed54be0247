//! The worker pool's bounded queue, and the count of its workers. A worker's slot outlives its session: the last worker
//! leaves the count after it has dropped session and token.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::Span;

use super::session_limit::SessionLimit;
use super::{EngineError, MAX_WAITING, Peer, Purpose, SignRequest};
use crate::key::scheme::Scheme;
use crate::metrics::KeyMetrics;
use crate::poison::IgnorePoison as _;

/// A signature request in the queue: a [`SignRequest`] that owns its parts, because it may outlive its caller's deadline.
pub(super) struct Job {
    pub(super) scheme: Scheme,
    pub(super) message: Vec<u8>,
    pub(super) purpose: Purpose,
    pub(super) peer: Option<String>,
    pub(super) interaction_id: Option<String>,
    pub(super) deadline: Instant,
    pub(super) result: oneshot::Sender<Result<Vec<u8>, EngineError>>,
    /// The caller's span, for the worker's log events.
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

/// The next task of a worker.
pub(super) enum NextJob {
    Job(Box<Job>),
    /// There was no request for as long as a session may be idle.
    Idle,
    /// The engine is closed.
    Closed,
}

pub(super) struct JobQueue {
    metrics: KeyMetrics,
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    waiting: VecDeque<Box<Job>>,
    limit: SessionLimit,
    workers: usize,
    /// The number of workers that have requeued their job and are about to end.
    leaving: usize,
    idle: usize,
    closed: bool,
}

impl QueueState {
    fn record(&self, metrics: &KeyMetrics) {
        let in_use = self.workers - self.idle;
        metrics.queue(self.waiting.len(), in_use, self.limit.current());
    }
}

/// A worker in the count of workers. It is removed when the worker's thread ends, also by a panic.
pub(super) struct WorkerSlot {
    queue: Arc<JobQueue>,
    pub(super) leaving: bool,
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.workers -= 1;
        state.leaving -= usize::from(self.leaving);
        state.record(&self.queue.metrics);
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl JobQueue {
    pub(super) fn new(max_workers: usize, metrics: KeyMetrics) -> Self {
        Self {
            metrics,
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

    /// The numbers of waiting requests, of workers that sign, and the limit of workers.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        let in_use = state.workers - state.idle;
        (state.waiting.len(), in_use, state.limit.current())
    }

    /// Queues a job. If no worker is free for it, the caller starts another one with the returned slot.
    ///
    /// # Errors
    /// The queue is full.
    pub(super) fn submit(
        self: &Arc<Self>,
        job: Box<Job>,
    ) -> Result<Option<WorkerSlot>, EngineError> {
        let mut state = self.lock();
        // Jobs whose callers have returned do not count.
        let now = Instant::now();
        let is_wanted = |job: &Job| job.deadline > now && !job.result.is_closed();
        state.waiting.retain(|waiting| is_wanted(waiting));
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
        state.record(&self.metrics);
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

    /// Waits for a job, at most for `idle`: as long as a session may be idle.
    pub(super) fn next(&self, idle: Duration) -> NextJob {
        let mut state = self.lock();
        loop {
            if state.closed {
                return NextJob::Closed;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.record(&self.metrics);
                return NextJob::Job(job);
            }
            state.idle += 1;
            state.record(&self.metrics);
            let (woken, waited) = self.changed.wait_timeout(state, idle).ignore_poison();
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() && !state.closed {
                return NextJob::Idle;
            }
        }
    }

    /// Puts the job of a worker without a session back at the head of the queue, for another worker; the worker ends then,
    /// and marks its slot as leaving. The last worker gets its job back.
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

    /// Closes the queue: drops the waiting jobs and lets the workers end.
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
    use super::*;

    fn job() -> Box<Job> {
        Box::new(Job {
            scheme: Scheme::EcdsaP256Sha256,
            message: Vec::new(),
            purpose: Purpose::SelfTest,
            peer: None,
            interaction_id: None,
            deadline: Instant::now() + Duration::from_secs(3600),
            result: oneshot::channel().0,
            span: Span::none(),
        })
    }

    #[test]
    fn a_job_whose_caller_has_returned_takes_no_place() {
        let queue = Arc::new(JobQueue::new(1, KeyMetrics::new("pkcs11:object=c3")));
        let mut callers = Vec::new();
        let mut awaited = || {
            let (result, caller) = oneshot::channel();
            callers.push(caller);
            Box::new(Job { result, ..*job() })
        };
        for _ in 0..MAX_WAITING {
            assert!(queue.submit(awaited()).is_ok());
        }
        let full = queue.submit(awaited());
        assert!(matches!(full, Err(EngineError::QueueFull(MAX_WAITING))));
        callers.clear();
        assert!(queue.submit(job()).is_ok());
        assert_eq!(queue.counts().0, 1);
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
