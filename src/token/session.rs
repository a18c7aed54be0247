//! A session with the token, and the one way to sign in it.

use std::ops::Deref;
use std::sync::Arc;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::{SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};

use super::fault::Fault;
use super::guard::{PinError, PinGuard};
use super::module::{Call, Module};

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Sign and look (CKS_RO_*).
    ReadOnly,
    /// Make and change token objects as well (CKS_RW_*).
    ReadWrite,
}

/// An open session; closed when dropped. May move between threads, and is used by one at a time.
///
/// It is of one generation of its module: after C_Initialize was called again its handle may be
/// somebody's fresh one, so it is neither used nor closed any more.
#[derive(Debug)]
pub struct Session {
    inner: Option<cryptoki::session::Session>,
    generation: u64,
    module: Arc<Module>,
}

/// A session in use: the module is not initialised again meanwhile.
#[derive(Debug)]
pub(crate) struct SessionCall<'a> {
    session: &'a cryptoki::session::Session,
    call: Call<'a>,
}

impl Deref for SessionCall<'_> {
    type Target = cryptoki::session::Session;

    fn deref(&self) -> &cryptoki::session::Session {
        self.session
    }
}

impl SessionCall<'_> {
    /// The token's flags as they are now.
    pub(super) fn token_info(&self) -> Result<TokenInfo, Fault> {
        let session = self.session.get_session_info().map_err(Fault::of)?;
        self.call
            .get_token_info(session.slot_id())
            .map_err(Fault::of)
    }
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
    pub(super) fn open(module: &Arc<Module>, slot: Slot, access: Access) -> Result<Self, Fault> {
        let call = module.call()?;
        let inner = match access {
            Access::ReadOnly => call.open_ro_session_no_drop(slot),
            Access::ReadWrite => call.open_rw_session_no_drop(slot),
        };
        Ok(Self {
            inner: Some(inner.map_err(Fault::of)?),
            generation: call.generation(),
            module: Arc::clone(module),
        })
    }

    /// The binding's session, for the rooms that may speak PKCS#11.
    pub(crate) fn pkcs11(&self) -> Result<SessionCall<'_>, Fault> {
        let call = self.module.call()?;
        match &self.inner {
            Some(session) if call.generation() == self.generation => {
                Ok(SessionCall { session, call })
            }
            _ => Err(Fault::STALE),
        }
    }

    /// Whether somebody is logged in. A token that does not say so is not blamed on a missing login.
    pub fn logged_in(&self) -> bool {
        let state = self.pkcs11().ok().and_then(|session| {
            let info = session.get_session_info().ok()?;
            Some(info.session_state())
        });
        !matches!(state, Some(SessionState::RoPublic | SessionState::RwPublic))
    }

    /// Whether the token still knows this session: a cheap call, which also keeps the way to the
    /// HSM from being closed as idle.
    pub(crate) fn is_alive(&self) -> Result<(), Fault> {
        let session = self.pkcs11()?;
        session.get_session_info().map(|_| ()).map_err(Fault::of)
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
        // One stay inside for both: in between, the handle must not become another's.
        let session = self.pkcs11().map_err(SignFault::Call)?;
        let Some(raw) = &self.module.raw else {
            return through_the_binding(&session, mechanism, key, data, guard);
        };
        session
            .sign_init(mechanism, key)
            .map_err(|error| SignFault::Call(Fault::of(error)))?;
        if let Some(guard) = guard {
            guard
                .log_in(&session, UserType::ContextSpecific)
                .map_err(SignFault::Pin)?;
        }
        raw.sign(session.handle(), data, capacity)
            .map_err(SignFault::Call)
    }

    /// How long `key` would be, wrapped by `wrapping_key`: C_WrapKey with no place for its output.
    /// `None` where the module's own functions are out of reach.
    pub(crate) fn wrapped_length(
        &self,
        mechanism: &Mechanism<'_>,
        wrapping_key: ObjectHandle,
        key: ObjectHandle,
    ) -> Option<Result<u64, Fault>> {
        let session = match self.pkcs11() {
            Ok(session) => session,
            Err(fault) => return Some(Err(fault)),
        };
        let raw = self.module.raw.as_ref()?;
        Some(raw.wrapped_length(
            session.handle(),
            mechanism,
            wrapping_key.handle(),
            key.handle(),
        ))
    }
}

/// C_SignInit and C_Sign twice, as the binding does it: a call more than it takes, and with no
/// place for a login in between.
fn through_the_binding(
    session: &SessionCall<'_>,
    mechanism: &Mechanism<'_>,
    key: ObjectHandle,
    data: &[u8],
    guard: Option<&PinGuard>,
) -> Result<Vec<u8>, SignFault> {
    if guard.is_some() {
        return Err(SignFault::Call(Fault::answer(
            "a key that wants a login for each signature cannot be used through a module that keeps a state per function list",
        )));
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "such a module's C_Sign is the binding's alone"
    )]
    let signed = session.sign(mechanism, key, data);
    signed.map_err(|error| SignFault::Call(Fault::of(error)))
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(call) = self.module.call_now() else {
            return;
        };
        if call.generation() == self.generation
            && let Some(inner) = self.inner.take()
        {
            // A session that the token has closed already is as good.
            let _ = inner.close();
        }
    }
}
