//! One signature at the token, on whatever thread: its record, its two calls, its verification, and
//! what is done where one of them fails.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;

use super::error::{Remedy, remedy};
use super::station::{Place, Seen, Station};
use super::{EngineError, SignRequest};
use crate::config::trust::Fingerprint;
use crate::key::ecdsa_signature::ecdsa_der;
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::key::signing_mechanism::SigningMechanism;
use crate::ledger::{Attempt, Completion, Entry, Process};
use crate::metrics::KeyMetrics;
use crate::token::fault::FaultClass;
use crate::token::session::{Session, SignFault};

/// What a key's signatures are made with.
pub(super) struct Work {
    station: Station,
    schemes: Vec<Way>,
    uri: String,
    public_key: PublicKey,
    spki: Fingerprint,
    capacity: usize,
}

/// How a scheme is made, and which of the recipes the token has not yet refused.
struct Way {
    scheme: Scheme,
    recipes: Vec<SigningMechanism>,
    // A token that lists a mechanism and then answers CKR_MECHANISM_INVALID is asked once.
    learnt: AtomicUsize,
}

/// A session at one place, with the key found in it.
pub(super) struct Open {
    session: Session,
    handle: ObjectHandle,
    place: u64,
}

/// The token has no session for whoever asked.
pub(super) struct OneTooMany(pub(super) EngineError);

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Work with {}", self.uri)
    }
}

impl Work {
    pub(super) fn new(
        station: Station,
        recipes: Vec<(Scheme, Vec<SigningMechanism>)>,
        public_key: PublicKey,
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
            uri: station.key().uri().to_string(),
            spki: public_key.fingerprint(),
            capacity: public_key.algorithm().signature_capacity(),
            public_key,
            station,
            schemes,
        }
    }

    pub(super) fn seen(&self) -> Seen {
        self.station.seen()
    }

    pub(super) fn meter(&self) -> &KeyMetrics {
        self.station.meter()
    }

    /// Signs, with a second attempt where that may help.
    ///
    /// # Errors
    /// The token has no session left: then nothing was tried again, because the sessions that there
    /// are will do it.
    pub(super) fn sign(
        &self,
        open: &mut Option<Open>,
        request: &SignRequest<'_>,
    ) -> Result<Result<Vec<u8>, EngineError>, OneTooMany> {
        let result = self.attempt(open, request);
        match result.as_ref().map_or_else(remedy, |_| Remedy::None) {
            Remedy::FewerSessions => match result {
                Err(error) => Err(OneTooMany(error)),
                good => Ok(good),
            },
            Remedy::None => Ok(result),
            first @ (Remedy::Session | Remedy::Token) => {
                Ok(self.again(open, request, first, result))
            }
        }
    }

    fn again(
        &self,
        open: &mut Option<Open>,
        request: &SignRequest<'_>,
        first: Remedy,
        mut result: Result<Vec<u8>, EngineError>,
    ) -> Result<Vec<u8>, EngineError> {
        let in_time = || Instant::now() < request.deadline;
        if in_time() {
            result = self.attempt(open, request);
            // A fresh session that does not know the key: the login is gone too.
            let still = result.as_ref().map_or_else(remedy, |_| Remedy::None);
            if (first, still) == (Remedy::Session, Remedy::Token) && in_time() {
                result = self.attempt(open, request);
            }
        }
        result
    }

    /// One attempt. What it finds broken is let go of, so that the next begins afresh.
    fn attempt(
        &self,
        open: &mut Option<Open>,
        request: &SignRequest<'_>,
    ) -> Result<Vec<u8>, EngineError> {
        let place = self.station.place()?;
        if Instant::now() >= request.deadline {
            // It was looked for so long that the caller has gone.
            return Err(EngineError::Deadline(Duration::ZERO));
        }
        if open.as_ref().is_some_and(|open| open.place != place.number) {
            *open = None;
        }
        let result = self.sign_at(&place, open, request);
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
        request: &SignRequest<'_>,
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
        let way = self.schemes.iter().find(|way| way.scheme == request.scheme);
        let way = way.ok_or(EngineError::Scheme(request.scheme))?;
        let each_time = self.station.key().always_authenticate();
        let guard = each_time.then(|| place.token.guard());
        loop {
            let learnt = way.learnt.load(Ordering::Relaxed);
            let recipe = way
                .recipes
                .get(learnt)
                .ok_or(EngineError::Scheme(request.scheme))?;
            let begun = place.token.recorder().begin(&Entry::Attempt(Attempt {
                purpose: request.purpose.name(),
                key: &self.uri,
                spki: self.spki,
                scheme: request.scheme.name(),
                message: Fingerprint::of(request.message),
                peer: request.peer.name,
                interaction_id: request.peer.interaction_id,
                process: Process::current(),
            }))?;
            // The ledger may have been waited for: a signature that nobody waits for is not made.
            if Instant::now() >= request.deadline {
                let late = EngineError::Deadline(Duration::ZERO);
                begun.fail(late.failure());
                return Err(late);
            }
            let input = recipe.input(request.message);
            let answer = session
                .sign(&recipe.mechanism(), *handle, &input, self.capacity, guard)
                .map_err(|failed| match failed {
                    SignFault::Pin(error) => EngineError::Pin(error),
                    SignFault::Call(fault) => EngineError::Call(fault),
                })
                .and_then(|answer| self.verified(request, answer));
            match &answer {
                Ok(_) => begun.finish(Completion {
                    late: Instant::now() >= request.deadline,
                    ..Completion::default()
                })?,
                Err(error) => begun.fail(error.failure()),
            }
            let fault = match answer {
                Err(EngineError::Call(fault)) if fault.class() == FaultClass::Mechanism => fault,
                other => return other,
            };
            if learnt + 1 >= way.recipes.len() {
                return Err(EngineError::Call(fault));
            }
            tracing::info!(%fault, scheme = %request.scheme, "the token refuses a mechanism that it lists; using the other");
            way.learnt.store(learnt + 1, Ordering::Relaxed);
        }
    }

    /// The token's answer in the form that TLS and X.509 use. Tokens do answer wrongly.
    fn verified(&self, request: &SignRequest<'_>, answer: Vec<u8>) -> Result<Vec<u8>, EngineError> {
        let bytes = match self.public_key.algorithm().field_len() {
            Some(field_len) => ecdsa_der(&answer, field_len)?,
            None => answer,
        };
        match self
            .public_key
            .verifies(request.scheme, request.message, &bytes)
        {
            true => Ok(bytes),
            false => Err(EngineError::WrongSignature {
                scheme: request.scheme,
            }),
        }
    }

    /// Idle sessions die behind firewalls without a word. A cheap call now and then keeps them, and
    /// finds out before somebody waits for a signature.
    pub(super) fn keep_alive(&self, open: &mut Option<Open>) {
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
