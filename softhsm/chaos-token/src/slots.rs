//! Slots with other numbers, and without that of a token that is removed.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use cryptoki_sys::*;

use crate::plan::PerSession;
use crate::{forward, plan_file, presence};

/// The wrapped module's slots with the planned numbers. A token that is removed has no slot, as with a network HSM.
pub(crate) unsafe extern "C" fn C_GetSlotList(
    present: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_GetSlotList(present, list, count) };
    let plan = plan_file::current();
    // SAFETY: `count` is the caller's.
    let (CKR_OK, Some(count)) = (code, unsafe { count.as_mut() }) else {
        return code;
    };
    if plan.removed || plan.outage.hides_token() {
        *count = 0;
    }
    if !list.is_null() {
        // SAFETY: the wrapped module has just written so many there.
        let slots = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        for slot in slots {
            *slot += plan.slot_id_offset;
        }
    }
    CKR_OK
}

pub(crate) unsafe extern "C" fn C_GetSessionInfo(
    session: CK_SESSION_HANDLE,
    info: *mut CK_SESSION_INFO,
) -> CK_RV {
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_GetSessionInfo(session, info) };
    let plan = plan_file::current();
    // SAFETY: the caller's; written by the wrapped module on CKR_OK.
    if let Some(info) = unsafe { info.as_mut() } {
        match (code, presence::lost(session)) {
            (CKR_OK, _) => {}
            // The library knows its session, and does not ask the device whether it is still there.
            (_, Some(before)) if plan.outage.remembers_sessions() => *info = before,
            (code, _) => return code,
        }
        info.slotID += plan.slot_id_offset;
        if plan.login_per_session == Some(PerSession::ObjectsAndState)
            && !presence::is_logged_in(session)
        {
            info.state = match info.flags & CKF_RW_SESSION {
                0 => CKS_RO_PUBLIC_SESSION,
                _ => CKS_RW_PUBLIC_SESSION,
            };
        }
        return CKR_OK;
    }
    code
}
