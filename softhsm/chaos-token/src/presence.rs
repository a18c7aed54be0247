//! The presence of the token: idle sessions that it closes, a token that is removed, slots with other numbers. Sessions of
//! the wrapped module are closed too, so that the login and the handles end with them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cryptoki_sys::*;

use crate::plan::{PerSession, Plan};
use crate::plan_file;
use crate::wrapped::wrapped;

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
    /// C_Login was good in this session.
    logged_in: bool,
}

type OpenSessions = HashMap<CK_SESSION_HANDLE, OpenSession>;

static SESSIONS: Mutex<Option<OpenSessions>> = Mutex::new(None);

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
            if !session.logged_in && refused.contains(&function) {
                return Err(CKR_USER_NOT_LOGGED_IN);
            }
        }
        // The wrapped module refuses a session that was closed, as the token would.
        Ok(self)
    }
}

/// Closes the sessions that are idle for too long, and all sessions of a token that is removed.
fn close_expired(sessions: &mut OpenSessions, plan: &Plan) {
    sessions.retain(|session, open| {
        let idle = plan
            .idle_timeout
            .is_some_and(|limit| open.last_use.elapsed() > limit);
        let expired = idle || plan.removed;
        if let (true, Some(close)) = (expired, wrapped().and_then(|list| list.C_CloseSession)) {
            // SAFETY: a session that the wrapped module opened and nobody has closed.
            unsafe { close(*session) };
        }
        !expired
    });
}

/// Records a session that the wrapped module opened.
pub(crate) fn opened(session: CK_SESSION_HANDLE) {
    sessions().get_or_insert_default().insert(
        session,
        OpenSession {
            last_use: Instant::now(),
            logged_in: false,
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
pub(crate) fn logged_in(session: CK_SESSION_HANDLE) {
    if let Some(session) = sessions().get_or_insert_default().get_mut(&session) {
        session.logged_in = true;
    }
}

/// Whether there was a login in this session.
pub(crate) fn is_logged_in(session: CK_SESSION_HANDLE) -> bool {
    let mut sessions = sessions();
    let session = sessions.get_or_insert_default().get(&session);
    session.is_some_and(|session| session.logged_in)
}
