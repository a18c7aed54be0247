//! One signature by the token: its ledger entry, C_SignInit and C_Sign, its verification, and the retry after a failure
//! that a new session or a recovered token may cure.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;

use super::outage::TokenStatus;
use super::remedy::{Remedy, remedy};
use super::token_recovery::{CurrentToken, TokenRecovery};
use super::{EngineError, Purpose, SignRequest};
use crate::config::trust::Fingerprint;
use crate::jwt_claims;
use crate::key::ecdsa_signature::ecdsa_der;
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::key::signing_mechanism::SigningMechanism;
use crate::ledger::{Attempt, Completion, Entry, Process};
use crate::metrics::KeyMetrics;
use crate::rfc3339;
use crate::token::fault::FaultClass;
use crate::token::session::{Session, SignFault};

/// Signs with one key of a token.
pub(super) struct TokenSigner {
    recovery: TokenRecovery,
    schemes: Vec<SchemeMechanisms>,
    uri: String,
    public_key: PublicKey,
    spki: Fingerprint,
    signature_capacity: usize,
}

/// The mechanisms for a scheme, preferred first.
struct SchemeMechanisms {
    scheme: Scheme,
    mechanisms: Vec<SigningMechanism>,
    /// The index of the first mechanism that the token has not refused. A token may list a mechanism and return
    /// CKR_MECHANISM_INVALID for it; it is not tried again then.
    current: AtomicUsize,
}

/// A session, with the key's handle in it.
pub(super) struct KeySession {
    session: Session,
    handle: ObjectHandle,
    /// The [`CurrentToken::epoch`] in which it was opened.
    epoch: u64,
}

/// The token has no further session.
pub(super) struct SessionRefused(pub(super) EngineError);

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSigner of {}", self.uri)
    }
}

impl TokenSigner {
    pub(super) fn new(
        recovery: TokenRecovery,
        mechanisms: Vec<(Scheme, Vec<SigningMechanism>)>,
        public_key: PublicKey,
    ) -> Self {
        let schemes = mechanisms
            .into_iter()
            .map(|(scheme, mechanisms)| SchemeMechanisms {
                scheme,
                mechanisms,
                current: AtomicUsize::new(0),
            })
            .collect();
        Self {
            uri: recovery.key().uri().to_string(),
            spki: public_key.fingerprint(),
            signature_capacity: public_key.algorithm().signature_capacity(),
            public_key,
            recovery,
            schemes,
        }
    }

    /// The CKM_ names of the mechanisms for a scheme: the one that is used, and before it those that the token has refused
    /// although it lists them.
    pub(super) fn mechanisms(&self, scheme: Scheme) -> Vec<String> {
        let known = self.schemes.iter().find(|known| known.scheme == scheme);
        let used = known.map(|known| {
            let current = known.current.load(Ordering::Relaxed);
            known.mechanisms.iter().take(current + 1)
        });
        let names = used.into_iter().flatten();
        names
            .map(|mechanism| mechanism.mechanism_type().to_string())
            .collect()
    }

    pub(super) fn token_status(&self) -> TokenStatus {
        self.recovery.status()
    }

    pub(super) fn metrics(&self) -> &KeyMetrics {
        self.recovery.metrics()
    }

    /// Signs in `session`, which is opened if there is none, and retries a failure that a retry may cure.
    ///
    /// # Errors
    /// The token has no further session. There was no retry: the caller uses one of the open sessions.
    pub(super) fn sign(
        &self,
        session: &mut Option<KeySession>,
        request: &SignRequest<'_>,
    ) -> Result<Result<Vec<u8>, EngineError>, SessionRefused> {
        let result = self.attempt(session, request);
        match result.as_ref().map_or_else(remedy, |_| Remedy::None) {
            Remedy::FewerSessions => match result {
                Err(error) => Err(SessionRefused(error)),
                good => Ok(good),
            },
            Remedy::None => Ok(result),
            first @ (Remedy::NewSession | Remedy::RecoverToken) => {
                Ok(self.retry(session, request, first, result))
            }
        }
    }

    fn retry(
        &self,
        session: &mut Option<KeySession>,
        request: &SignRequest<'_>,
        first: Remedy,
        mut result: Result<Vec<u8>, EngineError>,
    ) -> Result<Vec<u8>, EngineError> {
        let before_deadline = || Instant::now() < request.deadline;
        if before_deadline() {
            result = self.attempt(session, request);
            let second = result.as_ref().map_or_else(remedy, |_| Remedy::None);
            // There was no new session, or the key is missing in it: the token is recovered first.
            let is_unsigned = !matches!(&result, Err(EngineError::Call(_)));
            if second == Remedy::RecoverToken
                && (first == Remedy::NewSession || is_unsigned)
                && before_deadline()
            {
                result = self.attempt(session, request);
            }
        }
        result
    }

    /// One attempt. After a failure the session is closed, so that the next attempt opens a new one.
    fn attempt(
        &self,
        session: &mut Option<KeySession>,
        request: &SignRequest<'_>,
    ) -> Result<Vec<u8>, EngineError> {
        let current = self.recovery.current()?;
        let began = Instant::now();
        if began >= request.deadline {
            // The recovery took until after the deadline.
            return Err(EngineError::Deadline(Duration::ZERO));
        }
        if session
            .as_ref()
            .is_some_and(|session| session.epoch != current.epoch)
        {
            *session = None;
        }
        let result = self.sign_at(&current, session, request);
        match &result {
            Ok(_) => self.recovery.signed(current.epoch),
            Err(error) => {
                *session = None;
                if remedy(error) == Remedy::RecoverToken {
                    self.recovery.failed(current.epoch, began, error);
                }
            }
        }
        result
    }

    fn sign_at(
        &self,
        current: &CurrentToken,
        session: &mut Option<KeySession>,
        request: &SignRequest<'_>,
    ) -> Result<Vec<u8>, EngineError> {
        let KeySession {
            session, handle, ..
        } = match session {
            Some(session) => session,
            None => {
                let (opened, handle) = self.recovery.open(current)?;
                session.insert(KeySession {
                    session: opened,
                    handle,
                    epoch: current.epoch,
                })
            }
        };
        let by_scheme = |known: &&SchemeMechanisms| known.scheme == request.scheme;
        let scheme = self.schemes.iter().find(by_scheme);
        let scheme = scheme.ok_or(EngineError::Scheme(request.scheme))?;
        let per_signature = self.recovery.key().always_authenticate();
        let guard = per_signature.then(|| current.token.guard());
        loop {
            let index = scheme.current.load(Ordering::Relaxed);
            let mechanism = scheme
                .mechanisms
                .get(index)
                .ok_or(EngineError::Scheme(request.scheme))?;
            let jwt = match request.purpose {
                Purpose::Jwt => jwt_claims::parse(request.message).ok(),
                _ => None,
            };
            let claims = jwt.as_ref().map(|(_, claims)| claims);
            let ledger_entry = current.token.recorder().begin(&Entry::Attempt(Attempt {
                purpose: request.purpose.name(),
                key: &self.uri,
                spki: self.spki,
                scheme: request.scheme.name(),
                message: Fingerprint::of(request.message),
                peer: request.peer.name,
                interaction_id: request.peer.interaction_id,
                jti: claims.map(|claims| claims.jti.as_str()),
                audience: claims.map(|claims| claims.aud.as_str()),
                expires: claims.map(|claims| rfc3339::of_unix(claims.exp)),
                process: Process::current(),
            }))?;
            // Writing the entry may have taken until after the deadline: nobody waits for the signature then.
            if Instant::now() >= request.deadline {
                let error = EngineError::Deadline(Duration::ZERO);
                ledger_entry.fail(error.failure());
                return Err(error);
            }
            let input = mechanism.input(request.message);
            let signature = session
                .sign(
                    &mechanism.mechanism(),
                    *handle,
                    &input,
                    self.signature_capacity,
                    guard,
                )
                .map_err(|failed| match failed {
                    SignFault::Pin(error) => EngineError::Pin(error),
                    SignFault::Call(fault) => EngineError::Call(fault),
                })
                .and_then(|signature| self.verified(request, signature));
            match &signature {
                Ok(_) => ledger_entry.finish(Completion {
                    late: Instant::now() >= request.deadline,
                    ..Completion::default()
                })?,
                Err(error) => ledger_entry.fail(error.failure()),
            }
            let fault = match signature {
                Err(EngineError::Call(fault)) if fault.class() == FaultClass::Mechanism => fault,
                other => return other,
            };
            if index + 1 >= scheme.mechanisms.len() {
                return Err(EngineError::Call(fault));
            }
            tracing::info!(%fault, scheme = %request.scheme, "the token refuses a mechanism that it lists; using the other");
            scheme.current.store(index + 1, Ordering::Relaxed);
        }
    }

    /// Converts the token's signature to the form that TLS and X.509 use, and verifies it: tokens do return wrong
    /// signatures.
    fn verified(
        &self,
        request: &SignRequest<'_>,
        signature: Vec<u8>,
    ) -> Result<Vec<u8>, EngineError> {
        let bytes = match self.public_key.algorithm().field_len() {
            Some(field_len) => ecdsa_der(&signature, field_len)?,
            None => signature,
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

    /// Makes a cheap call in an idle session. Firewalls drop idle connections silently: the call keeps the connection
    /// open, and detects its loss before the next signature.
    pub(super) fn keep_alive(&self, session: &mut Option<KeySession>) {
        let Ok(current) = self.recovery.current() else {
            return;
        };
        let dead = session.as_ref().is_some_and(|session| {
            session.epoch != current.epoch || session.session.keep_alive().is_err()
        });
        if dead {
            *session = None;
        }
        // Twice: a call that failed once may have met a device under load.
        for _ in 0..2 {
            let began = Instant::now();
            let Err(fault) = current.token.keep_alive() else {
                return;
            };
            let error = EngineError::Call(fault);
            self.recovery.failed(current.epoch, began, &error);
        }
    }
}
