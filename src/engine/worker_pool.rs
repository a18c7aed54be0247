//! A bounded pool of worker threads, each with a session of its own, behind a bounded queue.
//!
//! PKCS#11 has neither timeouts nor cancellation: a call that hangs blocks its thread until the module returns. So the
//! caller waits for a channel and not for the call, and returns at its deadline. The number of threads that can hang is
//! bounded.

use std::fmt;
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tracing::Span;

use super::block_on::block_on_until;
use super::queue::{Job, JobQueue, NextJob, WorkerSlot};
use super::signing::{KeySession, SessionRefused, TokenSigner};
use super::{EngineError, SignRequest};
use crate::poison::IgnorePoison as _;

/// How long dropping the pool waits for its threads to end. They close their sessions, and OpenSSL inside the module frees
/// the data of each thread: a process that exits meanwhile crashes (seen with SoftHSM2).
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// How many threads that have ended are remembered.
const MAX_ENDED_THREADS: usize = 64;

pub(super) struct WorkerPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "WorkerPool of at most {}",
            self.shared.queue.max_workers()
        )
    }
}

/// The state that the pool and its workers share.
struct Shared {
    signer: Arc<TokenSigner>,
    keep_alive: Duration,
    queue: Arc<JobQueue>,
}

impl WorkerPool {
    pub(super) fn new(signer: Arc<TokenSigner>, max_workers: usize, keep_alive: Duration) -> Self {
        let queue = Arc::new(JobQueue::new(max_workers, signer.metrics().clone()));
        Self {
            shared: Arc::new(Shared {
                signer,
                keep_alive,
                queue,
            }),
            threads: Mutex::new(Vec::new()),
        }
    }

    /// The numbers of waiting requests, of workers that sign, and the limit of workers.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        self.shared.queue.counts()
    }

    /// Queues a request and waits for the signature until the deadline. The calling thread waits.
    pub(super) fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, EngineError> {
        let timeout = request.deadline.saturating_duration_since(Instant::now());
        let result = self.queue(request)?;
        let signed = block_on_until(request.deadline, pin!(result));
        outcome(signed, request.deadline, timeout)
    }

    /// Queues a request and waits for the signature until the deadline.
    pub(super) async fn sign_async(
        &self,
        request: &SignRequest<'_>,
    ) -> Result<Vec<u8>, EngineError> {
        let timeout = request.deadline.saturating_duration_since(Instant::now());
        let result = self.queue(request)?;
        let signed = timeout_at(request.deadline.into(), result).await.ok();
        outcome(signed, request.deadline, timeout)
    }

    fn queue(
        &self,
        request: &SignRequest<'_>,
    ) -> Result<oneshot::Receiver<Result<Vec<u8>, EngineError>>, EngineError> {
        let (result, receiver) = oneshot::channel();
        self.submit(Box::new(Job {
            scheme: request.scheme,
            message: request.message.to_vec(),
            purpose: request.purpose,
            peer: request.peer.name.map(str::to_owned),
            interaction_id: request.peer.interaction_id.map(str::to_owned),
            deadline: request.deadline,
            result,
            span: Span::current(),
        }))?;
        Ok(receiver)
    }

    fn submit(&self, job: Box<Job>) -> Result<(), EngineError> {
        let queue = &self.shared.queue;
        let Some(slot) = queue.submit(job)? else {
            return Ok(());
        };
        // Shared, because the slot is needed in this thread if the new one cannot be started.
        let slot = Arc::new(Mutex::new(Some(slot)));
        let (worker, worker_slot) = (Arc::clone(&self.shared), Arc::clone(&slot));
        let spawned = thread::Builder::new()
            .name("hsm-session".to_owned())
            .spawn(move || {
                let mut slot = take(&worker_slot);
                let leaving = worker.run();
                if let Some(slot) = &mut slot {
                    slot.leaving = leaving;
                }
            });
        match spawned {
            Ok(thread) => {
                let mut threads = self.threads.lock().ignore_poison();
                // A finished thread may still run the module's clean-up: the newest are kept to be joined.
                if threads.len() > MAX_ENDED_THREADS {
                    threads.retain(|thread| !thread.is_finished());
                }
                threads.push(thread);
                Ok(())
            }
            Err(_) => take(&slot).map_or(Ok(()), |slot| queue.worker_not_started(slot)),
        }
    }
}

/// The result of a job. `None`: the deadline has passed.
fn outcome(
    signed: Option<Result<Result<Vec<u8>, EngineError>, oneshot::error::RecvError>>,
    deadline: Instant,
    timeout: Duration,
) -> Result<Vec<u8>, EngineError> {
    match signed {
        Some(Ok(result)) => result,
        None => Err(EngineError::Deadline(timeout)),
        // A worker drops an expired job, perhaps a moment before its caller wakes.
        Some(Err(_)) if Instant::now() >= deadline => Err(EngineError::Deadline(timeout)),
        Some(Err(_)) => Err(EngineError::Stopped),
    }
}

fn take(slot: &Mutex<Option<WorkerSlot>>) -> Option<WorkerSlot> {
    slot.lock().ignore_poison().take()
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.shared.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock().ignore_poison());
        join_all(threads, SHUTDOWN_TIMEOUT);
    }
}

/// Waits until the threads have ended, at most for `timeout`: one of them may be in a call that hangs. The thread that
/// joins them never entered the module.
fn join_all(threads: Vec<JoinHandle<()>>, timeout: Duration) {
    if threads.is_empty() {
        return;
    }
    let (joined, all_joined) = sync_channel(1);
    let spawned = thread::Builder::new()
        .name("hsm-join".to_owned())
        .spawn(move || {
            for thread in threads {
                drop(thread.join());
            }
            let _ = joined.send(());
        });
    if spawned.is_ok() {
        let _ = all_joined.recv_timeout(timeout);
    }
}

impl Shared {
    /// A worker's loop. Returns whether the worker leaves because the token has no session for it; otherwise the engine
    /// is closed.
    fn run(&self) -> bool {
        let mut session: Option<KeySession> = None;
        loop {
            let job = match self.queue.next(self.keep_alive) {
                NextJob::Job(job) => job,
                NextJob::Idle => {
                    self.signer.keep_alive(&mut session);
                    continue;
                }
                NextJob::Closed => return false,
            };
            if Instant::now() >= job.deadline || job.result.is_closed() {
                // The caller has returned: a signature now would be a use of the key that nobody requested.
                continue;
            }
            // Log events about the token during this signature belong to its span.
            let caller_span = job.span.clone();
            let _entered = caller_span.enter();
            let signed = self.signer.sign(&mut session, &job.request());
            let (job, result) = match signed {
                Ok(result) => (job, result),
                Err(SessionRefused(error)) => match self.queue.requeue_and_leave(job) {
                    Ok(()) => return true,
                    Err(job) => (job, Err(error)),
                },
            };
            // A caller that has returned at its deadline no longer listens.
            let _ = job.result.send(result);
        }
    }
}
