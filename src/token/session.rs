//! A PKCS#11 session, and the only place that calls C_SignInit and C_Sign.

use std::sync::Arc;

use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;

use super::fault::{Fault, FaultClass};
use super::guard::{PinError, PinGuard};
use super::module::Module;
use super::operation::{self, TokenOperation};
use super::session_call::SessionCall;
pub use super::session_kind::Access;
use super::session_kind::SessionKind;
use crate::config::KeepAliveCall;

/// An open session, closed when dropped. It may move between threads, and one thread at a time uses it.
///
/// It belongs to one generation of its module. After a reinitialisation its handle may be another session's, so it is
/// neither used nor closed any more.
#[derive(Debug)]
pub struct Session {
    inner: Option<cryptoki::session::Session>,
    generation: u64,
    module: Arc<Module>,
    access: Access,
    kind: SessionKind,
}

/// Why no signature was made.
#[derive(Debug)]
pub(crate) enum SignFault {
    /// C_SignInit or C_Sign failed.
    Call(Fault),
    /// The context-specific login that CKA_ALWAYS_AUTHENTICATE requires failed.
    Pin(PinError),
}

impl Session {
    /// C_OpenSession. Where a read-only session is refused, twice, and a read-write one is not, all further ones are
    /// read-write, unless the configuration says otherwise.
    pub(super) fn open(
        module: &Arc<Module>,
        slot: Slot,
        wanted: Access,
        kind: &SessionKind,
    ) -> Result<Self, Fault> {
        let access = kind.access(wanted);
        let open = |access| Self::open_as(module, slot, access, kind);
        match open(access) {
            Err(refusal)
                if access == Access::ReadOnly
                    && kind.may_learn()
                    && refusal.may_be_of_a_read_only_session() =>
            {
                let Ok(read_write) = open(Access::ReadWrite) else {
                    return Err(refusal);
                };
                // The first refusal may have been a failure of the moment.
                if let Ok(read_only) = open(Access::ReadOnly) {
                    return Ok(read_only);
                }
                kind.require_read_write(&refusal);
                Ok(read_write)
            }
            Err(refusal) if access != wanted && kind.may_learn() => {
                kind.forget();
                open(wanted).map_err(|_| refusal)
            }
            opened => opened,
        }
    }

    fn open_as(
        module: &Arc<Module>,
        slot: Slot,
        access: Access,
        kind: &SessionKind,
    ) -> Result<Self, Fault> {
        let call = module.call()?;
        let _step = operation::begin(TokenOperation::Session);
        let inner = match access {
            Access::ReadOnly => call.open_ro_session_no_drop(slot),
            Access::ReadWrite => call.open_rw_session_no_drop(slot),
        };
        Ok(Self {
            inner: Some(inner.map_err(|error| Fault::of(error).of_profile(kind.profile()))?),
            generation: call.generation(),
            module: Arc::clone(module),
            access,
            kind: kind.clone(),
        })
    }

    /// The fault of a signature. Where this session was read-only and had to be more, the signature is retried in another.
    fn sign_fault(&self, fault: Fault) -> SignFault {
        let fault = fault.of_profile(self.kind.profile());
        if fault.is_session_read_only() && self.access == Access::ReadOnly && self.kind.may_learn()
        {
            self.kind.require_read_write(&fault);
            return SignFault::Call(fault.of_read_only_session());
        }
        SignFault::Call(fault)
    }

    /// Begins a call: cryptoki's session, for the modules of this crate that make PKCS#11 calls.
    ///
    /// # Errors
    /// The session is stale, or the module is being reinitialised for too long.
    pub(crate) fn pkcs11(&self) -> Result<SessionCall<'_>, Fault> {
        let call = self.module.call()?;
        match &self.inner {
            Some(session) if call.generation() == self.generation => {
                Ok(SessionCall::new(session, call))
            }
            _ => Err(Fault::STALE),
        }
    }

    /// The fault of a call in this session, as the token's family means it.
    pub(crate) fn fault(&self, error: cryptoki::error::Error) -> Fault {
        Fault::of(error).of_profile(self.kind.profile())
    }

    /// Whether a user is logged in; `true` also if the session's state cannot be read.
    pub fn logged_in(&self) -> bool {
        let info = self.pkcs11().and_then(|session| session.info());
        !info.is_ok_and(|info| info.is_public())
    }

    /// Makes the configured keep-alive call: it keeps an idle connection to the HSM open, and shows whether the token still has
    /// this session.
    pub(crate) fn keep_alive(&self) -> Result<(), Fault> {
        let session = self.pkcs11()?;
        let made = match self.kind.keep_alive_call() {
            KeepAliveCall::None => Ok(()),
            KeepAliveCall::SessionInfo => return session.info().map(|_| ()),
            KeepAliveCall::Random => session.generate_random_slice(&mut [0; 16]),
            KeepAliveCall::Find => {
                let label = Attribute::Label(b"hsm-mtls keep-alive".to_vec());
                session.find_objects(&[label]).map(|_| ())
            }
        };
        match made.map_err(|error| self.fault(error)) {
            // The token does not have this call: that says nothing of the session.
            Err(fault) if matches!(fault.class(), FaultClass::Refused | FaultClass::Mechanism) => {
                session.info().map(|_| ())
            }
            other => other,
        }
    }

    /// Signs with C_SignInit and C_Sign: two calls. `capacity` is the longest acceptable signature in bytes. `guard` is
    /// given for a key with CKA_ALWAYS_AUTHENTICATE: it makes the context-specific login between the two.
    pub(crate) fn sign(
        &self,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
        capacity: usize,
        guard: Option<&PinGuard>,
    ) -> Result<Vec<u8>, SignFault> {
        // One module call spans both: a reinitialisation in between would make the handle another session's.
        let _step = operation::begin(TokenOperation::Signature);
        let session = self.pkcs11().map_err(SignFault::Call)?;
        let Some(raw) = &self.module.raw else {
            return self.sign_with_cryptoki(&session, mechanism, key, data, guard);
        };
        session
            .sign_init(mechanism, key)
            .map_err(|error| self.sign_fault(Fault::of(error)))?;
        if let Some(guard) = guard {
            guard
                .log_in(&session, UserType::ContextSpecific)
                .map_err(SignFault::Pin)?;
        }
        let signed = raw.sign(session.handle(), data, capacity);
        if signed.is_ok() {
            self.module.signed();
        }
        signed.map_err(|fault| self.sign_fault(fault))
    }

    /// C_SignInit, C_Sign for the length, and C_Sign, as cryptoki makes them: one call more, and no context-specific login
    /// in between.
    fn sign_with_cryptoki(
        &self,
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
            reason = "such a module's C_Sign can be called through cryptoki only"
        )]
        let signed = session.sign(mechanism, key, data);
        if signed.is_ok() {
            self.module.signed();
        }
        signed.map_err(|error| self.sign_fault(Fault::of(error)))
    }

    /// C_GenerateKeyPair with a mechanism that takes no parameter, by its CK_MECHANISM_TYPE. Returns the public and the
    /// private key.
    pub(crate) fn generate_key_pair(
        &self,
        mechanism: u64,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(ObjectHandle, ObjectHandle), Fault> {
        let session = self.pkcs11()?;
        let made = match (generation_mechanism(mechanism), &self.module.raw) {
            (Some(mechanism), _) => session
                .generate_key_pair(&mechanism, public, private)
                .map_err(Fault::of),
            (None, Some(raw)) => {
                raw.generate_key_pair(session.handle(), mechanism, public, private)
            }
            // As if the token had not listed it.
            (None, None) => Err(Fault::new(
                RvError::MechanismInvalid,
                Function::GenerateKeyPair,
            )),
        };
        made.map_err(|fault| fault.of_profile(self.kind.profile()))
    }

    /// The length of `key` wrapped by `wrapping_key`: C_WrapKey with a null output pointer. `None` where the module's
    /// function list cannot be called directly (see [`super::raw`]).
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
        let length = raw.wrapped_length(
            session.handle(),
            mechanism,
            wrapping_key.handle(),
            key.handle(),
        );
        Some(length.map_err(|fault| fault.of_profile(self.kind.profile())))
    }
}

/// The mechanism as cryptoki names it; `None` for one of the standard's that it has no name for.
fn generation_mechanism(kind: u64) -> Option<Mechanism<'static>> {
    [
        Mechanism::RsaPkcsKeyPairGen,
        Mechanism::EccKeyPairGen,
        Mechanism::EccEdwardsKeyPairGen,
    ]
    .into_iter()
    .find(|known| *known.mechanism_type() == kind)
    .or_else(|| {
        let vendors = MechanismType::new_vendor_defined(kind).ok()?;
        let mechanism = VendorDefinedMechanism::new::<()>(vendors, None);
        Some(Mechanism::VendorDefined(mechanism))
    })
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(call) = self.module.try_call() else {
            return;
        };
        if call.generation() == self.generation
            && let Some(inner) = self.inner.take()
        {
            // It fails if the token has closed the session already.
            let _ = inner.close();
        }
    }
}
