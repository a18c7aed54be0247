//! The token's flags, session limit, mechanisms and random numbers.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use crate::{calls, device, forward, login, plan_file, presence, scramble};

/// Locked while a session is opened, so that there are never more than the limit.
static OPENING: Mutex<()> = Mutex::new(());

pub(crate) unsafe extern "C" fn C_GetTokenInfo(
    slot: CK_SLOT_ID,
    info: *mut CK_TOKEN_INFO,
) -> CK_RV {
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_GetTokenInfo(slot, info) };
    // SAFETY: the wrapped module has just written there, or it did not return CKR_OK.
    if let (CKR_OK, Some(info)) = (code, unsafe { info.as_mut() }) {
        let plan = plan_file::current();
        info.flags &= !plan.hidden_flags;
        info.flags |= plan.flags | login::flags();
        if plan.device {
            device::rename(info);
        }
        if let Some(serial) = &plan.serial {
            device::write(&mut info.serialNumber, serial);
        }
        if let Some(label) = &plan.label {
            device::write(&mut info.label, label);
        }
        if let Some(seed) = plan.scramble {
            scramble::token(info, seed);
        }
        if let Some((limit, _)) = plan.max_sessions {
            info.ulMaxSessionCount = limit;
        }
    }
    code
}

pub(crate) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    let _locked = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = plan_file::current();
    if let (Some(code), 0) = (plan.no_read_only_sessions, flags & CKF_RW_SESSION) {
        return calls::begin("C_OpenSession").unwrap_or(code);
    }
    let is_reached = |(limit, _): &(u64, CK_RV)| presence::open_sessions() >= *limit;
    if let Some((_, code)) = plan.max_sessions.filter(is_reached) {
        return calls::begin("C_OpenSession").unwrap_or(code);
    }
    let flags = match plan.read_only_ignored {
        true => flags | CKF_RW_SESSION,
        false => flags,
    };
    // SAFETY: the caller's arguments, all sessions being read-write where the token knows no others.
    let code = unsafe { forward::C_OpenSession(slot, flags, application, notify, session) };
    // SAFETY: written by the wrapped module on CKR_OK.
    if let (CKR_OK, Some(session)) = (code, unsafe { session.as_ref() }) {
        presence::opened(*session);
        if let Some(file) = &plan.authenticates {
            // It is logged in already from the second session on.
            login::login_with_file(*session, file);
        }
    }
    code
}

pub(crate) unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    // SAFETY: the caller's argument, unchanged.
    let code = unsafe { forward::C_CloseSession(session) };
    if code == CKR_OK {
        presence::closed(session);
    }
    code
}

/// The wrapped module's mechanisms without those that the plan hides.
pub(crate) unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: `count` is the caller's; null is an argument that the standard refuses.
    let Some(count) = (unsafe { count.as_mut() }) else {
        return CKR_ARGUMENTS_BAD;
    };
    let mut all = 0;
    // SAFETY: a null list asks for the count.
    let code = unsafe { forward::C_GetMechanismList(slot, ptr::null_mut(), &raw mut all) };
    if code != CKR_OK {
        return code;
    }
    let mut mechanisms = vec![0; all as usize];
    // SAFETY: room for as many as were counted.
    let code = unsafe { forward::C_GetMechanismList(slot, mechanisms.as_mut_ptr(), &raw mut all) };
    if code != CKR_OK {
        return code;
    }
    mechanisms.truncate(all as usize);
    let plan = plan_file::current();
    mechanisms.retain(|mechanism| !plan.hidden_mechanisms.contains(mechanism));
    let substitutes = plan.key_generation.substitutes.iter();
    mechanisms.extend(substitutes.map(|substitute| substitute.listed));
    let capacity = std::mem::replace(count, mechanisms.len() as CK_ULONG);
    if list.is_null() {
        return CKR_OK;
    }
    if capacity < mechanisms.len() as CK_ULONG {
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: the caller says that there is room for `capacity`, and it is enough.
    unsafe { ptr::copy_nonoverlapping(mechanisms.as_ptr(), list, mechanisms.len()) };
    CKR_OK
}

pub(crate) unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    let plan = plan_file::current();
    if plan.hidden_mechanisms.contains(&mechanism) {
        return CKR_MECHANISM_INVALID;
    }
    let mut substitutes = plan.key_generation.substitutes.iter();
    let substitute = substitutes.find(|substitute| substitute.listed == mechanism);
    let mechanism = substitute.map_or(mechanism, |substitute| substitute.wrapped);
    // SAFETY: the caller's arguments, with a mechanism that the wrapped module knows.
    unsafe { forward::C_GetMechanismInfo(slot, mechanism, info) }
}

pub(crate) unsafe extern "C" fn C_GenerateRandom(
    session: CK_SESSION_HANDLE,
    random: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    if let Some(code) = plan_file::current().limits.refusal_of_random(length) {
        return calls::begin("C_GenerateRandom").unwrap_or(code);
    }
    // SAFETY: the caller's arguments, unchanged.
    unsafe { forward::C_GenerateRandom(session, random, length) }
}
