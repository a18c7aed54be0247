//! The PIN guard: the only code that calls C_Login. It never sends a PIN again that the token refused.
//!
//! An HSM locks after a few wrong PINs, for every client at once. So no PIN is sent while a PIN flag of CK_TOKEN_INFO is
//! set, and none that was refused: `pin_digest` has those of this process, `attempt_file` keeps them on disk.

mod acceptance;
mod attempt_file;
mod attendance;
mod error;
mod ledger_entry;
mod login_lock;
mod pin_cache;
mod pin_digest;
mod pin_flags;
mod pin_role;
mod refused_pin_versions;
mod retry_policy;
mod sent_login;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;

use super::description::TokenId;
use super::fault::{Fault, LoginVerdict};
use super::info::TokenInfo;
use super::pin::Pin;
use super::session_call::SessionCall;
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
use login_lock::{lock_process, process_lock};
use pin_cache::PinCache;
use pin_digest::PinDigest;
use pin_role::PinRole;
use retry_policy::Outcome;
use sent_login::SentLogin;

/// Logs in to one token with the PIN of one source.
pub struct PinGuard {
    token: TokenId,
    source: PinSource,
    attendance: Attendance,
    state_folder: Option<PathBuf>,
    recorder: LoginRecorder,
    accepted_pin: PinCache,
    login_role: PinRole,
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
    pub(super) fn new(
        token: TokenId,
        source: PinSource,
        attendance: Attendance,
        state_folder: Option<PathBuf>,
        recorder: LoginRecorder,
        user: UserType,
        profile: ProfileChoice,
    ) -> Self {
        Self {
            token,
            source,
            attendance,
            state_folder,
            recorder,
            accepted_pin: PinCache::default(),
            login_role: PinRole::of(user),
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
    pub(super) fn log_in(&self, session: &SessionCall<'_>, user: UserType) -> Result<(), PinError> {
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
            .map(|pin| PinDigest::new(&pin.text, user, &self.token));
        if let Some(fault) = digest.as_ref().and_then(PinDigest::earlier_refusal) {
            self.accepted_pin.clear();
            return Err(PinError::RefusedBefore(fault));
        }
        self.warn_of_anomaly(pin.as_ref());
        let version = pin.as_ref().and_then(|pin| pin.version.clone());
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
        #[expect(
            clippy::disallowed_methods,
            reason = "the only call of C_Login (ARCHITECTURE.md, invariant 6)"
        )]
        let result = session.login(user, pin.as_ref().map(|pin| &pin.text));
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
                self.conclude_success(sent)
            }
            // The token did not compare the PIN: an earlier login of this application holds.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                metrics::login("already-logged-in");
                if let Some(attempt) = sent.attempt {
                    attempt.discard();
                }
                Ok(sent.ledger_entry.finish(Completion::default())?)
            }
            Err(error) => {
                metrics::login("failed");
                Err(self.conclude_failure(sent, Fault::of(error).of_login(self.profile)))
            }
        }
    }

    /// Records the outcome of a C_Login that returned CKR_OK.
    fn conclude_success(&self, sent: SentLogin) -> Result<(), PinError> {
        if let Some(attempt) = sent.attempt {
            attempt.end(Outcome::Good, None);
            self.scope(PinRole::of(sent.user)).withdraw_acceptance();
        }
        if matches!(sent.user, UserType::ContextSpecific) {
            self.accepted_per_signature.store(true, Ordering::Relaxed);
        }
        self.accepted_pin.keep(sent.pin);
        Ok(sent.ledger_entry.finish(Completion::default())?)
    }

    /// Records the outcome of a C_Login that failed. Whether the PIN was refused depends on the return value.
    fn conclude_failure(&self, sent: SentLogin, fault: Fault) -> PinError {
        sent.ledger_entry.fail(fault.failure());
        let per_signature = matches!(sent.user, UserType::ContextSpecific);
        if per_signature {
            // The next attempts are recorded in the attempt file again.
            self.accepted_per_signature.store(false, Ordering::Relaxed);
        }
        let verdict = fault.verdict_on_login();
        let is_recorded = sent.attempt.is_some();
        if let Some(attempt) = sent.attempt {
            attempt.end_failed(verdict, &fault);
        }
        if verdict != LoginVerdict::Refused {
            return PinError::Call(fault);
        }
        self.accepted_pin.clear();
        if per_signature && !self.needs_operator() {
            let version = sent.pin.as_ref().and_then(|pin| pin.version.clone());
            if !is_recorded {
                self.scope(PinRole::PerSignature)
                    .record_refusal(version.clone(), &fault);
            }
            // A PIN that was refused for a signature is not sent for a login either.
            self.scope(self.login_role).record_refusal(version, &fault);
        }
        if let Some(digest) = sent.digest {
            digest.add_refusal(fault.clone());
        }
        match sent.pin.and_then(|pin| pin.anomaly) {
            Some(anomaly) => PinError::RefusedOdd {
                fault,
                pin_source: self.source.clone(),
                anomaly,
            },
            None => PinError::Refused(fault),
        }
    }

    /// Writes the operator's acceptance of CKF_USER_PIN_COUNT_LOW for one attempt, if that flag is set now, the retry policy
    /// allows an attempt, and the content of a PIN file has the form of a PIN.
    pub(super) fn accept_count_low(
        &self,
        session: &SessionCall<'_>,
        user: UserType,
    ) -> Result<CountLow, PinError> {
        if self.needs_operator() {
            return Err(PinError::NobodyThere(self.source.clone()));
        }
        let version = match &self.source {
            // Only a file is the same for the operator and the service: their environments differ.
            PinSource::File(_) => Attendance::Unattended.read_pin(&self.source)?.version,
            _ => None,
        };
        let scope = self.scope(PinRole::of(user));
        let file = AttemptFile::open(scope)?;
        let info = &self.token_info(session, "nothing was accepted")?;
        pin_flags::accept(user, info, scope, &file, version.as_deref())
    }

    /// The token's current CK_TOKEN_INFO. It is an error if slots were renumbered since the token was selected.
    fn token_info(
        &self,
        session: &SessionCall<'_>,
        consequence: &str,
    ) -> Result<TokenInfo, PinError> {
        let info = session.token_info().map_err(PinError::Call)?;
        let current = [info.label(), info.serial_number(), info.manufacturer_id()];
        if current != self.token.each_ref().map(String::as_str) {
            return Err(PinError::Call(Fault::answer(format!(
                "another token is in this slot now; {consequence}"
            ))));
        }
        Ok(info)
    }

    /// The PIN that the token accepted before, or else that of the source.
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
            let version = pin.and_then(|pin| pin.version.as_deref());
            self.scope(self.login_role).check_refusals(version)?;
            if self.accepted_per_signature.load(Ordering::Relaxed) {
                self.scope(role).check_refusals(version)?;
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
        let Some(file) = file else {
            return Ok(None);
        };
        if let Err(denied) = file.allows(version.as_deref())
            && !self.attendance.confirms(&denied.to_string(), &self.source)
        {
            self.accepted_pin.clear();
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
        let entry = self.recorder.begin(user, &self.source, acceptance);
        if let (Err(_), Some(acceptance)) = (&entry, acceptance) {
            acceptance.restore();
        }
        Ok(entry?)
    }
}
