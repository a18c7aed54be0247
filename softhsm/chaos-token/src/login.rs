//! A PIN counter that locks the token, which SoftHSM does not have, the context-specific login, users with names, and logins
//! that are for one session only, and those of vendors' roles.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use cryptoki_sys::*;

use crate::names::LOGIN_USER;
use crate::presence::FirstArgument;
use crate::wrapped::wrapped;
use crate::{calls, plan_file, presence, sign};

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
    // SAFETY: the caller's arguments.
    unsafe { login("C_Login", session, user, (pin, length), None) }
}

/// C_LoginUser (section 5.6.9 of 3.1) of the version-3.0 interface.
pub(crate) unsafe extern "C" fn C_LoginUser(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
    name: *mut CK_UTF8CHAR,
    name_length: CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    unsafe {
        let name = bytes(name, name_length);
        login(LOGIN_USER, session, user, (pin, length), Some(&name))
    }
}

/// A copy of the caller's text; empty if it is null.
unsafe fn bytes(text: *mut CK_UTF8CHAR, length: CK_ULONG) -> Vec<u8> {
    match text.is_null() {
        true => Vec::new(),
        // SAFETY: the caller says that so many bytes are there (section 5.6.8 of 3.1).
        false => unsafe { std::slice::from_raw_parts(text, length as usize) }.to_vec(),
    }
}

unsafe fn login(
    function: &'static str,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: (*mut CK_UTF8CHAR, CK_ULONG),
    name: Option<&[u8]>,
) -> CK_RV {
    // Counted and logged, whatever follows.
    if let Some(code) = calls::begin(function) {
        return code;
    }
    let plan = plan_file::current();
    // SAFETY: the caller's PIN.
    let given = unsafe { bytes(pin.0, pin.1) };
    let max_tries = plan.pin_tries.filter(|_| user != CKU_SO);
    if max_tries.is_some_and(|tries| wrong_pins() >= tries) {
        return CKR_PIN_LOCKED;
    }
    let is_named = |expected: &String| name == Some(expected.as_bytes());
    let code = if user == CKU_CONTEXT_SPECIFIC && plan.always_authenticate {
        context_login(session, &given)
    } else if plan.authenticates.is_some() {
        CKR_OK
    } else if let Some(file) = &plan.empty_pin {
        match pin {
            (text, 0) if !text.is_null() => login_with_file(session, file),
            _ => CKR_PIN_INCORRECT,
        }
    } else if plan.logins.pin_ignored {
        login_of_any_pin(session, user)
    } else if let Some(code) = plan.logins.refusal_of_form(&given) {
        code
    } else if plan.user_name.is_some() && !plan.user_name.as_ref().is_some_and(is_named) {
        CKR_PIN_INCORRECT
    } else {
        match (plan.user_type, user) {
            (Some(expected), CKU_USER) if expected != CKU_USER => CKR_USER_TYPE_INVALID,
            // The wrapped module's name of the role.
            (Some(expected), given) if expected == given => forward_login(session, CKU_USER, pin),
            _ if plan.logins.is_role(user) => forward_login(session, CKU_USER, pin),
            _ => forward_login(session, user, pin),
        }
    };
    let code = match (code, plan.login_per_session) {
        // The wrapped module's login is the application's.
        (CKR_USER_ALREADY_LOGGED_IN, Some(_)) if !presence::is_logged_in(session) => {
            let accepted = ACCEPTED.lock().unwrap_or_else(PoisonError::into_inner);
            match accepted.as_ref() == Some(&given) {
                true => CKR_OK,
                false => CKR_PIN_INCORRECT,
            }
        }
        (other, _) => other,
    };
    match code {
        CKR_OK if user == CKU_CONTEXT_SPECIFIC => {}
        CKR_OK => {
            presence::logged_in(session, user);
            if user == plan.user_type.unwrap_or(CKU_USER) || plan.logins.is_role(user) {
                *ACCEPTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(given);
                if wrong_pins() > 0 {
                    set_wrong_pins(0);
                }
            }
        }
        CKR_PIN_INCORRECT if max_tries.is_some() => set_wrong_pins(wrong_pins() + 1),
        _ => {}
    }
    match code {
        CKR_PIN_INCORRECT => plan.logins.wrong_pin.unwrap_or(code),
        code => code,
    }
}

/// The login of a library that does not look at the PIN (libkmsp11: Token::Login). The wrapped module's user is not logged in.
fn login_of_any_pin(session: CK_SESSION_HANDLE, user: CK_USER_TYPE) -> CK_RV {
    match user {
        CKU_USER if presence::is_logged_in(session) => CKR_USER_ALREADY_LOGGED_IN,
        CKU_USER => CKR_OK,
        CKU_SO => CKR_PIN_LOCKED,
        _ => CKR_USER_TYPE_INVALID,
    }
}

/// Logs in to the wrapped module with the PIN in a file.
pub(crate) fn login_with_file(session: CK_SESSION_HANDLE, file: &Path) -> CK_RV {
    let mut pin = fs::read(file)
        .unwrap_or_else(|error| plan_file::give_up(&format!("{}: {error}", file.display())));
    let length = pin.len() as CK_ULONG;
    forward_login(session, CKU_USER, (pin.as_mut_ptr(), length))
}

fn forward_login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    (pin, length): (*mut CK_UTF8CHAR, CK_ULONG),
) -> CK_RV {
    let session = match session.for_wrapped("C_Login") {
        Ok(session) => session,
        Err(code) => return code,
    };
    match wrapped().and_then(|list| list.C_Login) {
        // SAFETY: the caller's arguments.
        Some(function) => unsafe { function(session, user, pin, length) },
        None => CKR_FUNCTION_NOT_SUPPORTED,
    }
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
