//! Which kind of session is opened: as configured, or as the token was seen to need it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fault::Fault;
use crate::config::SessionMode;

/// The kind of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Sign and read objects (CKS_RO_*).
    ReadOnly,
    /// Create and change token objects as well (CKS_RW_*).
    ReadWrite,
}

/// `session` of `[[token]]`, and what `auto` has learnt about this token. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct SessionKind {
    mode: SessionMode,
    needs_read_write: Arc<AtomicBool>,
}

impl SessionKind {
    pub(super) fn new(mode: SessionMode) -> Self {
        Self {
            mode,
            needs_read_write: Arc::default(),
        }
    }

    /// The access of a session that is to have at least `access`.
    pub(super) fn access(&self, access: Access) -> Access {
        match self.mode {
            SessionMode::ReadWrite => Access::ReadWrite,
            SessionMode::Auto if self.needs_read_write.load(Ordering::Relaxed) => Access::ReadWrite,
            SessionMode::Auto | SessionMode::ReadOnly => access,
        }
    }

    /// Whether a read-write session may be used where a read-only one was refused.
    pub(super) fn may_learn(&self) -> bool {
        self.mode == SessionMode::Auto
    }

    /// From now on sessions are read-write.
    pub(super) fn require_read_write(&self, refusal: &Fault) {
        if self.may_learn() && !self.needs_read_write.swap(true, Ordering::Relaxed) {
            tracing::info!(%refusal, "the token takes no read-only sessions: read-write ones are used");
        }
    }

    /// A read-write session was refused: the next one is read-only again.
    pub(super) fn forget(&self) {
        self.needs_read_write.store(false, Ordering::Relaxed);
    }
}
