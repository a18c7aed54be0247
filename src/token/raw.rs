//! Direct calls of C_Sign, C_WrapKey, C_Initialize, C_LoginUser, C_GenerateKeyPair and the functions that fill in CK_INFO
//! and its like, through the module's function list, without cryptoki: only this file and those of its folder have `unsafe`.
//!
//! cryptoki calls C_Sign twice, first for the length of the signature. With an HSM 3 ms away that is a third of the time of
//! a signature, and the length of an RSA, ECDSA or EdDSA signature is known. cryptoki also combines C_SignInit and C_Sign
//! in one function, and CKA_ALWAYS_AUTHENTICATE needs a context-specific login between the two. cryptoki's C_WrapKey
//! returns the wrapped key, which an audit must never fetch: the function of this file returns only its length.
//! cryptoki refuses an information structure for a field that nobody needs: [`super::info`] accepts it as it is. And it
//! has no C_LoginUser.
#![expect(
    unsafe_code,
    reason = "a call through the module's function list; each block says why it holds"
)]

mod generate_key_pair;
mod information;
mod initialize;
mod login_user;

use std::fmt;
use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Rv, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki_sys::{
    CK_C_LoginUser, CK_FUNCTION_LIST, CK_INTERFACE, CK_MECHANISM, CK_OBJECT_HANDLE,
    CK_SESSION_HANDLE, CK_ULONG, CKR_OK,
};

use super::fault::Fault;

/// The functions of a module that are called directly.
pub(crate) struct RawCalls {
    functions: CK_FUNCTION_LIST,
    login_user: CK_C_LoginUser,
    // Keeps the module mapped for as long as the function pointers may be called.
    _library: cryptoki_sys::Pkcs11,
}

impl fmt::Debug for RawCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawCalls")
    }
}

impl RawCalls {
    /// Finds the function list of a module that cryptoki has loaded already. `None` if each function list has a state of
    /// its own (p11-kit-client.so): the list that cryptoki initialised cannot be obtained then.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Fault> {
        // SAFETY: the path was just loaded by cryptoki, so no new initialiser runs: the linker
        // hands out the same library again and counts one more user.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }
            .map_err(|error| Fault::answer(error.to_string()))?;
        let (list, again) = (function_list(&library)?, function_list(&library)?);
        if !ptr::eq(list, again) {
            return Ok(None);
        }
        // SAFETY: the list was given by the module, and lives as long as it is mapped.
        let functions = unsafe { *list };
        Ok(Some(Self {
            functions,
            login_user: login_user::find(&library),
            _library: library,
        }))
    }

    /// Calls C_Sign once. `capacity` is the longest acceptable signature in bytes.
    ///
    /// The session must be of the module that `self` was loaded from, after a C_SignInit,
    /// and not in use by another thread: [`super::session::Session`] ensures that.
    pub(crate) fn sign(
        &self,
        session: CK_SESSION_HANDLE,
        data: &[u8],
        capacity: usize,
    ) -> Result<Vec<u8>, Fault> {
        let c_sign = present(self.functions.C_Sign, Function::Sign)?;
        let mut signature = vec![0_u8; capacity];
        let mut length = capacity as CK_ULONG;
        // SAFETY: both buffers outlive the call, and their lengths are given. PKCS#11 declares
        // pData without `const`, but only reads it (PKCS#11 3.1, section 5.13.2).
        let rv = unsafe {
            c_sign(
                session,
                data.as_ptr().cast_mut(),
                data.len() as CK_ULONG,
                signature.as_mut_ptr(),
                &raw mut length,
            )
        };
        if let Rv::Error(code) = Rv::from(rv) {
            return Err(Fault::new(code, Function::Sign));
        }
        // A module that reports more bytes than the buffer has would have written past its end: its output is
        // not trusted.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > capacity {
            return Err(Fault::new(RvError::BufferTooSmall, Function::Sign));
        }
        signature.truncate(length);
        Ok(signature)
    }
}

impl RawCalls {
    /// C_WrapKey with a null output pointer: the length that the wrapped key would have, or the token's refusal to
    /// wrap it (PKCS#11 3.1, section 5.2). The wrapped key itself is not fetched.
    ///
    /// The session must be of the module that `self` was loaded from, and not in use by another thread.
    pub(crate) fn wrapped_length(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism<'_>,
        wrapping_key: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<u64, Fault> {
        let c_wrap_key = present(self.functions.C_WrapKey, Function::WrapKey)?;
        let mut mechanism = CK_MECHANISM::from(mechanism);
        let mut length: CK_ULONG = 0;
        // SAFETY: the mechanism's parameter is borrowed for the call; a null output with a length of
        // its own requests only the length.
        let rv = unsafe {
            c_wrap_key(
                session,
                &raw mut mechanism,
                wrapping_key,
                key,
                ptr::null_mut(),
                &raw mut length,
            )
        };
        match Rv::from(rv) {
            Rv::Ok => Ok(length),
            Rv::Error(code) => Err(Fault::new(code, Function::WrapKey)),
        }
    }
}

fn present<F>(entry: Option<F>, function: Function) -> Result<F, Fault> {
    entry.ok_or_else(|| Fault::new(RvError::FunctionNotSupported, function))
}

/// The function list that cryptoki uses too: that of the default interface if it is of version 3, or else that of
/// C_GetFunctionList. Wrapping modules (pkcs11-spy, p11-kit) return different lists for the two.
fn function_list(library: &cryptoki_sys::Pkcs11) -> Result<*const CK_FUNCTION_LIST, Fault> {
    if library.C_GetInterface.is_ok() {
        let mut interface: *mut CK_INTERFACE = ptr::null_mut();
        // SAFETY: a null name and version ask for the default interface (PKCS#11 3.1, section
        // 5.4.6); the module fills in a pointer to a structure that lives as long as it does.
        let rv = unsafe {
            library.C_GetInterface(ptr::null_mut(), ptr::null_mut(), &raw mut interface, 0)
        };
        // SAFETY: checked for null; every interface's list begins with the version-2 fields.
        let list = unsafe {
            interface
                .as_ref()
                .and_then(|interface| interface.pFunctionList.cast::<CK_FUNCTION_LIST>().as_ref())
        };
        if let (CKR_OK, Some(list)) = (rv, list)
            && list.version.major >= 3
        {
            return Ok(list);
        }
    }
    let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
    // SAFETY: the module fills in a pointer to its own static list.
    let rv = unsafe { library.C_GetFunctionList(&raw mut list) };
    if let Rv::Error(code) = Rv::from(rv) {
        return Err(Fault::new(code, Function::GetFunctionList));
    }
    if list.is_null() {
        return Err(Fault::answer("C_GetFunctionList gave no list"));
    }
    Ok(list)
}
