//! The PIN guard: a PIN is tried once, and only here.
//!
//! An HSM locks after a few wrong PINs, for every client at once. So nothing is tried while the
//! token's flags warn, and a PIN that was refused is not sent again, by this process or a later one.

mod error;
mod record;
mod refused;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError};

use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::TokenInfo;
use secrecy::{ExposeSecret, SecretString};

use super::fault::Fault;
use super::pin::{self, Pin};
use super::session::SessionCall;
use crate::config::pin::PinSource;
pub use error::{EarlierTry, PinError};
use record::Record;
use refused::{Mark, flight};

/// Asks a person for a PIN; the text says which.
pub type AskPerson = dyn Fn(&str) -> io::Result<SecretString> + Send + Sync;

/// Whether a person is there: to type a PIN, and to answer for a try when few are left.
pub enum Attendance {
    /// A service, a script, CI.
    Unattended,
    /// Someone at a terminal.
    Attended(Box<AskPerson>),
}

/// Holds the source and the PIN once it was good.
pub struct PinGuard {
    token: Identity,
    source: PinSource,
    attendance: Attendance,
    state_folder: Option<PathBuf>,
    good: OnceLock<Pin>,
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
    ) -> Self {
        Self {
            token,
            source,
            attendance,
            state_folder,
            good: OnceLock::new(),
            good_per_signature: AtomicBool::new(false),
        }
    }

    /// C_Login, the only place that calls it. CK_TOKEN_INFO is read first: where its flags warn,
    /// nothing is sent. CKR_USER_ALREADY_LOGGED_IN is success: the login belongs to the
    /// application, not to the session.
    pub(super) fn log_in(&self, session: &SessionCall<'_>, user: UserType) -> Result<(), PinError> {
        // Eight clients that are opened at once must not all find the PIN untried, and the flags
        // are worth nothing if they were read before another's try.
        let flight = flight(&self.token);
        let _one = flight.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.record(user)?;
        let info = &session.token_info().map_err(PinError::Call)?;
        let agreed = self.check_flags(user, info)?;
        let pin = match (&self.source, self.good.get()) {
            (PinSource::ProtectedPath, _) => {
                self.check_keypad(info)?;
                None
            }
            (_, Some(pin)) => Some(pin.clone()),
            (source, None) => Some(pin::read(source, &self.attendance)?),
        };
        let mark = pin
            .as_ref()
            .map(|pin| Mark::of(&pin.text, user, &self.token));
        if let Some(fault) = mark.as_ref().and_then(Mark::refused_before) {
            return Err(PinError::RefusedBefore(fault));
        }
        let version = pin.as_ref().and_then(|pin| pin.version.clone());
        let attempt = match record {
            Some(record) => {
                if let Err(held_back) = record.allows(version.as_deref())
                    && !agreed
                    && !self.person_agrees(&held_back.to_string())
                {
                    return Err(held_back);
                }
                Some(record.attempt(version)?)
            }
            None => None,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that logs in (law 6)"
        )]
        let answer = session.login(user, pin.as_ref().map(|pin| &pin.text));
        match answer {
            Ok(()) => {
                if matches!(user, UserType::ContextSpecific) {
                    self.good_per_signature.store(true, Ordering::Relaxed);
                }
                if let Some(pin) = pin {
                    // A second login keeps the first PIN: both were good.
                    let _ = self.good.set(pin);
                }
                attempt.map_or(Ok(()), record::Try::good)
            }
            // Somebody's earlier login; whether our PIN is any good was not looked at.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                attempt.map_or(Ok(()), record::Try::not_looked_at)
            }
            Err(error) => {
                let fault = Fault::of(error);
                let refused = fault.refuses_login();
                // The fault is what the caller must hear of; where its record fails, the attempt
                // stays on record, and holds the next one back.
                let recorded = match attempt {
                    Some(attempt) if refused => attempt.refused(&fault),
                    Some(attempt) if fault.precedes_login() => attempt.not_looked_at(),
                    Some(attempt) => attempt.failed(&fault),
                    None if refused => self.record_refusal(user, &fault),
                    None => Ok(()),
                };
                if let Err(error) = recorded {
                    tracing::error!(%error, "how the login ended is not on record");
                }
                if !refused {
                    return Err(PinError::Call(fault));
                }
                if let Some(mark) = mark {
                    mark.remember(fault.clone());
                }
                Err(PinError::Refused(fault))
            }
        }
    }

    /// The record of this source, held until it is dropped.
    ///
    /// A person who types a PIN answers for it, and types another one next time. And the login that
    /// CKA_ALWAYS_AUTHENTICATE wants for each signature is recorded until the PIN was good for one:
    /// two writes to the disk for each signature would buy nothing more.
    fn record(&self, user: UserType) -> Result<Option<Record>, PinError> {
        let typed = matches!(self.source, PinSource::Prompt | PinSource::ProtectedPath);
        let proved = matches!(user, UserType::ContextSpecific)
            && self.good_per_signature.load(Ordering::Relaxed);
        if typed || proved {
            return Ok(None);
        }
        self.open_record(user).map(Some)
    }

    fn open_record(&self, user: UserType) -> Result<Record, PinError> {
        let so = matches!(user, UserType::So);
        Record::open(self.state_folder.as_deref(), &self.token, so, &self.source)
    }

    /// A PIN that was good for signatures is so no more.
    fn record_refusal(&self, user: UserType, fault: &Fault) -> Result<(), PinError> {
        match (&self.source, self.good.get()) {
            (PinSource::Prompt | PinSource::ProtectedPath, _) | (_, None) => Ok(()),
            (_, Some(pin)) => {
                let record = self.open_record(user)?;
                record.attempt(pin.version.clone())?.refused(fault)
            }
        }
    }

    /// Reads the token's flags as they bear on a login of `user`. Says whether a person has
    /// answered for one more try.
    fn check_flags(&self, user: UserType, info: &TokenInfo) -> Result<bool, PinError> {
        let so = matches!(user, UserType::So);
        let flag = |user_flag: (bool, &'static str), so_flag: (bool, &'static str)| {
            let (set, name) = if so { so_flag } else { user_flag };
            set.then_some(name)
        };
        let locked = flag(
            (info.user_pin_locked(), "CKF_USER_PIN_LOCKED"),
            (info.so_pin_locked(), "CKF_SO_PIN_LOCKED"),
        );
        let last = flag(
            (info.user_pin_final_try(), "CKF_USER_PIN_FINAL_TRY"),
            (info.so_pin_final_try(), "CKF_SO_PIN_FINAL_TRY"),
        );
        let change = flag(
            (info.user_pin_to_be_changed(), "CKF_USER_PIN_TO_BE_CHANGED"),
            (info.so_pin_to_be_changed(), "CKF_SO_PIN_TO_BE_CHANGED"),
        );
        let low = flag(
            (info.user_pin_count_low(), "CKF_USER_PIN_COUNT_LOW"),
            (info.so_pin_count_low(), "CKF_SO_PIN_COUNT_LOW"),
        );
        let found = [
            (locked, "the PIN is locked"),
            (last, "one more wrong PIN locks it"),
            (change, "the PIN is to be changed first"),
            (
                low,
                "a wrong PIN was tried lately, and nobody said that it may be tried again",
            ),
        ]
        .into_iter()
        .find_map(|(flag, meaning)| Some((flag?, meaning)));
        match found {
            None => Ok(false),
            Some((flag, meaning))
                if Some(flag) == low && self.person_agrees(&format!("{flag}: {meaning}")) =>
            {
                Ok(true)
            }
            Some((flag, meaning)) => Err(PinError::Guarded { flag, meaning }),
        }
    }

    /// A terminal is no person: a container with a pty has one too. So somebody is asked.
    fn person_agrees(&self, what: &str) -> bool {
        let Attendance::Attended(ask) = &self.attendance else {
            return false;
        };
        let question = format!(
            "{what}. A few wrong PINs lock the token. Shall the PIN from {} be tried all the \
             same? Type yes to try it",
            self.source
        );
        ask(&question).is_ok_and(|answer| answer.expose_secret().trim() == "yes")
    }

    fn check_keypad(&self, info: &TokenInfo) -> Result<(), PinError> {
        if !info.protected_authentication_path() {
            return Err(PinError::Source {
                pin_source: self.source.clone(),
                why: "the token has none: CKF_PROTECTED_AUTHENTICATION_PATH is not set".to_owned(),
            });
        }
        // The module would wait at the keypad for as long as nobody comes.
        match self.attendance {
            Attendance::Attended(_) => Ok(()),
            Attendance::Unattended => Err(PinError::NobodyThere(self.source.clone())),
        }
    }
}

/// What a token is known by across the objects that stand for it in this process: its label, its
/// serial number and its manufacturer.
pub(super) type Identity = [String; 3];
