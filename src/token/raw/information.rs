//! The functions that fill in a structure or a list of the caller's: CK_INFO and its like, slots and mechanisms.
#![expect(
    unsafe_code,
    reason = "calls through the module's function list; each block says why it holds"
)]

use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Rv, RvError};
use cryptoki_sys::{
    CK_INFO, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO,
    CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_TRUE, CK_ULONG, CK_VERSION, CKR_BUFFER_TOO_SMALL,
};

use super::super::fault::Fault;
use super::{RawCalls, present};

/// No module has more slots or mechanisms: a higher count is not believed, and no memory is reserved for it.
const MAX_ENTRIES: usize = 1 << 16;
/// How often a list is asked for again that has grown since its length was asked for.
const MAX_LIST_CALLS: usize = 4;

/// The information functions (PKCS#11 3.1, sections 5.4 to 5.6). Each fills in a structure or a list of the caller's.
impl RawCalls {
    pub(in crate::token) fn module_info(&self) -> Result<CK_INFO, Fault> {
        let call = present(self.functions.C_GetInfo, Function::GetInfo)?;
        // SAFETY: the pointer is to a structure of this type, for the duration of the call.
        fill(Function::GetInfo, CK_INFO::default(), |info| unsafe {
            call(info)
        })
    }

    pub(in crate::token) fn slots_with_token(&self) -> Result<Vec<CK_SLOT_ID>, Fault> {
        let call = present(self.functions.C_GetSlotList, Function::GetSlotList)?;
        // SAFETY: the list is null, or has as many entries as the count says.
        list(Function::GetSlotList, |entries, count| unsafe {
            call(CK_TRUE, entries, count)
        })
    }

    pub(in crate::token) fn slot_info(&self, slot: CK_SLOT_ID) -> Result<CK_SLOT_INFO, Fault> {
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

    pub(in crate::token) fn token_info(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, Fault> {
        let call = present(self.functions.C_GetTokenInfo, Function::GetTokenInfo)?;
        // SAFETY: the pointer is to a structure of this type, for the duration of the call.
        fill(
            Function::GetTokenInfo,
            CK_TOKEN_INFO::default(),
            |info| unsafe { call(slot, info) },
        )
    }

    pub(in crate::token) fn mechanisms(
        &self,
        slot: CK_SLOT_ID,
    ) -> Result<Vec<CK_MECHANISM_TYPE>, Fault> {
        let function = Function::GetMechanismList;
        let call = present(self.functions.C_GetMechanismList, function)?;
        // SAFETY: the list is null, or has as many entries as the count says.
        list(function, |entries, count| unsafe {
            call(slot, entries, count)
        })
    }

    pub(in crate::token) fn mechanism_info(
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
    pub(in crate::token) fn session_info(
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
