//! The current token of a key, and its recovery after it was lost.
//!
//! A network HSM may be lost for a while: its daemon is restarted, a firewall drops its connection, its slots are
//! renumbered. The next signature starts the recovery: the token is selected and logged in to again. If that fails,
//! C_Finalize and C_Initialize follow: new sessions are not enough after the daemon behind a module was restarted. While
//! the recovery fails, signatures fail at once, and it is repeated with backoff.
//!
//! A recovery ends the sessions of everybody who uses the module in this process. So it begins only when no other session
//! signs, and where a return value names a state that a person has to end, neither login nor C_Initialize is repeated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use cryptoki::object::ObjectHandle;

use super::EngineError;
use super::outage::{
    Outage, PendingRecovery, TokenStatus, delay_after, delay_after_recoveries, is_in_vain,
    lasting_state,
};
use super::remedy::{Remedy, remedy};
use crate::key::Key;
use crate::metrics::KeyMetrics;
use crate::poison::IgnorePoison as _;
use crate::rfc3339;
use crate::token::fault::{Clearance, FaultClass};
use crate::token::guard::PinError;
use crate::token::session::{Access, Session};
use crate::token::{Token, TokenError};

/// The number of consecutive losses, without a signature in between, after which a new login is tried first. After more,
/// the recovery begins with C_Finalize and C_Initialize.
const MAX_RELOGIN_LOSSES: u32 = 1;
/// After so many recoveries in vain, without a good signature in between, only a new process may help: some
/// modules keep their broken state through C_Finalize (Luna's at times: OpenSC/libp11#228, Pkcs11Interop#188). With the
/// delays between them they take 7 s, so that a daemon that is restarted costs no process.
pub(crate) const MAX_RECOVERIES_IN_VAIN: u32 = 10;

#[derive(Debug)]
pub(super) struct TokenRecovery {
    key: Key,
    metrics: KeyMetrics,
    // Locked during a recovery: threads that need the token wait for its outcome.
    state: Mutex<RecoveryState>,
    // A lock of its own, because health checks must not wait for a recovery.
    status: Mutex<TokenStatus>,
    // A call has failed since the last signature, and the token was used further.
    suspected: AtomicBool,
}

#[derive(Debug)]
struct RecoveryState {
    current: CurrentToken,
    /// The module's generation in which the token was selected.
    generation: u64,
    /// Losses since the last signature.
    losses: u32,
    /// Recoveries in vain since the last signature: the module was initialised again, or this host has no memory for it.
    in_vain: u32,
    pending: Option<PendingRecovery>,
}

/// The token that was selected last. Sessions of an earlier epoch are stale.
#[derive(Clone, Debug)]
pub(super) struct CurrentToken {
    pub(super) token: Arc<Token>,
    pub(super) epoch: u64,
}

impl TokenRecovery {
    pub(super) fn new(token: Arc<Token>, key: Key, metrics: KeyMetrics) -> Self {
        metrics.token_up(true);
        Self {
            key,
            metrics,
            state: Mutex::new(RecoveryState {
                generation: token.module().generation(),
                current: CurrentToken { token, epoch: 0 },
                losses: 0,
                in_vain: 0,
                pending: None,
            }),
            status: Mutex::default(),
            suspected: AtomicBool::new(false),
        }
    }

    /// The status after the last call. Neither blocks nor calls the module.
    pub(super) fn status(&self) -> TokenStatus {
        self.lock_status().clone()
    }

    /// The current token. If it is lost and an attempt is due, recovers it first.
    ///
    /// # Errors
    /// It is lost: the recovery failed, or the next attempt is not due yet.
    pub(super) fn current(&self) -> Result<CurrentToken, EngineError> {
        let mut state = self.lock();
        let Some(pending) = state.pending.clone() else {
            return Ok(state.current.clone());
        };
        let began = Instant::now();
        if began < pending.next_attempt {
            return Err(pending.outage.error());
        }
        let recovered = self.recover(&mut state, &pending);
        let label = recovered
            .as_ref()
            .map_or_else(EngineError::label, |_| "good");
        self.metrics.searched(label);
        match recovered {
            Ok(token) => {
                self.metrics.token_up(true);
                tracing::warn!(key = %self.key.uri(), since = pending.outage.since, "the token was found again");
                state.generation = token.module().generation();
                state.current.token = token;
                state.current.epoch += 1;
                state.pending = None;
                self.suspected.store(false, Ordering::Relaxed);
                self.lock_status().outage = None;
                Ok(state.current.clone())
            }
            Err(error) => {
                tracing::warn!(key = %self.key.uri(), since = pending.outage.since, %error, state = error.device_state(), "the token is not back");
                let outage = Outage {
                    in_vain: state.in_vain,
                    last: Some(Arc::new(error)),
                    ..pending.outage
                };
                let error = outage.error();
                self.lock_status().outage = Some(outage.clone());
                let last = outage.last.as_deref().unwrap_or(&error);
                state.pending = Some(PendingRecovery {
                    next_attempt: Instant::now() + delay_after(last, pending.failures),
                    outage,
                    failures: pending.failures.saturating_add(1),
                    failed_since: began,
                });
                Err(error)
            }
        }
    }

    /// Records that a call with the token of this epoch failed, which began at `began`. The token is lost, unless only
    /// the session of that call was: an HSM under load refuses some calls, while it answers others.
    pub(super) fn failed(&self, epoch: u64, began: Instant, why: &EngineError) {
        let mut state = self.lock();
        if state.current.epoch != epoch || state.pending.is_some() {
            return;
        }
        if self.is_of_one_session(began, why) {
            tracing::info!(key = %self.key.uri(), %why, "a call failed; the token is used further, in another session");
            return;
        }
        tracing::warn!(key = %self.key.uri(), %why, state = why.device_state(), "the token is lost");
        self.metrics.token_up(false);
        // The first recovery is due at once. The backoff also applies to a token whose recovery succeeds each time, and
        // that is lost again before it signs; and no recovery ends a state that a person has to end.
        let failures = state.losses.saturating_add(1);
        let delay = match lasting_state(why) {
            Some(_) => delay_after_recoveries(why, failures),
            None => delay_after_recoveries(why, state.losses.saturating_sub(MAX_RELOGIN_LOSSES)),
        };
        state.losses = state.losses.saturating_add(1);
        let named = why.fault().filter(|fault| fault.device_state().is_some());
        let outage = Outage {
            since: rfc3339::now(),
            last: named.map(|fault| Arc::new(EngineError::Call(fault.clone()))),
            in_vain: state.in_vain,
        };
        self.lock_status().outage = Some(outage.clone());
        state.pending = Some(PendingRecovery {
            outage,
            next_attempt: Instant::now() + delay,
            failures,
            failed_since: began,
        });
    }

    /// Whether a failed call says nothing of the token: another session has signed since it began, or it is the first that
    /// failed since the last good signature, with a code that names no loss. AWS CloudHSM returns CKR_DEVICE_ERROR when it
    /// is throttled.
    fn is_of_one_session(&self, began: Instant, why: &EngineError) -> bool {
        let Some(fault) = why.fault() else {
            return false;
        };
        if fault.class() != FaultClass::Device
            || fault.is_loss_of_token()
            || lasting_state(why) == Some(Clearance::Operator)
        {
            return false;
        }
        let signed = self.lock_status().last_signature;
        if signed.is_some_and(|at| at >= began) {
            return true;
        }
        // A new session that cannot be opened is no matter of one session.
        matches!(why, EngineError::Call(_)) && !self.suspected.swap(true, Ordering::Relaxed)
    }

    /// Records a good signature. Does not wait for a recovery in progress.
    pub(super) fn signed(&self, epoch: u64) {
        self.lock_status().last_signature = Some(Instant::now());
        self.suspected.store(false, Ordering::Relaxed);
        if let Ok(mut state) = self.state.try_lock()
            && state.current.epoch == epoch
        {
            state.losses = 0;
            state.in_vain = 0;
        }
    }

    /// Opens a session and finds the key in it.
    pub(super) fn open(
        &self,
        current: &CurrentToken,
    ) -> Result<(Session, ObjectHandle), EngineError> {
        let opened = self.session_with_key(&current.token);
        let label = opened.as_ref().map_or_else(EngineError::label, |_| "good");
        self.metrics.session_opened(label);
        opened
    }

    fn session_with_key(&self, token: &Token) -> Result<(Session, ObjectHandle), EngineError> {
        let session = token.session(Access::ReadOnly)?;
        let handle = self.key.find_again(&session, token)?;
        Ok((session, handle))
    }

    pub(super) fn metrics(&self) -> &KeyMetrics {
        &self.metrics
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    fn recover(
        &self,
        state: &mut RecoveryState,
        pending: &PendingRecovery,
    ) -> Result<Arc<Token>, EngineError> {
        let in_vain = state.in_vain;
        let recovered = self.reconnect(state, pending);
        if recovered.as_ref().is_err_and(is_in_vain) {
            state.in_vain = state.in_vain.saturating_add(1);
        }
        if (in_vain..state.in_vain).contains(&(MAX_RECOVERIES_IN_VAIN - 1)) {
            tracing::error!(
                key = %self.key.uri(),
                "the token cannot be recovered in this process, after {MAX_RECOVERIES_IN_VAIN} recoveries in vain: \
                 only a new process may help. A signer process is replaced by itself; any other program has to be restarted"
            );
        }
        recovered
    }

    fn reconnect(
        &self,
        state: &mut RecoveryState,
        pending: &PendingRecovery,
    ) -> Result<Arc<Token>, EngineError> {
        let before = Arc::clone(&state.current.token);
        if pending.outage.lasting_state().is_some() {
            // The login is as good as before, unless the device was restarted meanwhile.
            match self.session_with_key(&before) {
                Ok(_) => return Ok(before),
                Err(error) if lasting_state(&error).is_some() => return Err(error),
                Err(_) => {}
            }
        }
        let module = before.module();
        let generation = module.generation();
        // Another user of the module in this process has reinitialised it meanwhile: that may be enough.
        let is_new_generation = generation != state.generation;
        // A login that still holds is not given up for a PIN that the token has not judged: it may be a mistake.
        if state.losses <= MAX_RELOGIN_LOSSES
            && before.may_have_new_pin()
            && self.session_with_key(&before).is_ok()
        {
            return Ok(before);
        }
        // Some modules compare a PIN with what they read of the token in C_Initialize (SoftHSM does): they would refuse a PIN
        // that was changed since, and it is sent only once.
        let awaits_initialize = before.has_new_pin()?;
        let relogin = match state.losses {
            _ if awaits_initialize => Err(TokenError::Empty.into()),
            losses if losses <= MAX_RELOGIN_LOSSES || is_new_generation => {
                self.select_and_login(&before)
            }
            // A new login has recovered it before, and it was lost again at once.
            _ => Err(TokenError::Empty.into()),
        };
        let Err(error) = relogin else {
            return relogin;
        };
        let login_failed = match error.pin() {
            Some(PinError::Call(_)) => true,
            Some(_) => return Err(error),
            None => false,
        };
        // The module works: others use it, or C_Initialize would change nothing.
        if remedy(&error) == Remedy::FewerSessions || lasting_state(&error).is_some() {
            return Err(error);
        }
        let reinitialized =
            module.reinitialize(generation, pending.failed_since, before.recorder());
        match reinitialized {
            Ok(true) => {}
            // Others use the module, or it is not ours: then a new PIN is sent as it is.
            Ok(false) | Err(TokenError::Initialize(_)) if awaits_initialize => {}
            Ok(false) => return Err(error),
            Err(error) => return Err(error.into()),
        }
        // The PIN is not sent a second time in one recovery.
        if login_failed {
            return Err(error);
        }
        let recovered = self.select_and_login(&before);
        if recovered.is_ok() {
            // In vain too, if the token does not sign after it.
            state.in_vain = state.in_vain.saturating_add(1);
        }
        recovered
    }

    /// Selects the token, logs in and finds the key: the prerequisites of C_SignInit.
    fn select_and_login(&self, before: &Token) -> Result<Arc<Token>, EngineError> {
        let token = before.reopen()?;
        self.session_with_key(&token)?;
        Ok(Arc::new(token))
    }

    fn lock(&self) -> MutexGuard<'_, RecoveryState> {
        self.state.lock().ignore_poison()
    }

    fn lock_status(&self) -> MutexGuard<'_, TokenStatus> {
        self.status.lock().ignore_poison()
    }
}
