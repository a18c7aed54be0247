//! A session with the token, and the one way to sign in it.

use std::sync::Arc;

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::UserType;

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
        self.sign_init(mechanism, key).map_err(SignFault::Call)?;
        if let Some(guard) = guard {
            guard
                .log_in(&self.inner, UserType::ContextSpecific)
                .map_err(SignFault::Pin)?;
        }
        self.module
            .raw
            .sign(self.inner.handle(), data, capacity)
            .map_err(SignFault::Call)
    }

    fn sign_init(&self, mechanism: &Mechanism<'_>, key: ObjectHandle) -> Result<(), Fault> {
        match self.inner.sign_init(mechanism, key) {
            Err(Error::Pkcs11(RvError::OperationActive, function)) => {
                // A signature that ended early left its operation open. There is no portable way
                // to cancel it (C_SessionCancel is of version 3), so the session is given up.
                Err(Fault::new(RvError::OperationActive, function))
            }
            other => other.map_err(Fault::of),
        }
    }
}
