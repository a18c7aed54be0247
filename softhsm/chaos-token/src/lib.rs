//! A PKCS#11 module that wraps another one and injects faults. See README.md.
//!
//! `CHAOS_TOKEN_MODULE` names the wrapped module, and `CHAOS_TOKEN_PLAN` the file with the plan of the faults. Clients use
//! version 2.40, unless the plan has named users: C_LoginUser is of version 3.0.

mod calls;
mod claims;
mod device;
mod device_limits;
mod exit;
mod forward;
mod interface;
mod key_generation;
mod key_generation_plan;
mod login;
mod login_rules;
mod names;
mod outage;
mod persona;
mod plan;
mod plan_file;
mod presence;
mod rule;
mod scramble;
mod sign;
mod slots;
mod template_rules;
mod throttle;
mod token;
mod words;
mod wrapped;
mod wrapped_objects;

use std::sync::OnceLock;

use cryptoki_sys::*;

struct FunctionList(CK_FUNCTION_LIST);

// SAFETY: function pointers and a version, never written after they were made.
unsafe impl Send for FunctionList {}
// SAFETY: as above.
unsafe impl Sync for FunctionList {}

/// The entry of every PKCS#11 module (section 5.4.4 of 3.1).
///
/// # Safety
/// `list` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let Some(ours) = function_list() else {
        return CKR_GENERAL_ERROR;
    };
    // SAFETY: checked for null; callers do not write through it, as with every module's list.
    unsafe { *list = std::ptr::from_ref(ours).cast_mut() };
    CKR_OK
}

/// The function list of version 2.40; `None` without a wrapped module.
pub(crate) fn function_list() -> Option<&'static CK_FUNCTION_LIST> {
    static LIST: OnceLock<FunctionList> = OnceLock::new();
    let wrapped = wrapped::wrapped()?;
    let ours = LIST.get_or_init(|| {
        let mut list = forward::list(wrapped.version, Some(C_GetFunctionList));
        list.C_GetInfo = Some(device::C_GetInfo);
        list.C_GetSlotInfo = Some(device::C_GetSlotInfo);
        list.C_Login = Some(login::C_Login);
        list.C_GetSlotList = Some(slots::C_GetSlotList);
        list.C_GetSessionInfo = Some(slots::C_GetSessionInfo);
        list.C_GetTokenInfo = Some(token::C_GetTokenInfo);
        list.C_GetMechanismList = Some(token::C_GetMechanismList);
        list.C_GetMechanismInfo = Some(token::C_GetMechanismInfo);
        list.C_OpenSession = Some(token::C_OpenSession);
        list.C_CloseSession = Some(token::C_CloseSession);
        list.C_GenerateRandom = Some(token::C_GenerateRandom);
        list.C_GetAttributeValue = Some(claims::C_GetAttributeValue);
        list.C_GenerateKeyPair = Some(key_generation::C_GenerateKeyPair);
        list.C_FindObjectsInit = Some(key_generation::C_FindObjectsInit);
        list.C_FindObjects = Some(key_generation::C_FindObjects);
        list.C_SignInit = Some(sign::C_SignInit);
        list.C_Sign = Some(sign::C_Sign);
        FunctionList(list)
    });
    Some(&ours.0)
}
