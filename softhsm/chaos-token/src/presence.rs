//! The presence of the token: idle sessions that it closes, a token that is removed or not reachable, slots with other
//! numbers. Sessions of the wrapped module are closed too, so that the login and the handles end with them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cryptoki_sys::*;

use crate::plan::{PerSession, Plan};
use crate::wrapped::wrapped;
use crate::{outage, plan_file, throttle};

/// The functions whose first argument is a slot. In the others a first argument of type CK_ULONG is a session.
const SLOT_FUNCTIONS: [&str; 7] = [
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_OpenSession",
    "C_CloseAllSessions",
];

/// The functions that need a login. The first two are those of a signature.
const PRIVATE_FUNCTIONS: [&str; 14] = [
    "C_SignInit",
    "C_Sign",
    "C_FindObjectsInit",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_DeriveKey",
    "C_DecryptInit",
];

/// An open session.
struct OpenSession {
    last_use: Instant,
    /// The role whose C_Login was good in this session.
    role: Option<CK_USER_TYPE>,
}

type OpenSessions = HashMap<CK_SESSION_HANDLE, OpenSession>;

static SESSIONS: Mutex<Option<OpenSessions>> = Mutex::new(None);

/// The sessions that the token closed, and what C_GetSessionInfo said of them before.
static LOST: Mutex<Option<HashMap<CK_SESSION_HANDLE, CK_SESSION_INFO>>> = Mutex::new(None);

fn sessions() -> MutexGuard<'static, Option<OpenSessions>> {
    let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    sessions.get_or_insert_default();
    sessions
}

/// The first argument of a call.
pub(crate) trait FirstArgument: Sized {
    /// The argument for the wrapped module, or the return value of a call that is not forwarded.
    fn for_wrapped(self, function: &str) -> Result<Self, CK_RV>;
}

impl FirstArgument for CK_BBOOL {
    fn for_wrapped(self, _: &str) -> Result<Self, CK_RV> {
        Ok(self)
    }
}

impl<T> FirstArgument for *mut T {
    fn for_wrapped(self, function: &str) -> Result<Self, CK_RV> {
        if function == "C_Finalize" {
            sessions().get_or_insert_default().clear();
            forget_lost(None);
        }
        Ok(self)
    }
}

impl FirstArgument for CK_ULONG {
    fn for_wrapped(self, function: &str) -> Result<Self, CK_RV> {
        let plan = plan_file::current();
        if function == "C_WaitForSlotEvent" {
            return Ok(self);
        }
        let mut guard = sessions();
        let sessions = guard.get_or_insert_default();
        // Also before a new session is opened: the login must end with the last session.
        close_expired(sessions, &plan);
        if SLOT_FUNCTIONS.contains(&function) {
            let slot = self.checked_sub(plan.slot_id_offset);
            let slot = slot.ok_or(CKR_SLOT_ID_INVALID)?;
            return match plan.removed && function != "C_GetSlotInfo" {
                true => Err(CKR_TOKEN_NOT_PRESENT),
                false => Ok(slot),
            };
        }
        if plan.removed {
            return Err(CKR_DEVICE_REMOVED);
        }
        if let Some(session) = sessions.get_mut(&self) {
            session.last_use = Instant::now();
            let refused = match plan.login_per_session {
                None => &[][..],
                Some(PerSession::Signatures) => &PRIVATE_FUNCTIONS[..2],
                Some(PerSession::Objects | PerSession::ObjectsAndState) => &PRIVATE_FUNCTIONS,
            };
            if session.role.is_none() && refused.contains(&function) {
                return Err(CKR_USER_NOT_LOGGED_IN);
            }
            let role = match plan.login_per_session {
                Some(_) => session.role,
                // A login is the application's.
                None => sessions.values().find_map(|session| session.role),
            };
            let refusal = role.and_then(|role| plan.logins.refusal(role, function));
            if let Some(code) = refusal.or_else(|| throttle::refusal(&plan, function)) {
                return Err(code);
            }
        }
        if let Some(code) = plan.outage.lost_session()
            && lost(self).is_some()
            && function != "C_CloseSession"
        {
            return Err(code);
        }
        // The wrapped module refuses a session that was closed, as the token would.
        Ok(self)
    }
}

/// Closes the sessions that are idle for too long, and all sessions of a token that is removed or was not reachable.
fn close_expired(sessions: &mut OpenSessions, plan: &Plan) {
    let all = plan.removed || outage::ended_sessions();
    sessions.retain(|session, open| {
        let idle = plan
            .idle_timeout
            .is_some_and(|limit| open.last_use.elapsed() > limit);
        let expired = idle || all;
        if let (true, Some(list)) = (expired, wrapped()) {
            let mut info = CK_SESSION_INFO::default();
            if let (Some(ask), Some(close)) = (list.C_GetSessionInfo, list.C_CloseSession) {
                // SAFETY: a session that the wrapped module opened and nobody has closed, and room for what it says.
                unsafe {
                    ask(*session, &raw mut info);
                    close(*session);
                }
            }
            let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
            lost.get_or_insert_default().insert(*session, info);
        }
        !expired
    });
}

/// What C_GetSessionInfo said of a session before the token closed it.
pub(crate) fn lost(session: CK_SESSION_HANDLE) -> Option<CK_SESSION_INFO> {
    let lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    lost.as_ref()?.get(&session).copied()
}

/// Forgets a session that the token closed, or all: the wrapped module gives their numbers to new ones.
fn forget_lost(session: Option<CK_SESSION_HANDLE>) {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = lost.get_or_insert_default();
    lost.retain(|handle, _| session.is_some_and(|session| session != *handle));
}

/// Records a session that the wrapped module opened.
pub(crate) fn opened(session: CK_SESSION_HANDLE) {
    forget_lost(Some(session));
    sessions().get_or_insert_default().insert(
        session,
        OpenSession {
            last_use: Instant::now(),
            role: None,
        },
    );
}

/// The number of open sessions.
pub(crate) fn open_sessions() -> u64 {
    sessions().get_or_insert_default().len() as u64
}

/// Removes the record of a session that was closed.
pub(crate) fn closed(session: CK_SESSION_HANDLE) {
    sessions().get_or_insert_default().remove(&session);
}

/// Records a login in this session.
pub(crate) fn logged_in(session: CK_SESSION_HANDLE, role: CK_USER_TYPE) {
    if let Some(session) = sessions().get_or_insert_default().get_mut(&session) {
        session.role = Some(role);
    }
}

/// Whether there was a login in this session.
pub(crate) fn is_logged_in(session: CK_SESSION_HANDLE) -> bool {
    let mut sessions = sessions();
    let session = sessions.get_or_insert_default().get(&session);
    session.is_some_and(|session| session.role.is_some())
}
