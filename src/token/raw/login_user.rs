//! C_LoginUser (PKCS#11 3.1, section 5.6.9), which cryptoki does not have: a login that names the user beside the role.
#![expect(
    unsafe_code,
    reason = "calls through the module's function list; each block says why it holds"
)]

use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::Rv;
use cryptoki::session::UserType;
use cryptoki_sys::{
    CK_C_LoginUser, CK_FUNCTION_LIST_3_0, CK_INTERFACE, CK_SESSION_HANDLE, CK_ULONG, CK_UTF8CHAR,
    CK_VERSION, CKR_OK,
};

use super::super::fault::Fault;
use super::{RawCalls, present};

impl RawCalls {
    /// Whether the module has an interface of version 3.0 or later with C_LoginUser.
    pub(in crate::token) fn has_login_user(&self) -> bool {
        self.login_user.is_some()
    }

    /// C_LoginUser. Without a PIN, the token's protected authentication path asks for it.
    ///
    /// The session must be of the module that `self` was loaded from, and not in use by another thread.
    pub(in crate::token) fn login_user(
        &self,
        session: CK_SESSION_HANDLE,
        user: UserType,
        pin: Option<&[u8]>,
        name: &str,
    ) -> Result<(), Fault> {
        let call = present(self.login_user, Function::LoginUser)?;
        let (pin, pin_len) = pin.map_or((ptr::null(), 0), |pin| (pin.as_ptr(), pin.len()));
        // SAFETY: PIN and name outlive the call, and their lengths are given. PKCS#11 declares both without `const`, but
        // only reads them.
        let rv = unsafe {
            call(
                session,
                user.into(),
                pin.cast_mut(),
                pin_len as CK_ULONG,
                name.as_ptr().cast_mut(),
                name.len() as CK_ULONG,
            )
        };
        match Rv::from(rv) {
            Rv::Ok => Ok(()),
            Rv::Error(code) => Err(Fault::new(code, Function::LoginUser)),
        }
    }
}

/// C_LoginUser of the default interface if that is of version 3.0 or later, else of the interface `PKCS 11` 3.0, for which
/// some modules have to be asked.
pub(super) fn find(library: &cryptoki_sys::Pkcs11) -> CK_C_LoginUser {
    if library.C_GetInterface.is_err() {
        return None;
    }
    interface(library, None).or_else(|| interface(library, Some(CK_VERSION { major: 3, minor: 0 })))
}

fn interface(library: &cryptoki_sys::Pkcs11, version: Option<CK_VERSION>) -> CK_C_LoginUser {
    let mut name: [CK_UTF8CHAR; 8] = *b"PKCS 11\0";
    let mut version = version;
    let (name, version) = match &mut version {
        Some(version) => (name.as_mut_ptr(), ptr::from_mut(version)),
        None => (ptr::null_mut(), ptr::null_mut()),
    };
    let mut interface: *mut CK_INTERFACE = ptr::null_mut();
    // SAFETY: name and version are null, or outlive the call (PKCS#11 3.1, section 5.4.6); the module fills in a pointer
    // to a structure that lives as long as it does.
    let rv = unsafe { library.C_GetInterface(name, version, &raw mut interface, 0) };
    if rv != CKR_OK {
        return None;
    }
    // SAFETY: checked for null. The list is read as one of version 3.0 only after its first field, which all lists have,
    // said that it is one or a later one, which begins with the same fields.
    unsafe {
        let list = interface.as_ref()?.pFunctionList;
        let listed = list.cast::<CK_VERSION>().as_ref()?;
        if listed.major < 3 {
            return None;
        }
        list.cast::<CK_FUNCTION_LIST_3_0>().as_ref()?.C_LoginUser
    }
}
