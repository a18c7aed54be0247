//! A session with the token, and the one way to sign in it.

use std::sync::Arc;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::{SessionState, UserType};
use cryptoki::slot::TokenInfo;

use super::fault::Fault;
use super::guard::{PinError, PinGuard};
use super::module::Module;

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Sign and look (CKS_RO_*).
    ReadOnly,
    /// Make and change token objects as well (CKS_RW_*).
    ReadWrite,
}

/// An open session; closed when dropped. May move between threads, and is used by one at a time.
#[derive(Debug)]
pub struct Session {
    inner: cryptoki::session::Session,
    module: Arc<Module>,
}

/// Why a signature was not made.
#[derive(Debug)]
pub(crate) enum SignFault {
    /// C_SignInit or C_Sign failed.
    Call(Fault),
    /// The login that this key wants before each signature failed.
    Pin(PinError),
}

impl Session {
    pub(super) fn new(inner: cryptoki::session::Session, module: Arc<Module>) -> Self {
        Self { inner, module }
    }

    /// The binding's session, for the rooms that may speak PKCS#11.
    pub(crate) fn pkcs11(&self) -> &cryptoki::session::Session {
        &self.inner
    }

    /// Whether somebody is logged in. A token that does not say so is not blamed on a missing login.
    pub(crate) fn logged_in(&self) -> bool {
        let state = self
            .inner
            .get_session_info()
            .map(|info| info.session_state());
        !matches!(state, Ok(SessionState::RoPublic | SessionState::RwPublic))
    }

    /// C_SignInit and C_Sign: two calls. `capacity` is the longest acceptable answer in bytes.
    /// With a `guard`, the key is CKA_ALWAYS_AUTHENTICATE and gets its login in between.
    pub(crate) fn sign(
        &self,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
        capacity: usize,
        guard: Option<&PinGuard>,
    ) -> Result<Vec<u8>, SignFault> {
        self.inner
            .sign_init(mechanism, key)
            .map_err(|error| SignFault::Call(Fault::of(error)))?;
        if let Some(guard) = guard {
            guard
                .log_in(&self.inner, UserType::ContextSpecific, || self.token_info())
                .map_err(SignFault::Pin)?;
        }
        self.module
            .raw
            .sign(self.inner.handle(), data, capacity)
            .map_err(SignFault::Call)
    }

    /// The token's flags as they are now.
    pub(super) fn token_info(&self) -> Result<TokenInfo, Fault> {
        let session = self.inner.get_session_info().map_err(Fault::of)?;
        let slot = session.slot_id();
        self.module.pkcs11.get_token_info(slot).map_err(Fault::of)
    }
}
