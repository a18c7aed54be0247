//! Whether the signer has its key, and what it says as long as it has none.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::SignFrame;
use super::health::SignerHealth;
use super::policy::{Policy, Refusal};
use super::service::refused_told;
use crate::engine::{EngineError, ReportedError, TokenEngine};
use crate::error::ExitCode;
use crate::ledger::{Entry, Process, Recorder, Refused};
use crate::poison::IgnorePoison as _;

/// Longer than anybody waits, and short enough for the clock to add.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// Where the signer is on its way.
pub(super) enum Phase {
    /// Nobody knows yet: whoever asks waits.
    Starting,
    Ready(Arc<Ready>),
    Failed(ReportedError),
    Over,
}

/// The phase, and those who wait for another.
pub(super) struct Phases {
    now: Mutex<Phase>,
    changed: Condvar,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            now: Mutex::new(Phase::Starting),
            changed: Condvar::new(),
        }
    }
}

impl Phases {
    /// The key, waited for while nobody knows whether there will be one.
    pub(super) fn ready(&self, until: Option<Instant>) -> Result<Arc<Ready>, ReportedError> {
        let patience = until.map_or(FOR_EVER, |until| {
            until.saturating_duration_since(Instant::now())
        });
        let starting = |phase: &mut Phase| matches!(phase, Phase::Starting);
        let (phase, _) = self
            .changed
            .wait_timeout_while(lock(&self.now), patience, starting)
            .ignore_poison();
        match &*phase {
            Phase::Ready(ready) => Ok(Arc::clone(ready)),
            Phase::Failed(told) => Err(told.clone()),
            Phase::Over => Err(ReportedError::of(EngineError::Stopped.into())),
            Phase::Starting => Err(ReportedError::of(EngineError::Deadline(patience).into())),
        }
    }

    /// How it is, now: nobody is waited for.
    pub(super) fn health(&self) -> SignerHealth {
        let ready = match &*lock(&self.now) {
            Phase::Starting => return SignerHealth::Starting,
            Phase::Failed(told) => return SignerHealth::Failed(told.clone()),
            Phase::Over => return SignerHealth::Stopping,
            Phase::Ready(ready) => Arc::clone(ready),
        };
        let health = ready.engine.health();
        SignerHealth::Ready(health.map_error(|error| ReportedError::of(error.into())))
    }

    /// The key, where there is one now.
    pub(super) fn is_ready(&self) -> Option<Arc<Ready>> {
        match &*lock(&self.now) {
            Phase::Ready(ready) => Some(Arc::clone(ready)),
            _ => None,
        }
    }

    pub(super) fn becomes(&self, phase: Phase) {
        let mut now = lock(&self.now);
        if !matches!(*now, Phase::Over) {
            *now = phase;
        }
        drop(now);
        self.changed.notify_all();
    }

    /// Lets go of the key, after the last signature that is being made, or when that takes too long.
    pub(super) fn end(&self, patience: Duration) {
        let before = std::mem::replace(&mut *lock(&self.now), Phase::Over);
        if let Phase::Ready(ready) = before {
            let deadline = Instant::now() + patience;
            while Arc::strong_count(&ready) > 1 && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(2));
            }
        }
        self.changed.notify_all();
    }

    /// Pauses for so long, or until it is over: says which.
    pub(super) fn is_over_within(&self, pause: Duration) -> bool {
        let goes_on = |phase: &mut Phase| !matches!(phase, Phase::Over);
        let (phase, _) = self
            .changed
            .wait_timeout_while(lock(&self.now), pause.min(FOR_EVER), goes_on)
            .ignore_poison();
        matches!(*phase, Phase::Over)
    }
}

/// A key at work.
pub(super) struct Ready {
    pub(super) engine: TokenEngine,
    pub(super) recorder: Recorder,
    pub(super) policy: Mutex<Policy>,
    pub(super) description: Vec<u8>,
}

impl Ready {
    /// Whether this is signed, now. What is not is recorded.
    pub(super) fn permits(&self, asked: &SignFrame<'_>) -> Result<(), ReportedError> {
        let permitted = lock(&self.policy).permits(asked, Instant::now());
        permitted.map_err(|refusal| self.refused(asked, refusal))
    }

    /// Records that something came that is not even a request.
    pub(super) fn bad_frame(&self, why: &str) {
        self.record(None, why);
    }

    fn refused(&self, asked: &SignFrame<'_>, refusal: Refusal) -> ReportedError {
        let why = refusal.to_string();
        self.record(Some(asked), &why);
        match refusal {
            Refusal::Rate(_) => ReportedError {
                message: format!("the signer process does not sign: {why}"),
                hint: "raise `per_second` of [signer], if these were requests of yours".to_owned(),
                class: "rate".to_owned(),
                exit: ExitCode::Token as u8,
                transient: false,
            },
            _ => refused_told(&why),
        }
    }

    fn record(&self, asked: Option<&SignFrame<'_>>, why: &str) {
        let Some(left_out) = lock(&self.policy).records(Instant::now()) else {
            return;
        };
        let purpose = asked.map(|asked| asked.purpose.name());
        let peer = asked.and_then(|asked| asked.peer);
        tracing::error!(purpose, why, peer, left_out, "refused to sign");
        let entry = Entry::Refused(Refused {
            purpose,
            why,
            peer,
            interaction_id: asked.and_then(|asked| asked.interaction_id),
            left_out,
            process: Process::this(),
        });
        if let Err(error) = self.recorder.note(&entry) {
            tracing::error!(%error, "a refusal is not on record");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Changed in single steps: whole also after a panic elsewhere.
    mutex.lock().ignore_poison()
}
