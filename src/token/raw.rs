//! Direct calls of C_Sign, C_WrapKey, C_Initialize, C_GenerateKeyPair and the functions that fill in CK_INFO and its like,
//! through the module's function list, without cryptoki: the only place with `unsafe`.
//!
//! cryptoki calls C_Sign twice, first for the length of the signature. With an HSM 3 ms away that is a third of the time of
//! a signature, and the length of an RSA, ECDSA or EdDSA signature is known. cryptoki also combines C_SignInit and C_Sign
//! in one function, and CKA_ALWAYS_AUTHENTICATE needs a context-specific login between the two. cryptoki's C_WrapKey
//! returns the wrapped key, which an audit must never fetch: the function of this file returns only its length. And
//! cryptoki refuses an information structure for a field that nobody needs: [`super::info`] accepts it as it is.
#![expect(
    unsafe_code,
    reason = "a call through the module's function list; each block says why it holds"
)]

mod generate_key_pair;

use std::ffi::{CStr, c_void};
use std::fmt;
use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Rv, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki_sys::{
    CK_C_INITIALIZE_ARGS, CK_FUNCTION_LIST, CK_INFO, CK_INTERFACE, CK_MECHANISM, CK_MECHANISM_INFO,
    CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID,
    CK_SLOT_INFO, CK_TOKEN_INFO, CK_TRUE, CK_ULONG, CK_VERSION, CKF_OS_LOCKING_OK,
    CKR_BUFFER_TOO_SMALL, CKR_OK,
};

use super::fault::Fault;

/// No module has more slots or mechanisms: a higher count is not believed, and no memory is reserved for it.
const MAX_ENTRIES: usize = 1 << 16;
/// How often a list is asked for again that has grown since its length was asked for.
const MAX_LIST_CALLS: usize = 4;

/// The functions of a module that are called directly.
pub(crate) struct RawCalls {
    functions: CK_FUNCTION_LIST,
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
            _library: library,
        }))
    }

    /// C_Initialize with CKF_OS_LOCKING_OK and a string in pReserved.
    pub(super) fn initialize(&self, parameters: &CStr) -> Result<(), Fault> {
        /// NSS has a member of its own in the place of pReserved, and its pReserved behind it.
        #[repr(C)]
        struct Arguments {
            standard: CK_C_INITIALIZE_ARGS,
            behind: *mut c_void,
        }
        let call = present(self.functions.C_Initialize, Function::Initialize)?;
        let mut arguments = Arguments {
            standard: CK_C_INITIALIZE_ARGS {
                CreateMutex: None,
                DestroyMutex: None,
                LockMutex: None,
                UnlockMutex: None,
                flags: CKF_OS_LOCKING_OK,
                pReserved: parameters.as_ptr().cast_mut().cast(),
            },
            behind: ptr::null_mut(),
        };
        // SAFETY: the arguments and the string outlive the call; modules that take a string only read it.
        let returned = unsafe { call((&raw mut arguments).cast()) };
        match Rv::from(returned) {
            Rv::Ok => Ok(()),
            Rv::Error(code) => Err(Fault::new(code, Function::Initialize)),
        }
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

/// The information functions (PKCS#11 3.1, sections 5.4 to 5.6). Each fills in a structure or a list of the caller's.
impl RawCalls {
    pub(super) fn module_info(&self) -> Result<CK_INFO, Fault> {
        let call = present(self.functions.C_GetInfo, Function::GetInfo)?;
        // SAFETY: the pointer is to a structure of this type, for the duration of the call.
        fill(Function::GetInfo, CK_INFO::default(), |info| unsafe {
            call(info)
        })
    }

    pub(super) fn slots_with_token(&self) -> Result<Vec<CK_SLOT_ID>, Fault> {
        let call = present(self.functions.C_GetSlotList, Function::GetSlotList)?;
        // SAFETY: the list is null, or has as many entries as the count says.
        list(Function::GetSlotList, |entries, count| unsafe {
            call(CK_TRUE, entries, count)
        })
    }

    pub(super) fn slot_info(&self, slot: CK_SLOT_ID) -> Result<CK_SLOT_INFO, Fault> {
        let call = present(self.functions.C_GetSlotInfo, Function::GetSlotInfo)?;
        let empty = CK_SLOT_INFO {
            slotDescription: [b' '; 64],
            manufacturerID: [b' '; 32],
            flags: 0,
            hardwareVersion: CK_VERSION::default(),
            firmwareVersion: CK_VERSION::default(),
        };
        // SAFETY: the pointer is to a structure of this type, for the duration of the call.
        fill(Function::GetSlotInfo, empty, |info| unsafe {
            call(slot, info)
        })
    }

    pub(super) fn token_info(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, Fault> {
        let call = present(self.functions.C_GetTokenInfo, Function::GetTokenInfo)?;
        // SAFETY: the pointer is to a structure of this type, for the duration of the call.
        fill(
            Function::GetTokenInfo,
            CK_TOKEN_INFO::default(),
            |info| unsafe { call(slot, info) },
        )
    }

    pub(super) fn mechanisms(&self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>, Fault> {
        let function = Function::GetMechanismList;
        let call = present(self.functions.C_GetMechanismList, function)?;
        // SAFETY: the list is null, or has as many entries as the count says.
        list(function, |entries, count| unsafe {
            call(slot, entries, count)
        })
    }

    pub(super) fn mechanism_info(
        &self,
        slot: CK_SLOT_ID,
        kind: CK_MECHANISM_TYPE,
    ) -> Result<CK_MECHANISM_INFO, Fault> {
        let function = Function::GetMechanismInfo;
        let call = present(self.functions.C_GetMechanismInfo, function)?;
        // SAFETY: the pointer is to a structure of this type, for the duration of the call.
        fill(function, CK_MECHANISM_INFO::default(), |info| unsafe {
            call(slot, kind, info)
        })
    }

    /// The session must be of the module that `self` was loaded from.
    pub(super) fn session_info(
        &self,
        session: CK_SESSION_HANDLE,
    ) -> Result<CK_SESSION_INFO, Fault> {
        let function = Function::GetSessionInfo;
        let call = present(self.functions.C_GetSessionInfo, function)?;
        // SAFETY: the pointer is to a structure of this type, for the duration of the call.
        fill(function, CK_SESSION_INFO::default(), |info| unsafe {
            call(session, info)
        })
    }
}

fn present<F>(entry: Option<F>, function: Function) -> Result<F, Fault> {
    entry.ok_or_else(|| Fault::new(RvError::FunctionNotSupported, function))
}

fn fill<T>(
    function: Function,
    mut structure: T,
    call: impl FnOnce(*mut T) -> CK_RV,
) -> Result<T, Fault> {
    match Rv::from(call(&raw mut structure)) {
        Rv::Ok => Ok(structure),
        Rv::Error(code) => Err(Fault::new(code, function)),
    }
}

/// Asks for the length of a list, then for the list (PKCS#11 3.1, section 5.2); again where it has grown in between.
fn list(
    function: Function,
    call: impl Fn(*mut CK_ULONG, *mut CK_ULONG) -> CK_RV,
) -> Result<Vec<CK_ULONG>, Fault> {
    for _ in 0..MAX_LIST_CALLS {
        let mut count: CK_ULONG = 0;
        if let Rv::Error(code) = Rv::from(call(ptr::null_mut(), &raw mut count)) {
            return Err(Fault::new(code, function));
        }
        let capacity = usize::try_from(count).unwrap_or(usize::MAX);
        if capacity > MAX_ENTRIES {
            return Err(Fault::answer(format!(
                "C_{function:?} counted {count} entries"
            )));
        }
        let mut entries: Vec<CK_ULONG> = vec![0; capacity];
        let returned = call(entries.as_mut_ptr(), &raw mut count);
        if returned == CKR_BUFFER_TOO_SMALL {
            continue;
        }
        if let Rv::Error(code) = Rv::from(returned) {
            return Err(Fault::new(code, function));
        }
        let written = usize::try_from(count).unwrap_or(usize::MAX);
        if written > capacity {
            // More would have been written past the end.
            return Err(Fault::new(RvError::BufferTooSmall, function));
        }
        entries.truncate(written);
        return Ok(entries);
    }
    Err(Fault::new(RvError::BufferTooSmall, function))
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
