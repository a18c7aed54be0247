//! A bounded pool of threads, each with a session of its own, behind a bounded queue.
//!
//! PKCS#11 has neither time-outs nor cancellation: a call that hangs holds its thread until the
//! vendor's code returns. So the caller waits on a channel, not in the call, and goes away at its
//! deadline; the thread that hangs is one of a bounded few.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;
use tracing::Span;

use super::error::{self, Remedy, remedy};
use super::queue::{Claim, Job, Next, Queue, Seat};
use super::station::{Place, Station};
use super::{EngineError, SignRequest};
use crate::config::trust::Fingerprint;
use crate::key::public::PublicKey;
use crate::key::recipe::Recipe;
use crate::key::scheme::Scheme;
use crate::key::signature::ecdsa_der;
use crate::ledger::{Attempt, End, Entry, Process};
use crate::token::fault::FaultClass;
use crate::token::session::{Session, SignFault};

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
    station: Station,
    schemes: Vec<Way>,
    uri: String,
    public_key: PublicKey,
    spki: Fingerprint,
    capacity: usize,
    keep_alive: Duration,
    queue: Arc<Queue>,
}

/// How a scheme is made, and which of the recipes the token has not yet refused.
struct Way {
    scheme: Scheme,
    recipes: Vec<Recipe>,
    // A token that lists a mechanism and then answers CKR_MECHANISM_INVALID is asked once.
    learnt: AtomicUsize,
}

/// A session at one place, with the key found in it.
struct Open {
    session: Session,
    handle: ObjectHandle,
    place: u64,
}

impl Pool {
    pub(super) fn new(
        station: Station,
        recipes: Vec<(Scheme, Vec<Recipe>)>,
        public_key: PublicKey,
        most_workers: usize,
        keep_alive: Duration,
    ) -> Self {
        let schemes = recipes
            .into_iter()
            .map(|(scheme, recipes)| Way {
                scheme,
                recipes,
                learnt: AtomicUsize::new(0),
            })
            .collect();
        let queue = Arc::new(Queue::new(most_workers, station.meter().clone()));
        Self {
            shared: Arc::new(Shared {
                uri: station.key().uri().to_string(),
                spki: public_key.fingerprint(),
                capacity: public_key.algorithm().signature_capacity(),
                public_key,
                station,
                schemes,
                keep_alive,
                queue,
            }),
        }
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
    seat.lock().unwrap_or_else(PoisonError::into_inner).take()
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
                    self.keep_alive(&mut open);
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
            let mut result = self.sign(&mut open, &job);
            let remedy = result.as_ref().map_or_else(remedy, |_| Remedy::None);
            let job = match remedy {
                // The sessions that there are will do it.
                Remedy::FewerSessions => match self.queue.one_too_many(job) {
                    Ok(()) => return true,
                    Err(job) => job,
                },
                _ => job,
            };
            let in_time = || Instant::now() < job.deadline;
            if matches!(remedy, Remedy::Session | Remedy::Token) && in_time() {
                result = self.sign(&mut open, &job);
                // A fresh session that does not know the key: the login is gone too.
                let still = result.as_ref().map_or_else(error::remedy, |_| Remedy::None);
                if (remedy, still) == (Remedy::Session, Remedy::Token) && in_time() {
                    result = self.sign(&mut open, &job);
                }
            }
            // A caller that has gone away at its deadline no longer listens.
            let _ = job.answer.send(result);
        }
    }

    /// One attempt. What it finds broken is let go of, so that the next begins afresh.
    fn sign(&self, open: &mut Option<Open>, job: &Job) -> Result<Vec<u8>, EngineError> {
        let place = self.station.place()?;
        if Instant::now() >= job.deadline {
            // It was looked for so long that the caller has gone.
            return Err(EngineError::Deadline(Duration::ZERO));
        }
        if open.as_ref().is_some_and(|open| open.place != place.number) {
            *open = None;
        }
        let result = self.sign_at(&place, open, job);
        match &result {
            Ok(_) => self.station.works(place.number),
            Err(error) => {
                *open = None;
                if remedy(error) == Remedy::Token {
                    self.station.lose(place.number, error);
                }
            }
        }
        result
    }

    fn sign_at(
        &self,
        place: &Place,
        open: &mut Option<Open>,
        job: &Job,
    ) -> Result<Vec<u8>, EngineError> {
        let Open {
            session, handle, ..
        } = match open {
            Some(open) => open,
            None => {
                let (session, handle) = self.station.open(place)?;
                open.insert(Open {
                    session,
                    handle,
                    place: place.number,
                })
            }
        };
        let way = self.schemes.iter().find(|way| way.scheme == job.scheme);
        let way = way.ok_or(EngineError::Scheme(job.scheme))?;
        let each_time = self.station.key().always_authenticate();
        let guard = each_time.then(|| place.token.guard());
        loop {
            let learnt = way.learnt.load(Ordering::Relaxed);
            let recipe = way
                .recipes
                .get(learnt)
                .ok_or(EngineError::Scheme(job.scheme))?;
            let begun = place.token.recorder().begin(&Entry::Attempt(Attempt {
                purpose: job.claim.purpose.name(),
                key: &self.uri,
                spki: self.spki,
                scheme: job.scheme.name(),
                message: Fingerprint::of(&job.message),
                peer: job.claim.peer.as_deref(),
                interaction_id: job.claim.interaction_id.as_deref(),
                process: Process::this(),
            }))?;
            let input = recipe.input(&job.message);
            let answer = session
                .sign(&recipe.mechanism(), *handle, &input, self.capacity, guard)
                .map_err(|failed| match failed {
                    SignFault::Pin(error) => EngineError::Pin(error),
                    SignFault::Call(fault) => EngineError::Call(fault),
                })
                .and_then(|answer| self.verified(job, answer));
            match &answer {
                Ok(_) => begun.end(End {
                    late: Instant::now() >= job.deadline,
                    ..End::default()
                })?,
                Err(error) => begun.end_in_failure(error.failure()),
            }
            let fault = match answer {
                Err(EngineError::Call(fault)) if fault.class() == FaultClass::Mechanism => fault,
                other => return other,
            };
            if learnt + 1 >= way.recipes.len() {
                return Err(EngineError::Call(fault));
            }
            tracing::info!(%fault, scheme = %job.scheme, "the token refuses a mechanism that it lists; using the other");
            way.learnt.store(learnt + 1, Ordering::Relaxed);
        }
    }

    /// The token's answer in the form that TLS and X.509 use. Tokens do answer wrongly.
    fn verified(&self, job: &Job, answer: Vec<u8>) -> Result<Vec<u8>, EngineError> {
        let bytes = match self.public_key.algorithm().field_len() {
            Some(field_len) => ecdsa_der(&answer, field_len)?,
            None => answer,
        };
        match self.public_key.verifies(job.scheme, &job.message, &bytes) {
            true => Ok(bytes),
            false => Err(EngineError::WrongSignature { scheme: job.scheme }),
        }
    }

    /// Idle sessions die behind firewalls without a word. A cheap call now and then keeps them, and
    /// finds out before somebody waits for a signature.
    fn keep_alive(&self, open: &mut Option<Open>) {
        let Ok(place) = self.station.place() else {
            return;
        };
        let dead = open
            .as_ref()
            .is_some_and(|open| open.place != place.number || open.session.is_alive().is_err());
        if dead {
            *open = None;
        }
        if let Err(fault) = place.token.keep_alive() {
            self.station.lose(place.number, &EngineError::Call(fault));
        }
    }
}
