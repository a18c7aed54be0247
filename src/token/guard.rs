//! The PIN guard: a PIN is tried once, and only here.
//!
//! An HSM locks after a few wrong PINs, for every client at once. So nothing is tried while the
//! token's flags warn, and a PIN that was refused is not sent again, by this process or a later one.

mod acceptance;
mod error;
mod flags;
mod lock;
mod memory;
mod record;
mod refused;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::TokenInfo;
use secrecy::{ExposeSecret, SecretString};

use super::fault::{Fault, LoginVerdict};
use super::pin::{self, Pin};
use super::session::SessionCall;
use crate::config::pin::PinSource;
use crate::ledger::{Completion, Entry, LedgerError, Login, Operation, Process, Recorder};
use crate::metrics;
use crate::poison::IgnorePoison as _;
use acceptance::Acceptance;
pub use acceptance::CountLow;
pub use error::{EarlierTry, PinError};
use memory::Last;
use record::{Record, Role, Subject};
use refused::{Mark, flight, in_time};

/// Asks a person for a PIN; the text says which.
pub type AskPerson = dyn Fn(&str) -> io::Result<SecretString> + Send + Sync;

/// Whether a person is there: to type a PIN, and to answer for a try when few are left.
pub enum Attendance {
    /// A service, a script, CI.
    Unattended,
    /// Someone at a terminal.
    Attended(Box<AskPerson>),
}

/// Where logins are recorded, and what the token is called there.
#[derive(Clone, Debug)]
pub(super) struct Register {
    pub(super) recorder: Recorder,
    pub(super) token: String,
}

/// Holds the source and the PIN once it was good.
pub struct PinGuard {
    token: Identity,
    source: PinSource,
    attendance: Attendance,
    state_folder: Option<PathBuf>,
    register: Register,
    good: Mutex<Option<Pin>>,
    good_per_signature: AtomicBool,
}

impl fmt::Debug for PinGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinGuard")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl PinGuard {
    pub(super) fn new(
        token: Identity,
        source: PinSource,
        attendance: Attendance,
        state_folder: Option<PathBuf>,
        register: Register,
    ) -> Self {
        Self {
            token,
            source,
            attendance,
            state_folder,
            register,
            good: Mutex::new(None),
            good_per_signature: AtomicBool::new(false),
        }
    }

    /// C_Login, the only place that calls it. CK_TOKEN_INFO is read first: where its flags warn,
    /// nothing is sent. CKR_USER_ALREADY_LOGGED_IN is success: the login belongs to the
    /// application, not to the session.
    pub(super) fn log_in(&self, session: &SessionCall<'_>, user: UserType) -> Result<(), PinError> {
        // Before anybody is kept waiting: a program that gives the PIN may take its time.
        let early = match self.typed() {
            true => None,
            false => Some(self.pin()?),
        };
        // Eight clients that are opened at once must not all find the PIN untried, and the flags
        // are worth nothing if they were read before another's try.
        let flight = flight(&self.token);
        let _one = in_time(&flight)?;
        let record = self.record(user, early.as_ref())?;
        let info = &session.token_info().map_err(PinError::Call)?;
        if !self.is_of(info) {
            // Slots renumbered since the token was selected: the PIN is another's here.
            return Err(PinError::Call(Fault::answer(
                "another token is in this slot now; no PIN was sent",
            )));
        }
        let accepted = self.check_flags(user, info)?;
        let pin = match (&self.source, early) {
            (PinSource::ProtectedPath, _) => {
                self.check_keypad(info)?;
                None
            }
            (_, Some(pin)) => Some(pin),
            (_, None) => Some(self.pin()?),
        };
        let mark = pin
            .as_ref()
            .map(|pin| Mark::of(&pin.text, user, &self.token));
        if let Some(fault) = mark.as_ref().and_then(Mark::refused_before) {
            self.forget();
            return Err(PinError::RefusedBefore(fault));
        }
        let version = pin.as_ref().and_then(|pin| pin.version.clone());
        if let Some((pin, oddity)) = pin.as_ref().and_then(|pin| Some((pin, pin.oddity?)))
            && !self.is_good(pin)
        {
            tracing::warn!(
                "the PIN from {} {}: it is sent with that",
                self.source,
                oddity.said()
            );
        }
        let attempt = match record {
            Some(record) => {
                if let Err(held_back) = record.allows(version.as_deref())
                    && !self.person_agrees(&held_back.to_string())
                {
                    self.forget();
                    return Err(held_back);
                }
                Some(record.attempt(version.clone())?)
            }
            None => None,
        };
        let begun = match self.begin(user, accepted.as_ref()) {
            Ok(begun) => begun,
            Err(error) => {
                if let Some(attempt) = attempt {
                    attempt.not_looked_at();
                }
                return Err(error);
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that logs in (law 6)"
        )]
        let answer = session.login(user, pin.as_ref().map(|pin| &pin.text));
        metrics::login(match &answer {
            Ok(()) => "good",
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => "already-logged-in",
            Err(_) => "failed",
        });
        let per_signature = matches!(user, UserType::ContextSpecific);
        let fault = match answer {
            Ok(()) => {
                if let Some(attempt) = attempt {
                    attempt.end(Last::Good, None);
                    // What it was accepted for is over.
                    self.subject(flags::role(user)).withdraw_acceptance();
                }
                if per_signature {
                    self.good_per_signature.store(true, Ordering::Relaxed);
                }
                self.keep(pin);
                return Ok(begun.finish(Completion::default())?);
            }
            // Somebody's earlier login; whether our PIN is any good was not looked at.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                if let Some(attempt) = attempt {
                    attempt.not_looked_at();
                }
                return Ok(begun.finish(Completion::default())?);
            }
            Err(error) => Fault::of(error),
        };
        begun.fail(fault.failure());
        if per_signature {
            // From here on each is on record again.
            self.good_per_signature.store(false, Ordering::Relaxed);
        }
        let verdict = fault.verdict_on_login();
        let on_record = attempt.is_some();
        match (attempt, verdict) {
            (Some(attempt), LoginVerdict::Refused) => attempt.end(Last::Refused, Some(&fault)),
            (Some(attempt), LoginVerdict::NotLookedAt) => attempt.not_looked_at(),
            (Some(attempt), LoginVerdict::Unknown) => attempt.end(Last::Failed, Some(&fault)),
            (None, _) => {}
        }
        if verdict != LoginVerdict::Refused {
            return Err(PinError::Call(fault));
        }
        self.forget();
        if per_signature && !self.typed() {
            if !on_record {
                self.refuse_for(Role::PerSignature, version.clone(), &fault);
            }
            self.refuse_for(Role::User, version, &fault);
        }
        if let Some(mark) = mark {
            mark.remember(fault.clone());
        }
        Err(match pin.and_then(|pin| pin.oddity) {
            Some(oddity) => PinError::RefusedOdd {
                fault,
                pin_source: self.source.clone(),
                oddity,
            },
            None => PinError::Refused(fault),
        })
    }

    /// Uses up what was accepted, and puts the login on the ledger.
    fn begin(&self, user: UserType, accepted: Option<&Acceptance>) -> Result<Operation, PinError> {
        let Some(accepted) = accepted else {
            return Ok(self.on_ledger(user, None)?);
        };
        accepted.use_up()?;
        let begun = self.on_ledger(user, Some(accepted));
        Ok(begun.inspect_err(|_| accepted.not_needed())?)
    }

    /// A login of the session is recorded. The one that a key wants before each signature is a part
    /// of that signature, and of its record.
    fn on_ledger(
        &self,
        user: UserType,
        accepted: Option<&Acceptance>,
    ) -> Result<Operation, LedgerError> {
        let role = match user {
            UserType::ContextSpecific => return Ok(Operation::unrecorded()),
            UserType::User => "user".to_owned(),
            UserType::So => "security-officer".to_owned(),
            UserType::VendorExtension(number) => number.to_string(),
        };
        self.register.recorder.begin(&Entry::Login(Login {
            token: &self.register.token,
            role: &role,
            pin_source: &self.source.to_string(),
            accepted: accepted.map(Acceptance::on_ledger),
            process: Process::current(),
        }))
    }

    /// Whether it is the token that was selected.
    fn is_of(&self, info: &TokenInfo) -> bool {
        let there = [info.label(), info.serial_number(), info.manufacturer_id()];
        there == self.token.each_ref().map(String::as_str)
    }

    /// A person types it, answers for it, and types another one next time.
    pub(super) fn typed(&self) -> bool {
        matches!(self.source, PinSource::Prompt | PinSource::ProtectedPath)
    }

    /// The PIN that was good, else what the source gives.
    fn pin(&self) -> Result<Pin, PinError> {
        let good = self.good.lock().ignore_poison();
        match &*good {
            Some(pin) => Ok(pin.clone()),
            None => {
                drop(good);
                pin::read(&self.source, &self.attendance)
            }
        }
    }

    fn is_good(&self, pin: &Pin) -> bool {
        let good = self.good.lock().ignore_poison();
        good.as_ref()
            .is_some_and(|good| good.text.expose_secret() == pin.text.expose_secret())
    }

    fn keep(&self, pin: Option<Pin>) {
        let mut good = self.good.lock().ignore_poison();
        if good.is_none() {
            *good = pin;
        }
    }

    /// What was good is so no more: the next login looks at the source again.
    fn forget(&self) {
        *self.good.lock().ignore_poison() = None;
    }

    fn subject(&self, role: Role) -> Subject<'_> {
        Subject {
            folder: self.state_folder.as_deref(),
            token: &self.token,
            role,
            source: &self.source,
        }
    }

    /// The record of this source, held until it is dropped.
    ///
    /// The login that CKA_ALWAYS_AUTHENTICATE wants for each signature is recorded until the PIN
    /// was good for one: two writes to the disk for each signature would buy nothing more. What
    /// other processes saw of it is looked at each time.
    fn record(&self, user: UserType, pin: Option<&Pin>) -> Result<Option<Record>, PinError> {
        if self.typed() {
            return Ok(None);
        }
        let role = flags::role(user);
        if role == Role::PerSignature {
            let version = pin.and_then(|pin| pin.version.as_deref());
            self.subject(Role::User).refused_elsewhere(version)?;
            if self.good_per_signature.load(Ordering::Relaxed) {
                self.subject(role).refused_elsewhere(version)?;
                return Ok(None);
            }
        }
        Record::open(self.subject(role)).map(Some)
    }

    /// A PIN that was refused for a signature is not sent for a login either.
    fn refuse_for(&self, role: Role, version: Option<String>, fault: &Fault) {
        let refused = Record::open(self.subject(role))
            .and_then(|record| record.attempt(version))
            .map(|attempt| attempt.end(Last::Refused, Some(fault)));
        if let Err(error) = refused {
            tracing::error!(%error, "that the PIN was refused is not on record");
        }
    }
}

/// What a token is known by across the objects that stand for it in this process: its label, its
/// serial number and its manufacturer.
pub(super) type Identity = [String; 3];
