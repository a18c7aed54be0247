//! The signer's lifecycle state (starting, ready, failed, stopping), and the answer to requests in each.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::health::SignerHealth;
use super::request_handler::OpenKey;
use crate::engine::{EngineError, ReportedError};
use crate::poison::IgnorePoison as _;

/// Longer than anybody waits, and short enough to be added to a clock.
const MAX_WAIT: Duration = Duration::from_secs(1 << 30);

/// Where a signer is in its lifecycle.
pub(super) enum SignerState {
    /// Token and key are being opened: requests wait.
    Starting,
    Ready(Arc<OpenKey>),
    /// Token and key could not be opened. It is tried again.
    Failed(ReportedError),
    /// The process is about to end.
    Stopping,
}

/// The state, shared by the signer's threads, and the threads that wait for its change.
pub(super) struct SharedState {
    state: Mutex<SignerState>,
    changed: Condvar,
}

impl Default for SharedState {
    fn default() -> Self {
        Self {
            state: Mutex::new(SignerState::Starting),
            changed: Condvar::new(),
        }
    }
}

impl SharedState {
    /// The key; waits while the signer is starting, until the deadline.
    pub(super) fn wait_for_key(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Arc<OpenKey>, ReportedError> {
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
            SignerState::Stopping => Err(EngineError::Stopped.into()),
            SignerState::Starting => Err(EngineError::Deadline(timeout).into()),
        }
    }

    /// The present health. Does not block.
    pub(super) fn health(&self) -> SignerHealth {
        let key = match &*self.lock() {
            SignerState::Starting => return SignerHealth::Starting,
            SignerState::Failed(error) => return SignerHealth::Failed(error.clone()),
            SignerState::Stopping => return SignerHealth::Stopping,
            SignerState::Ready(key) => Arc::clone(key),
        };
        SignerHealth::Ready(key.engine.health())
    }

    /// The key, where the signer is ready.
    pub(super) fn key(&self) -> Option<Arc<OpenKey>> {
        match &*self.lock() {
            SignerState::Ready(key) => Some(Arc::clone(key)),
            _ => None,
        }
    }

    /// Changes the state; a signer that is stopping stays so.
    pub(super) fn set(&self, state: SignerState) {
        let mut present = self.lock();
        if !matches!(*present, SignerState::Stopping) {
            *present = state;
        }
        drop(present);
        self.changed.notify_all();
    }

    /// Drops the key after the signatures in progress, at the latest after `timeout`.
    pub(super) fn stop(&self, timeout: Duration) {
        let before = std::mem::replace(&mut *self.lock(), SignerState::Stopping);
        if let SignerState::Ready(key) = before {
            let deadline = Instant::now() + timeout;
            while Arc::strong_count(&key) > 1 && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(2));
            }
        }
        self.changed.notify_all();
    }

    /// Waits for `delay`, or until the signer is stopping: says whether it is.
    pub(super) fn is_stopping_within(&self, delay: Duration) -> bool {
        let continues = |state: &mut SignerState| !matches!(state, SignerState::Stopping);
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), delay.min(MAX_WAIT), continues)
            .ignore_poison();
        matches!(*state, SignerState::Stopping)
    }

    fn lock(&self) -> MutexGuard<'_, SignerState> {
        self.state.lock().ignore_poison()
    }
}
