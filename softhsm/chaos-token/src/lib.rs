//! A PKCS#11 module that wraps another one and injects faults. See README.md.
//!
//! The wrapped module is named by `CHAOS_TOKEN_MODULE`; what goes wrong by the plan in the file of
//! `CHAOS_TOKEN_PLAN`. Only C_GetFunctionList is exported, so that clients use version 2.40.

mod claims;
mod device;
mod exit;
mod forward;
mod login;
mod names;
mod plan;
mod presence;
mod sign;
mod token;

use std::env;
use std::sync::OnceLock;

use cryptoki_sys::*;

/// The module that is wrapped.
const MODULE: &str = "CHAOS_TOKEN_MODULE";

struct Wrapped {
    list: CK_FUNCTION_LIST,
    // Keeps it mapped.
    _library: Pkcs11,
}

fn wrapped() -> Option<&'static CK_FUNCTION_LIST> {
    static WRAPPED: OnceLock<Option<Wrapped>> = OnceLock::new();
    WRAPPED
        .get_or_init(load)
        .as_ref()
        .map(|wrapped| &wrapped.list)
}

fn load() -> Option<Wrapped> {
    let Some(path) = env::var_os(MODULE) else {
        eprintln!("chaos-token: {MODULE} is not set: it names the module that is wrapped");
        return None;
    };
    // SAFETY: the tester named this module to be loaded.
    let library = match unsafe { Pkcs11::new(&path) } {
        Ok(library) => library,
        Err(error) => {
            eprintln!(
                "chaos-token: {} of {MODULE} does not load: {error}",
                path.display()
            );
            return None;
        }
    };
    let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
    // SAFETY: the module fills in a pointer to its static list.
    let rv = unsafe { library.C_GetFunctionList(&raw mut list) };
    // SAFETY: checked for null; static by the standard.
    let list = unsafe { list.as_ref() }.filter(|_| rv == CKR_OK)?;
    Some(Wrapped {
        list: *list,
        _library: library,
    })
}

struct List(CK_FUNCTION_LIST);

// SAFETY: function pointers and a version, never written after they were made.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

/// The entry of every PKCS#11 module (section 5.4.4 of 3.1).
///
/// # Safety
/// `list` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    static LIST: OnceLock<List> = OnceLock::new();
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let Some(wrapped) = wrapped() else {
        return CKR_GENERAL_ERROR;
    };
    let ours = LIST.get_or_init(|| {
        let mut list = forward::list(wrapped.version, Some(C_GetFunctionList));
        list.C_GetInfo = Some(device::C_GetInfo);
        list.C_GetSlotInfo = Some(device::C_GetSlotInfo);
        list.C_Login = Some(login::C_Login);
        list.C_GetSlotList = Some(presence::C_GetSlotList);
        list.C_GetSessionInfo = Some(presence::C_GetSessionInfo);
        list.C_GetTokenInfo = Some(token::C_GetTokenInfo);
        list.C_GetMechanismList = Some(token::C_GetMechanismList);
        list.C_GetMechanismInfo = Some(token::C_GetMechanismInfo);
        list.C_OpenSession = Some(token::C_OpenSession);
        list.C_CloseSession = Some(token::C_CloseSession);
        list.C_GetAttributeValue = Some(claims::C_GetAttributeValue);
        list.C_SignInit = Some(sign::C_SignInit);
        list.C_Sign = Some(sign::C_Sign);
        List(list)
    });
    // SAFETY: checked for null; callers do not write through it, as with every module's list.
    unsafe { *list = (&raw const ours.0).cast_mut() };
    CKR_OK
}
