//! The PIN guard: the only code that calls C_Login. It never sends a PIN again that the token refused.
//!
//! An HSM locks after a few wrong PINs, for every client at once. So no PIN is sent while a PIN flag of CK_TOKEN_INFO is
//! set, and none that was refused: `pin_digest` has those of this process, `attempt_file` keeps them on disk.

mod acceptance;
mod attempt_file;
mod attendance;
mod error;
mod ledger_entry;
mod login_call;
mod login_lock;
mod login_outcome;
mod new_pin;
mod pin_cache;
mod pin_digest;
mod pin_flags;
mod pin_role;
mod refused_pin_versions;
mod retry_policy;
mod sent_login;
mod token_in_slot;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::session::UserType;

use super::description::TokenId;
use super::operation;
use super::pin::Pin;
use super::session_call::SessionCall;
use crate::config::TokenIdentity;
use crate::config::pin::PinSource;
use crate::config::profile::ProfileChoice;
use crate::ledger::{Completion, Operation};
use crate::metrics;
use acceptance::Acceptance;
pub use acceptance::CountLow;
use attempt_file::{AttemptFile, AttemptScope, PendingAttempt};
pub use attendance::Attendance;
pub use error::{EarlierAttempt, PinError, RecordError};
pub(super) use ledger_entry::LoginRecorder;
use login_call::call_login;
use login_lock::{lock_process, process_lock};
use pin_cache::PinCache;
use pin_digest::PinDigest;
use pin_role::PinRole;
use sent_login::SentLogin;

/// When the login was made that holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoggedIn {
    /// The token has accepted the PIN.
    Now,
    /// CKR_USER_ALREADY_LOGGED_IN: an earlier login holds.
    Before,
}

/// What a [`PinGuard`] is for: a token, who logs in, and where the PIN is from.
pub(super) struct LoginSettings {
    pub(super) token: TokenId,
    /// What of CK_TOKEN_INFO is in `token`.
    pub(super) identity: TokenIdentity,
    pub(super) source: PinSource,
    pub(super) attendance: Attendance,
    pub(super) state_folder: Option<PathBuf>,
    pub(super) recorder: LoginRecorder,
    /// The role.
    pub(super) user: UserType,
    /// The user's name, for C_LoginUser.
    pub(super) user_name: Option<String>,
    pub(super) profile: ProfileChoice,
}

/// Logs in to one token with the PIN of one source.
pub struct PinGuard {
    token: TokenId,
    identity: TokenIdentity,
    source: PinSource,
    attendance: Attendance,
    state_folder: Option<PathBuf>,
    recorder: LoginRecorder,
    accepted_pin: PinCache,
    login_role: PinRole,
    user_name: Option<String>,
    profile: ProfileChoice,
    /// The token has accepted the PIN for a signature (CKA_ALWAYS_AUTHENTICATE).
    accepted_per_signature: AtomicBool,
}

impl fmt::Debug for PinGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinGuard of {}", self.source)
    }
}

impl PinGuard {
    pub(super) fn new(login: LoginSettings) -> Self {
        let LoginSettings {
            token,
            identity,
            source,
            attendance,
            state_folder,
            recorder,
            user,
            user_name,
            profile,
        } = login;
        Self {
            token,
            identity,
            source,
            attendance,
            state_folder,
            recorder,
            accepted_pin: PinCache::default(),
            login_role: PinRole::of(user),
            user_name,
            profile,
            accepted_per_signature: AtomicBool::new(false),
        }
    }

    /// Whether the operator enters the PIN, anew for each attempt.
    pub(super) fn needs_operator(&self) -> bool {
        attendance::needs_operator(&self.source)
    }

    /// C_Login, unless the token's flags, an earlier refusal or the retry policy forbid it.
    /// CKR_USER_ALREADY_LOGGED_IN is success: the login belongs to the application, not to the session.
    pub(super) fn log_in(
        &self,
        session: &SessionCall<'_>,
        user: UserType,
    ) -> Result<LoggedIn, PinError> {
        if self.source == PinSource::None {
            return Err(PinError::NoPin);
        }
        if self.user_name.is_some() && !session.has_login_user() {
            return Err(PinError::NoLoginUser);
        }
        // Before the lock, because a PIN command may take long.
        let early_pin = match self.needs_operator() {
            true => None,
            false => Some(self.read_pin()?),
        };
        // The lock is taken before the flags are read, because another login changes them. Of several clients that are
        // opened at once, the others see the outcome of the first.
        let lock = process_lock(&self.token);
        let _locked = lock_process(&lock)?;
        let file = self.open_attempt_file(user, early_pin.as_ref())?;
        let info = &self.token_info(session, "no PIN was sent")?;
        let scope = self.scope(PinRole::of(user));
        let acceptance = pin_flags::check(user, info, &self.attendance, scope)?;
        let version = early_pin.as_ref().map(|pin| pin.version.as_str());
        self.check_full_identity(scope, info, version)?;
        let pin = match (&self.source, early_pin) {
            (PinSource::ProtectedPath, _) => {
                self.attendance.check_keypad(&self.source, info)?;
                None
            }
            (_, Some(pin)) => Some(pin),
            (_, None) => Some(self.read_pin()?),
        };
        let digest = pin
            .as_ref()
            .map(|pin| PinDigest::new(&pin.text, user, self.user_name.as_deref(), &self.token));
        if let Some(fault) = digest.as_ref().and_then(PinDigest::earlier_refusal) {
            self.accepted_pin.clear();
            return Err(PinError::RefusedBefore(fault));
        }
        self.warn_of_anomaly(pin.as_ref());
        let version = pin.as_ref().map(|pin| pin.version.clone());
        let attempt = self.begin_attempt(file, version)?;
        let ledger_entry = match self.begin_ledger_entry(user, acceptance.as_ref()) {
            Ok(entry) => entry,
            Err(error) => {
                if let Some(attempt) = attempt {
                    attempt.discard();
                }
                return Err(error);
            }
        };
        if let Some(pin) = &pin {
            self.accepted_pin.sending(&pin.version);
        }
        // Until the outcome is on record: an interruption before that would leave a login of which nothing is known.
        let _step = operation::begin_login(&self.source);
        let result = call_login(session, user, self.user_name.as_deref(), pin.as_ref());
        let sent = SentLogin {
            user,
            pin,
            digest,
            attempt,
            ledger_entry,
        };
        match result {
            Ok(()) => {
                metrics::login("good");
                self.conclude_success(sent)?;
                Ok(LoggedIn::Now)
            }
            // The token did not compare the PIN: an earlier login of this application holds.
            Err(fault) if fault.is_already_logged_in() => {
                metrics::login("already-logged-in");
                if let Some(attempt) = sent.attempt {
                    attempt.discard();
                }
                sent.ledger_entry.finish(Completion::default())?;
                Ok(LoggedIn::Before)
            }
            Err(fault) => {
                metrics::login("failed");
                Err(self.conclude_failure(sent, fault.of_login(self.profile)))
            }
        }
    }

    /// Writes the operator's acceptance of CKF_USER_PIN_COUNT_LOW for one attempt, if that flag is set now, the retry policy
    /// allows an attempt, and the content of a PIN file has the form of a PIN.
    pub(super) fn accept_count_low(
        &self,
        session: &SessionCall<'_>,
        user: UserType,
    ) -> Result<CountLow, PinError> {
        if self.source == PinSource::None {
            return Err(PinError::NoPin);
        }
        if self.needs_operator() {
            return Err(PinError::NobodyThere(self.source.clone()));
        }
        let version = match &self.source {
            // Only a file is the same for the operator and the service: their environments differ.
            PinSource::File(_) => Attendance::Unattended.read_pin(&self.source)?.version,
            source => source.to_string(),
        };
        let scope = self.scope(PinRole::of(user));
        let file = AttemptFile::open(scope)?;
        let info = &self.token_info(session, "nothing was accepted")?;
        pin_flags::accept(user, info, scope, &file, &version)
    }

    /// The PIN that the token accepted before or that has taken its place, or else that of the source.
    fn read_pin(&self) -> Result<Pin, PinError> {
        match self.accepted_pin.pin() {
            Some(pin) => Ok(pin),
            None => self.attendance.read_pin(&self.source),
        }
    }

    fn warn_of_anomaly(&self, pin: Option<&Pin>) {
        if let Some((pin, anomaly)) = pin.and_then(|pin| Some((pin, pin.anomaly?)))
            && !self.accepted_pin.holds(pin)
        {
            tracing::warn!(
                "the PIN from {} {}: it is sent with that",
                self.source,
                anomaly.predicate()
            );
        }
    }

    fn scope(&self, role: PinRole) -> AttemptScope<'_> {
        AttemptScope {
            folder: self.state_folder.as_deref(),
            token: &self.token,
            role,
            login_role: self.login_role,
            user_name: self.user_name.as_deref(),
            source: &self.source,
        }
    }

    /// The attempt file, locked until it is dropped; `None` if the attempt is not recorded. Attempts for a signature
    /// (CKA_ALWAYS_AUTHENTICATE) are recorded until the token has accepted the PIN for one: two disk writes for each
    /// further signature would protect nothing. Refusals that other processes recorded are checked each time.
    fn open_attempt_file(
        &self,
        user: UserType,
        pin: Option<&Pin>,
    ) -> Result<Option<AttemptFile>, PinError> {
        if self.needs_operator() {
            return Ok(None);
        }
        let role = PinRole::of(user);
        if role == PinRole::PerSignature {
            let is_accepted = self.accepted_per_signature.load(Ordering::Relaxed);
            if let Some(pin) = pin {
                self.scope(self.login_role).check_refusals(&pin.version)?;
                if is_accepted {
                    self.scope(role).check_refusals(&pin.version)?;
                }
            }
            if is_accepted {
                return Ok(None);
            }
        }
        AttemptFile::open(self.scope(role)).map(Some)
    }

    /// Applies the retry policy, which an operator may override, and records that an attempt begins.
    fn begin_attempt(
        &self,
        file: Option<AttemptFile>,
        version: Option<String>,
    ) -> Result<Option<PendingAttempt>, PinError> {
        let (Some(file), Some(version)) = (file, version) else {
            return Ok(None);
        };
        if let Err(denied) = file.allows(&version)
            && !self.attendance.confirms(&denied.to_string(), &self.source)
        {
            if !matches!(denied, PinError::TooSoon { .. }) {
                self.accepted_pin.clear();
            }
            return Err(denied);
        }
        file.begin_attempt(version).map(Some)
    }

    /// Uses up the operator's acceptance, and records in the ledger that C_Login is about to be called.
    fn begin_ledger_entry(
        &self,
        user: UserType,
        acceptance: Option<&Acceptance>,
    ) -> Result<Operation, PinError> {
        if let Some(acceptance) = acceptance {
            acceptance.use_up()?;
        }
        let entry = self
            .recorder
            .begin(user, self.user_name.as_deref(), &self.source, acceptance);
        if let (Err(_), Some(acceptance)) = (&entry, acceptance) {
            acceptance.restore();
        }
        Ok(entry?)
    }
}
