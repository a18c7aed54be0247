//! The signer's lifecycle state (starting, ready, failed, stopping), and the answer to requests in each.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::health::SignerHealth;
use super::open_key::OpenKeys;
use super::replacement::Predecessors;
use crate::engine::{EngineError, EngineHealth, ReportedError, TokenOutage};
use crate::poison::IgnorePoison as _;

/// A wait without a deadline. Longer ones could overflow when they are added to an `Instant`.
const MAX_WAIT: Duration = Duration::from_secs(1 << 30);

/// The lifecycle state of a signer.
pub(super) enum SignerState {
    /// Token and key are being opened: requests wait.
    Starting,
    Ready(Arc<OpenKeys>),
    /// Token and key could not be opened; the next attempt follows.
    Failed(ReportedError),
    /// The token is lost: this process replaces one that could not recover it, or is about to be replaced.
    Recovering(TokenOutage),
    /// The process is about to end; during an outage requests are answered with that.
    Stopping(Option<TokenOutage>),
}

/// The lifecycle state, shared by the signer's threads, which can wait for a change of it.
pub(super) struct SharedState {
    state: Mutex<SignerState>,
    changed: Condvar,
    /// The signer processes that were replaced before this one.
    replaced: u32,
}

impl SharedState {
    /// The state of a process that starts, perhaps in an outage of the token.
    pub(super) fn new(predecessors: &Predecessors) -> Self {
        let inherited = predecessors.outage.as_ref();
        Self {
            state: Mutex::new(match inherited {
                Some(inherited) => SignerState::Recovering(inherited.outage.clone()),
                None => SignerState::Starting,
            }),
            changed: Condvar::new(),
            replaced: predecessors.replaced,
        }
    }

    /// The key. Waits until the deadline while the signer is starting.
    pub(super) fn wait_for_key(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Arc<OpenKeys>, ReportedError> {
        let timeout = deadline.map_or(MAX_WAIT, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        let is_starting = |state: &mut SignerState| matches!(state, SignerState::Starting);
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, is_starting)
            .ignore_poison();
        match &*state {
            SignerState::Ready(key) => Ok(Arc::clone(key)),
            SignerState::Failed(error) => Err(error.clone()),
            SignerState::Recovering(outage) | SignerState::Stopping(Some(outage)) => {
                Err(outage.error.clone())
            }
            SignerState::Stopping(None) => Err(EngineError::Stopped.into()),
            SignerState::Starting => Err(EngineError::Deadline(timeout).into()),
        }
    }

    /// The present health. Does not block.
    pub(super) fn health(&self) -> SignerHealth {
        let key = match &*self.lock() {
            SignerState::Starting => return SignerHealth::Starting,
            SignerState::Failed(error) => return SignerHealth::Failed(error.clone()),
            SignerState::Recovering(outage) | SignerState::Stopping(Some(outage)) => {
                return SignerHealth::Recovering {
                    outage: outage.clone(),
                    replaced: self.replaced,
                };
            }
            SignerState::Stopping(None) => return SignerHealth::Stopping,
            SignerState::Ready(key) => Arc::clone(key),
        };
        SignerHealth::Ready(EngineHealth {
            replaced: self.replaced,
            ..key.health()
        })
    }

    /// The key, if the signer is ready. Does not block.
    pub(super) fn key(&self) -> Option<Arc<OpenKeys>> {
        match &*self.lock() {
            SignerState::Ready(key) => Some(Arc::clone(key)),
            _ => None,
        }
    }

    /// Changes the state. A signer that is stopping stays in that state.
    pub(super) fn set(&self, state: SignerState) {
        let mut present = self.lock();
        // Dropped after the lock: the end of an engine closes its sessions, and a call may hang.
        let _before = match *present {
            SignerState::Stopping(_) => state,
            _ => std::mem::replace(&mut *present, state),
        };
        drop(present);
        self.changed.notify_all();
    }

    /// Stops the signer: waits for the signatures in progress, at most for `timeout`, and drops the key.
    pub(super) fn stop(&self, timeout: Duration) {
        let mut present = self.lock();
        let outage = match &mut *present {
            SignerState::Recovering(outage) => Some(outage.clone()),
            _ => None,
        };
        let before = std::mem::replace(&mut *present, SignerState::Stopping(outage));
        drop(present);
        if let SignerState::Ready(key) = before {
            let deadline = Instant::now() + timeout;
            while Arc::strong_count(&key) > 1 && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(2));
            }
        }
        self.changed.notify_all();
    }

    /// Waits for `delay`, or until the signer is stopping; returns whether it is.
    pub(super) fn is_stopping_within(&self, delay: Duration) -> bool {
        let continues = |state: &mut SignerState| !matches!(state, SignerState::Stopping(_));
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), delay.min(MAX_WAIT), continues)
            .ignore_poison();
        matches!(*state, SignerState::Stopping(_))
    }

    fn lock(&self) -> MutexGuard<'_, SignerState> {
        self.state.lock().ignore_poison()
    }
}
