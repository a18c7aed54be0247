//! PIN counters that lock, which SoftHSM has not, and the context-specific login.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use cryptoki_sys::*;

use crate::{forward, plan, sign};

/// A file that keeps the number of wrong PINs across processes, as a token does. Without it they are counted
/// for as long as the process lives.
const STATE: &str = "CHAOS_TOKEN_STATE";

/// The last user PIN that was good: what a context-specific login is held against.
static GOOD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Wrong PINs so far, where no file keeps them.
static WRONG: AtomicU32 = AtomicU32::new(0);

pub(crate) unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    let plan = plan::current();
    let given = match pin.is_null() {
        true => Vec::new(),
        // SAFETY: the caller says that so many bytes are there (section 5.6.8 of 3.1).
        false => unsafe { std::slice::from_raw_parts(pin, length as usize) }.to_vec(),
    };
    let locks = plan.pin_tries.filter(|_| user != CKU_SO);
    if locks.is_some_and(|tries| wrong_so_far() >= tries) {
        // Counted and written down like any other call.
        return match plan::called("C_Login") {
            plan::Verdict::Fail(code) => code,
            plan::Verdict::Crash => std::process::abort(),
            plan::Verdict::Pass => CKR_PIN_LOCKED,
        };
    }
    let code = if user == CKU_CONTEXT_SPECIFIC && plan.always_authenticate {
        match plan::called("C_Login") {
            plan::Verdict::Fail(code) => code,
            plan::Verdict::Crash => std::process::abort(),
            plan::Verdict::Pass => context_login(session, &given),
        }
    } else {
        // SAFETY: the caller's arguments, unchanged.
        unsafe { forward::C_Login(session, user, pin, length) }
    };
    match code {
        CKR_OK if user == CKU_USER => {
            *GOOD.lock().unwrap_or_else(PoisonError::into_inner) = Some(given);
            if wrong_so_far() > 0 {
                count_wrong(0);
            }
        }
        CKR_PIN_INCORRECT if locks.is_some() => count_wrong(wrong_so_far() + 1),
        _ => {}
    }
    code
}

fn context_login(session: CK_SESSION_HANDLE, given: &[u8]) -> CK_RV {
    let good = GOOD.lock().unwrap_or_else(PoisonError::into_inner);
    match good.as_deref() {
        Some(good) if good == given => sign::authenticated(session),
        Some(_) => CKR_PIN_INCORRECT,
        None => CKR_USER_NOT_LOGGED_IN,
    }
}

/// What the counter makes of the token's flags.
pub(crate) fn flags() -> CK_FLAGS {
    let Some(tries) = plan::current().pin_tries else {
        return 0;
    };
    match (wrong_so_far(), tries) {
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

fn wrong_so_far() -> u32 {
    let Some(file) = file() else {
        return WRONG.load(Ordering::Relaxed);
    };
    match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| {
            plan::give_up(&format!("{} of {STATE} holds no number", file.display()))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => plan::give_up(&format!("{} of {STATE}: {error}", file.display())),
    }
}

fn count_wrong(count: u32) {
    let Some(file) = file() else {
        return WRONG.store(count, Ordering::Relaxed);
    };
    // What is not counted would look like a token that does not lock.
    if let Err(error) = fs::write(&file, count.to_string()) {
        plan::give_up(&format!("{} of {STATE}: {error}", file.display()));
    }
}
