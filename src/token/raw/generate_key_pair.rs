//! C_GenerateKeyPair with any mechanism: cryptoki has no name for CKM_RSA_X9_31_KEY_PAIR_GEN, the only one that some tokens
//! make RSA keys with.

use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::Rv;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki_sys::{CK_ATTRIBUTE, CK_MECHANISM, CK_MECHANISM_TYPE, CK_SESSION_HANDLE, CK_ULONG};

use super::{RawCalls, present};
use crate::token::fault::Fault;

impl RawCalls {
    /// C_GenerateKeyPair with a mechanism that takes no parameter. Returns the public and the private key.
    ///
    /// The session must be of the module that `self` was loaded from, and not in use by another thread.
    pub(in crate::token) fn generate_key_pair(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_TYPE,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(ObjectHandle, ObjectHandle), Fault> {
        let function = Function::GenerateKeyPair;
        let call = present(self.functions.C_GenerateKeyPair, function)?;
        let mut mechanism = CK_MECHANISM {
            mechanism,
            pParameter: ptr::null_mut(),
            ulParameterLen: 0,
        };
        let mut public: Vec<CK_ATTRIBUTE> = public.iter().map(CK_ATTRIBUTE::from).collect();
        let mut private: Vec<CK_ATTRIBUTE> = private.iter().map(CK_ATTRIBUTE::from).collect();
        let (mut public_key, mut private_key) = (0, 0);
        // SAFETY: the templates point into the attributes, which outlive the call, and their lengths are given; the module
        // only reads them (PKCS#11 3.1, section 5.18.2), and writes the two handles.
        let returned = unsafe {
            call(
                session,
                &raw mut mechanism,
                public.as_mut_ptr(),
                public.len() as CK_ULONG,
                private.as_mut_ptr(),
                private.len() as CK_ULONG,
                &raw mut public_key,
                &raw mut private_key,
            )
        };
        match Rv::from(returned) {
            // SAFETY: the handles are the module's own answer for this session.
            Rv::Ok => Ok(unsafe {
                (
                    ObjectHandle::new_from_raw(public_key),
                    ObjectHandle::new_from_raw(private_key),
                )
            }),
            Rv::Error(code) => Err(Fault::new(code, function)),
        }
    }
}
