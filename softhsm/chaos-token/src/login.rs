//! A PIN counter that locks the token, which SoftHSM does not have, and the context-specific login.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use cryptoki_sys::*;

use crate::{calls, forward, plan_file, sign};

/// The variable with the path of a file that keeps the number of wrong PINs, as a token does. Without it each process
/// counts its own.
const STATE: &str = "CHAOS_TOKEN_STATE";

/// The last user PIN that was accepted; a context-specific login is compared with it.
static ACCEPTED: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// The number of wrong PINs, if no file keeps it.
static WRONG_PINS: AtomicU32 = AtomicU32::new(0);

pub(crate) unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    let plan = plan_file::current();
    let given = match pin.is_null() {
        true => Vec::new(),
        // SAFETY: the caller says that so many bytes are there (section 5.6.8 of 3.1).
        false => unsafe { std::slice::from_raw_parts(pin, length as usize) }.to_vec(),
    };
    let max_tries = plan.pin_tries.filter(|_| user != CKU_SO);
    if max_tries.is_some_and(|tries| wrong_pins() >= tries) {
        // Counted and logged like any other call.
        return calls::begin("C_Login").unwrap_or(CKR_PIN_LOCKED);
    }
    let code = if user == CKU_CONTEXT_SPECIFIC && plan.always_authenticate {
        calls::begin("C_Login").unwrap_or_else(|| context_login(session, &given))
    } else {
        match (plan.user_type, user) {
            (Some(expected), CKU_USER) if expected != CKU_USER => {
                calls::begin("C_Login").unwrap_or(CKR_USER_TYPE_INVALID)
            }
            (Some(expected), given) if expected == given => {
                // SAFETY: the caller's arguments, with the wrapped module's name of the role.
                unsafe { forward::C_Login(session, CKU_USER, pin, length) }
            }
            // SAFETY: the caller's arguments, unchanged.
            _ => unsafe { forward::C_Login(session, user, pin, length) },
        }
    };
    match code {
        CKR_OK if user == plan.user_type.unwrap_or(CKU_USER) => {
            *ACCEPTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(given);
            if wrong_pins() > 0 {
                set_wrong_pins(0);
            }
        }
        CKR_PIN_INCORRECT if max_tries.is_some() => set_wrong_pins(wrong_pins() + 1),
        _ => {}
    }
    code
}

fn context_login(session: CK_SESSION_HANDLE, given: &[u8]) -> CK_RV {
    let accepted = ACCEPTED.lock().unwrap_or_else(PoisonError::into_inner);
    match accepted.as_deref() {
        Some(accepted) if accepted == given => sign::authenticated(session),
        Some(_) => CKR_PIN_INCORRECT,
        None => CKR_USER_NOT_LOGGED_IN,
    }
}

/// The PIN flags of the counter.
pub(crate) fn flags() -> CK_FLAGS {
    let Some(tries) = plan_file::current().pin_tries else {
        return 0;
    };
    match (wrong_pins(), tries) {
        (0, _) => 0,
        (wrong, tries) if wrong >= tries => CKF_USER_PIN_LOCKED,
        (wrong, tries) if wrong + 1 == tries => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
        _ => CKF_USER_PIN_COUNT_LOW,
    }
}

fn file() -> Option<PathBuf> {
    let named = env::var_os(STATE).filter(|name| !name.is_empty());
    named.map(PathBuf::from)
}

fn wrong_pins() -> u32 {
    let Some(file) = file() else {
        return WRONG_PINS.load(Ordering::Relaxed);
    };
    match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| {
            plan_file::give_up(&format!("{} of {STATE} holds no number", file.display()))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => plan_file::give_up(&format!("{} of {STATE}: {error}", file.display())),
    }
}

fn set_wrong_pins(count: u32) {
    let Some(file) = file() else {
        return WRONG_PINS.store(count, Ordering::Relaxed);
    };
    // Without its count, the token would not lock.
    if let Err(error) = fs::write(&file, count.to_string()) {
        plan_file::give_up(&format!("{} of {STATE}: {error}", file.display()));
    }
}
