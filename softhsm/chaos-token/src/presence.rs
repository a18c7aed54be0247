//! A token that comes and goes: sessions that die when nobody uses them, a token that is pulled out,
//! slots that have other numbers afterwards. All of it closes sessions of the wrapped module, so that
//! what depends on them (the login, the handles) ends as it does there.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cryptoki_sys::*;

use crate::plan::{self, Plan};
use crate::{forward, wrapped};

/// The functions whose first argument is a slot, where a CK_ULONG else is a session.
const OF_A_SLOT: [&str; 7] = [
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_OpenSession",
    "C_CloseAllSessions",
];

type Used = HashMap<CK_SESSION_HANDLE, Instant>;

/// Each open session, and when it was used last.
static USED: Mutex<Option<Used>> = Mutex::new(None);

fn used() -> MutexGuard<'static, Option<Used>> {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    used.get_or_insert_default();
    used
}

/// A call's first argument, on its way into the wrapped module.
pub(crate) trait First: Sized {
    /// What the wrapped module is given instead, or what the call returns without asking it.
    fn arrive(self, function: &str) -> Result<Self, CK_RV>;
}

impl First for CK_BBOOL {
    fn arrive(self, _: &str) -> Result<Self, CK_RV> {
        Ok(self)
    }
}

impl<T> First for *mut T {
    fn arrive(self, function: &str) -> Result<Self, CK_RV> {
        if function == "C_Finalize" {
            used().get_or_insert_default().clear();
        }
        Ok(self)
    }
}

impl First for CK_ULONG {
    fn arrive(self, function: &str) -> Result<Self, CK_RV> {
        let plan = plan::current();
        if function == "C_WaitForSlotEvent" {
            return Ok(self);
        }
        let mut used = used();
        let sessions = used.get_or_insert_default();
        // Before a new session is opened too: else the login would outlive the last one.
        sweep(sessions, &plan);
        if OF_A_SLOT.contains(&function) {
            let slot = self.checked_sub(plan.slot_ids);
            let slot = slot.ok_or(CKR_SLOT_ID_INVALID)?;
            return match plan.vanished && function != "C_GetSlotInfo" {
                true => Err(CKR_TOKEN_NOT_PRESENT),
                false => Ok(slot),
            };
        }
        if plan.vanished {
            return Err(CKR_DEVICE_REMOVED);
        }
        if let Some(last) = sessions.get_mut(&self) {
            *last = Instant::now();
        }
        // A session that is gone is refused by the wrapped module, as it would be by the token.
        Ok(self)
    }
}

/// Closes what has died by now.
fn sweep(sessions: &mut Used, plan: &Plan) {
    sessions.retain(|session, last| {
        let idle = plan.idle.is_some_and(|limit| last.elapsed() > limit);
        let dead = idle || plan.vanished;
        if let (true, Some(close)) = (dead, wrapped().and_then(|list| list.C_CloseSession)) {
            // SAFETY: a session that the wrapped module opened and nobody has closed.
            unsafe { close(*session) };
        }
        !dead
    });
}

/// The wrapped module opened a session.
pub(crate) fn opened(session: CK_SESSION_HANDLE) {
    used()
        .get_or_insert_default()
        .insert(session, Instant::now());
}

/// How many there are.
pub(crate) fn open_sessions() -> u64 {
    used().get_or_insert_default().len() as u64
}

/// A session was closed.
pub(crate) fn closed(session: CK_SESSION_HANDLE) {
    used().get_or_insert_default().remove(&session);
}

/// The wrapped module's slots under their numbers of now. A token that has vanished took its slot
/// with it, as a network HSM's does.
pub(crate) unsafe extern "C" fn C_GetSlotList(
    present: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_GetSlotList(present, list, count) };
    let plan = plan::current();
    // SAFETY: `count` is the caller's.
    let (CKR_OK, Some(count)) = (code, unsafe { count.as_mut() }) else {
        return code;
    };
    if plan.vanished {
        *count = 0;
    }
    if !list.is_null() {
        // SAFETY: the wrapped module has just written so many there.
        let slots = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        for slot in slots {
            *slot += plan.slot_ids;
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
    // SAFETY: written by the wrapped module on CKR_OK.
    if let (CKR_OK, Some(info)) = (code, unsafe { info.as_mut() }) {
        info.slotID += plan::current().slot_ids;
    }
    code
}
