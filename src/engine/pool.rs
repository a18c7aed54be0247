//! A bounded pool of threads, each with a session of its own, behind a bounded queue.
//!
//! PKCS#11 has neither time-outs nor cancellation: a call that hangs holds its thread until the
//! vendor's code returns. So the caller waits on a channel, not in the call, and goes away at its
//! deadline; the thread that hangs is one of a bounded few.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;

use super::{EngineError, worth_another_session};
use crate::key::Key;
use crate::key::recipe::Recipe;
use crate::key::scheme::Scheme;
use crate::token::Token;
use crate::token::fault::FaultClass;
use crate::token::session::{Access, Session, SignFault};

/// How many requests may wait per session before a caller is turned away.
const QUEUED_PER_SESSION: usize = 16;
/// How long the last owner waits for sessions to close, so that no thread is inside the module
/// while the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    shared: Arc<Shared>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool of at most {}", self.shared.most_workers)
    }
}

struct Shared {
    token: Arc<Token>,
    key: Key,
    schemes: Vec<Way>,
    most_workers: usize,
    capacity: usize,
    gate: Arc<Gate>,
}

/// Queue and head count, apart from what the workers work with: the last worker counts itself out
/// only after it has let go of session and token.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// How a scheme is made, and which of the recipes the token has not yet refused.
struct Way {
    scheme: Scheme,
    recipes: Vec<Recipe>,
    // A token that lists a mechanism and then answers CKR_MECHANISM_INVALID is asked once.
    learnt: AtomicUsize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    workers: usize,
    idle: usize,
    closed: bool,
}

struct Job {
    scheme: Scheme,
    message: Vec<u8>,
    deadline: Instant,
    answer: SyncSender<Result<Vec<u8>, EngineError>>,
}

impl Pool {
    pub(super) fn new(
        token: Arc<Token>,
        key: Key,
        recipes: Vec<(Scheme, Vec<Recipe>)>,
        most_workers: usize,
        capacity: usize,
    ) -> Self {
        let schemes = recipes
            .into_iter()
            .map(|(scheme, recipes)| Way {
                scheme,
                recipes,
                learnt: AtomicUsize::new(0),
            })
            .collect();
        Self {
            shared: Arc::new(Shared {
                token,
                key,
                schemes,
                most_workers,
                capacity,
                gate: Arc::default(),
            }),
        }
    }

    /// Queues a message and waits for the token's answer until the deadline.
    pub(super) fn sign(
        &self,
        scheme: Scheme,
        message: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, EngineError> {
        let waited = deadline.saturating_duration_since(Instant::now());
        let (answer, receive) = sync_channel(1);
        self.submit(Job {
            scheme,
            message: message.to_vec(),
            deadline,
            answer,
        })?;
        match receive.recv_timeout(waited) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(EngineError::Deadline(waited)),
            Err(RecvTimeoutError::Disconnected) => Err(EngineError::Stopped),
        }
    }

    fn submit(&self, job: Job) -> Result<(), EngineError> {
        let shared = &self.shared;
        let mut state = shared.gate.lock();
        // Jobs whose callers have gone hold no place.
        let now = Instant::now();
        state.queue.retain(|waiting| waiting.deadline > now);
        if state.queue.len() >= shared.most_workers * QUEUED_PER_SESSION {
            return Err(EngineError::QueueFull(state.queue.len()));
        }
        state.queue.push_back(job);
        if state.idle < state.queue.len() && state.workers < shared.most_workers {
            state.workers += 1;
            let worker = Arc::clone(shared);
            let spawned = thread::Builder::new()
                .name("hsm-session".to_owned())
                .spawn(move || {
                    let _leave = Leave(Arc::clone(&worker.gate));
                    worker.work();
                    // Before `_leave`: whoever waits for the count may end the process next.
                    drop(worker);
                });
            if spawned.is_err() {
                state.workers -= 1;
                if state.workers == 0 {
                    state.queue.pop_back();
                    return Err(EngineError::Stopped);
                }
            }
        }
        drop(state);
        shared.gate.changed.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let gate = &self.shared.gate;
        let mut state = gate.lock();
        state.closed = true;
        state.queue.clear();
        gate.changed.notify_all();
        let all_gone = gate
            .changed
            .wait_timeout_while(state, FAREWELL, |state| state.workers > 0);
        drop(all_gone);
    }
}

/// Counts a worker out however its thread ends: a panic in it must not leave a place taken.
struct Leave(Arc<Gate>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.lock().workers -= 1;
        self.0.changed.notify_all();
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single steps: it is whole also after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut open = None;
        while let Some(job) = self.gate.next() {
            if Instant::now() >= job.deadline {
                // Its caller has gone: signing now would be a use of the key that nobody asked for.
                continue;
            }
            let mut result = self.sign(&mut open, &job);
            if result.as_ref().is_err_and(worth_another_session) && Instant::now() < job.deadline {
                open = None;
                result = self.sign(&mut open, &job);
            }
            if result.is_err() {
                open = None;
            }
            // A caller that has gone away at its deadline no longer listens.
            let _ = job.answer.send(result);
        }
    }

    fn sign(
        &self,
        open: &mut Option<(Session, ObjectHandle)>,
        job: &Job,
    ) -> Result<Vec<u8>, EngineError> {
        let (session, handle) = match open {
            Some((session, handle)) => (&*session, *handle),
            None => {
                let session = self.token.session(Access::ReadOnly)?;
                let handle = self.key.find_again(&session, &self.token)?;
                let (session, handle) = open.insert((session, handle));
                (&*session, *handle)
            }
        };
        let way = self.schemes.iter().find(|way| way.scheme == job.scheme);
        let way = way.ok_or(EngineError::Scheme(job.scheme))?;
        let guard = self.key.always_authenticate().then(|| self.token.guard());
        loop {
            let learnt = way.learnt.load(Ordering::Relaxed);
            let recipe = way
                .recipes
                .get(learnt)
                .ok_or(EngineError::Scheme(job.scheme))?;
            let input = recipe.input(&job.message);
            match session.sign(&recipe.mechanism(), handle, &input, self.capacity, guard) {
                Ok(answer) => return Ok(answer),
                Err(SignFault::Pin(error)) => return Err(error.into()),
                Err(SignFault::Call(fault)) => {
                    let refused = fault.class() == FaultClass::Mechanism;
                    if !refused || learnt + 1 >= way.recipes.len() {
                        return Err(EngineError::Call(fault));
                    }
                    tracing::info!(%fault, scheme = %job.scheme, "the token refuses a mechanism that it lists; using the other");
                    way.learnt.store(learnt + 1, Ordering::Relaxed);
                }
            }
        }
    }
}
