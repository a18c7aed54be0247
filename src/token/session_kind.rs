//! Which kind of session is opened, and what keeps it alive: as configured, or as the token was seen to need it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fault::Fault;
use crate::config::profile::Profile;
use crate::config::{KeepAliveCall, SessionMode};

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
    keep_alive_call: KeepAliveCall,
    profile: Profile,
}

impl SessionKind {
    pub(super) fn new(mode: SessionMode, keep_alive_call: KeepAliveCall, profile: Profile) -> Self {
        Self {
            mode,
            needs_read_write: Arc::default(),
            keep_alive_call,
            profile,
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

    /// The family of the HSM, which has return values of its own.
    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// The call that keeps an idle session alive.
    pub(super) fn keep_alive_call(&self) -> KeepAliveCall {
        self.keep_alive_call
    }

    /// Whether a read-write session may be used where a read-only one was refused.
    pub(super) fn may_learn(&self) -> bool {
        self.mode == SessionMode::Auto
    }

    /// Whether every session is read-write.
    pub(super) fn is_read_write(&self) -> bool {
        self.access(Access::ReadOnly) == Access::ReadWrite
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
