//! The current token of a key, and its recovery after it was lost.
//!
//! A network HSM may be lost for a while: its daemon is restarted, a firewall drops its connection, its slots are
//! renumbered. The next signature starts the recovery: the token is selected and logged in to again. If that fails,
//! C_Finalize and C_Initialize follow: new sessions are not enough after the daemon behind a module was restarted. While
//! the recovery fails, signatures fail at once, and it is repeated with backoff.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;

use super::EngineError;
use super::error::{Remedy, remedy};
use crate::backoff::Backoff;
use crate::key::Key;
use crate::metrics::KeyMetrics;
use crate::poison::IgnorePoison as _;
use crate::rfc3339;
use crate::token::guard::PinError;
use crate::token::session::{Access, Session};
use crate::token::{Token, TokenError};

/// The delays between attempts to recover the token. A token that is back is found within the longest delay.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// The number of consecutive losses, without a signature in between, after which a new login is tried first. After more,
/// the recovery begins with C_Finalize and C_Initialize.
const MAX_RELOGIN_LOSSES: u32 = 1;

#[derive(Debug)]
pub(super) struct TokenRecovery {
    key: Key,
    metrics: KeyMetrics,
    // Locked during a recovery: threads that need the token wait for its outcome.
    state: Mutex<RecoveryState>,
    // A lock of its own, because health checks must not wait for a recovery.
    status: Mutex<TokenStatus>,
}

/// The token's status in a health check.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenStatus {
    pub(super) outage: Option<Outage>,
    /// The time of the last good signature.
    pub(super) last_signature: Option<Instant>,
}

#[derive(Debug)]
struct RecoveryState {
    current: CurrentToken,
    /// The module's generation in which the token was selected.
    generation: u64,
    /// Losses since the last signature.
    losses: u32,
    pending: Option<PendingRecovery>,
}

/// An outage of the token, and when the next recovery is due.
#[derive(Clone, Debug)]
struct PendingRecovery {
    outage: Outage,
    next_attempt: Instant,
    /// The consecutive failures: the backoff depends on them.
    failures: u32,
}

/// An outage of the token.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// RFC 3339
    pub(super) since: String,
    /// Why the last recovery failed.
    last: Option<Arc<EngineError>>,
}

impl Outage {
    /// The error of signatures during the outage.
    pub(super) fn error(&self) -> EngineError {
        EngineError::TokenDown {
            since: self.since.clone(),
            last: self.last.clone(),
        }
    }
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
                pending: None,
            }),
            status: Mutex::default(),
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
        if let Some(pending) = state.pending.clone() {
            if Instant::now() < pending.next_attempt {
                return Err(pending.outage.error());
            }
            let recovered = self.recover(&state);
            let class = recovered
                .as_ref()
                .map_or_else(EngineError::class, |_| "good");
            self.metrics.searched(class);
            match recovered {
                Ok(token) => {
                    self.metrics.token_up(true);
                    tracing::warn!(key = %self.key.uri(), since = pending.outage.since, "the token was found again");
                    state.generation = token.module().generation();
                    state.current.token = Arc::new(token);
                    state.current.epoch += 1;
                    state.pending = None;
                    self.lock_status().outage = None;
                }
                Err(error) => {
                    let error = Arc::new(error);
                    tracing::warn!(key = %self.key.uri(), since = pending.outage.since, %error, "the token is not back");
                    let outage = Outage {
                        last: Some(error),
                        ..pending.outage
                    };
                    let error = outage.error();
                    self.lock_status().outage = Some(outage.clone());
                    state.pending = Some(PendingRecovery {
                        outage,
                        next_attempt: Instant::now() + BACKOFF.delay(pending.failures),
                        failures: pending.failures.saturating_add(1),
                    });
                    return Err(error);
                }
            }
        }
        Ok(state.current.clone())
    }

    /// Records that the token of this epoch is lost.
    pub(super) fn lost(&self, epoch: u64, why: &EngineError) {
        let mut state = self.lock();
        if state.current.epoch != epoch || state.pending.is_some() {
            return;
        }
        tracing::warn!(key = %self.key.uri(), %why, "the token is lost");
        self.metrics.token_up(false);
        // The first recovery is due at once. The backoff also applies to a token whose recovery succeeds each time, and
        // that is lost again before it signs.
        let failures = state.losses.saturating_add(1);
        let delay = if state.losses > MAX_RELOGIN_LOSSES {
            BACKOFF.delay(failures)
        } else {
            Duration::ZERO
        };
        state.losses = state.losses.saturating_add(1);
        let outage = Outage {
            since: rfc3339::now(),
            last: None,
        };
        self.lock_status().outage = Some(outage.clone());
        state.pending = Some(PendingRecovery {
            outage,
            next_attempt: Instant::now() + delay,
            failures,
        });
    }

    /// Records a good signature. Does not wait for a recovery in progress.
    pub(super) fn signed(&self, epoch: u64) {
        self.lock_status().last_signature = Some(Instant::now());
        if let Ok(mut state) = self.state.try_lock()
            && state.current.epoch == epoch
        {
            state.losses = 0;
        }
    }

    /// Opens a session and finds the key in it.
    pub(super) fn open(
        &self,
        current: &CurrentToken,
    ) -> Result<(Session, ObjectHandle), EngineError> {
        let opened = self.session_with_key(&current.token);
        let class = opened.as_ref().map_or_else(EngineError::class, |_| "good");
        self.metrics.session_opened(class);
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

    fn recover(&self, state: &RecoveryState) -> Result<Token, EngineError> {
        let before = &state.current.token;
        let module = before.module();
        let generation = module.generation();
        // Another user of the module in this process has reinitialised it meanwhile: that may be enough.
        let is_new_generation = generation != state.generation;
        let relogin = match state.losses {
            losses if losses <= MAX_RELOGIN_LOSSES || is_new_generation => {
                self.select_and_login(before)
            }
            // A new login has recovered it before, and it was lost again at once.
            _ => Err(TokenError::Empty.into()),
        };
        let Err(error) = relogin else {
            return relogin;
        };
        match error.pin() {
            // C_Login failed: the PIN is not sent a second time in one recovery.
            Some(PinError::Call(_)) => {
                module.reinitialize(generation, before.recorder())?;
                Err(error)
            }
            Some(_) => Err(error),
            // The module works, and others use it.
            None if remedy(&error) == Remedy::FewerSessions => Err(error),
            None => {
                module.reinitialize(generation, before.recorder())?;
                self.select_and_login(before)
            }
        }
    }

    /// Selects the token, logs in and finds the key: the prerequisites of C_SignInit.
    fn select_and_login(&self, before: &Token) -> Result<Token, EngineError> {
        let token = before.reopen()?;
        self.session_with_key(&token)?;
        Ok(token)
    }

    fn lock(&self) -> MutexGuard<'_, RecoveryState> {
        self.state.lock().ignore_poison()
    }

    fn lock_status(&self) -> MutexGuard<'_, TokenStatus> {
        self.status.lock().ignore_poison()
    }
}
