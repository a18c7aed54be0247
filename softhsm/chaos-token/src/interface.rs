//! C_GetInterface (PKCS#11 3.1, section 5.4.6): an interface of version 3.0 with C_LoginUser, if the plan names a user.

use std::ffi::CStr;
use std::ptr;
use std::sync::OnceLock;

use cryptoki_sys::*;

use crate::{function_list, login, plan_file};

const NAME: &CStr = c"PKCS 11";

struct Interfaces {
    version_2: CK_INTERFACE,
    version_3: CK_INTERFACE,
}

// SAFETY: pointers to what lives as long as the process, never written after they were made.
unsafe impl Send for Interfaces {}
// SAFETY: as above.
unsafe impl Sync for Interfaces {}

fn interfaces() -> Option<&'static Interfaces> {
    static INTERFACES: OnceLock<Interfaces> = OnceLock::new();
    let version_2 = function_list()?;
    Some(INTERFACES.get_or_init(|| {
        let mut version_3 = Box::new(CK_FUNCTION_LIST_3_0::default());
        // SAFETY: a list of version 3.0 begins with the fields of 2.40.
        unsafe { *ptr::from_mut(&mut *version_3).cast::<CK_FUNCTION_LIST>() = *version_2 };
        version_3.version = CK_VERSION { major: 3, minor: 0 };
        version_3.C_GetInterface = Some(C_GetInterface);
        version_3.C_LoginUser = Some(login::C_LoginUser);
        let interface = |list| CK_INTERFACE {
            pInterfaceName: NAME.as_ptr().cast_mut().cast(),
            pFunctionList: list,
            flags: 0,
        };
        Interfaces {
            version_2: interface(ptr::from_ref(version_2).cast_mut().cast()),
            version_3: interface(ptr::from_mut(Box::leak(version_3)).cast()),
        }
    }))
}

/// The default interface, or that of a version.
///
/// # Safety
/// `name` is null or a C string, `version` null or a version, `interface` null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    _flags: CK_FLAGS,
) -> CK_RV {
    // SAFETY: the caller's, and checked for null.
    let (interface, version) = unsafe { (interface.as_mut(), version.as_ref()) };
    // SAFETY: as above.
    let is_ours = name.is_null() || unsafe { CStr::from_ptr(name.cast()) } == NAME;
    let (Some(interface), true) = (interface, is_ours) else {
        return CKR_ARGUMENTS_BAD;
    };
    let Some(all) = interfaces() else {
        return CKR_GENERAL_ERROR;
    };
    let plan = plan_file::current();
    let found = match version.map(|version| (version.major, version.minor)) {
        None if plan.user_name.is_some() && !plan.version_3_on_request => &all.version_3,
        None | Some((2, 40)) => &all.version_2,
        Some((3, 0)) if plan.user_name.is_some() => &all.version_3,
        Some(_) => return CKR_ARGUMENTS_BAD,
    };
    *interface = ptr::from_ref(found).cast_mut();
    CKR_OK
}
