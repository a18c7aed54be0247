//! Signatures that come out wrong or in another form, mechanisms that are refused although listed,
//! and keys that want a login before each use.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use crate::forward;
use crate::plan::{self, SignatureForm};

/// A signature that was begun and waits for its login, or has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    Waiting,
    Authenticated,
}

static BEGUN: Mutex<Option<HashMap<CK_SESSION_HANDLE, Begun>>> = Mutex::new(None);

fn begun() -> MutexGuard<'static, Option<HashMap<CK_SESSION_HANDLE, Begun>>> {
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    begun.get_or_insert_default();
    begun
}

/// A context-specific login was good: without a signature that waits for it, there is nothing to
/// log in for (section 5.6.8 of 3.1).
pub(crate) fn authenticated(session: CK_SESSION_HANDLE) -> CK_RV {
    match begun().get_or_insert_default().get_mut(&session) {
        Some(state) => {
            *state = Begun::Authenticated;
            CKR_OK
        }
        None => CKR_OPERATION_NOT_INITIALIZED,
    }
}

pub(crate) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let plan = plan::current();
    // SAFETY: the caller's; null is passed on for the wrapped module to refuse.
    let kind = unsafe { mechanism.as_ref() }.map(|mechanism| mechanism.mechanism);
    let off = |kind| plan.hidden.contains(&kind) || plan.refused.contains(&kind);
    if kind.is_some_and(off) {
        return match plan::called("C_SignInit") {
            plan::Verdict::Fail(code) => code,
            plan::Verdict::Crash => std::process::abort(),
            plan::Verdict::Pass => CKR_MECHANISM_INVALID,
        };
    }
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_SignInit(session, mechanism, key) };
    if code == CKR_OK && plan.always_authenticate {
        begun()
            .get_or_insert_default()
            .insert(session, Begun::Waiting);
    }
    code
}

pub(crate) unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    let plan = plan::current();
    if plan.always_authenticate {
        let state = begun().get_or_insert_default().remove(&session);
        if state != Some(Begun::Authenticated) {
            return match plan::called("C_Sign") {
                plan::Verdict::Fail(code) => code,
                plan::Verdict::Crash => std::process::abort(),
                plan::Verdict::Pass => CKR_USER_NOT_LOGGED_IN,
            };
        }
    }
    // SAFETY: the caller's; how much room there is, before the module overwrites it.
    let room = unsafe { length.as_ref() }.copied().unwrap_or(0) as usize;
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_Sign(session, data, data_len, signature, length) };
    if code != CKR_OK || signature.is_null() || plan.signature == SignatureForm::AsMade {
        return code;
    }
    // SAFETY: CKR_OK, so the module wrote `*length` bytes, and `room` bytes are the caller's.
    let (written, out) = unsafe {
        (
            &mut *length,
            std::slice::from_raw_parts_mut(signature, room),
        )
    };
    let made = out.get(..*written as usize).unwrap_or_default().to_vec();
    let changed = match plan.signature {
        SignatureForm::AsMade => made,
        SignatureForm::Wrong => flipped(made),
        SignatureForm::Der => der(&made),
        SignatureForm::Short => short(&made),
    };
    let Some(place) = out.get_mut(..changed.len()) else {
        return CKR_BUFFER_TOO_SMALL;
    };
    place.copy_from_slice(&changed);
    *written = changed.len() as CK_ULONG;
    CKR_OK
}

fn flipped(mut signature: Vec<u8>) -> Vec<u8> {
    if let Some(last) = signature.last_mut() {
        *last ^= 1;
    }
    signature
}

/// ECDSA-Sig-Value (RFC 3279), as some modules answer it.
fn der(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let integer = |half: &[u8]| {
        let zeros = half
            .iter()
            .take_while(|byte| **byte == 0)
            .count()
            .min(half.len().saturating_sub(1));
        let digits = &half[zeros..];
        let sign = digits.first().is_some_and(|byte| byte & 0x80 != 0);
        let mut out = vec![0x02, digits.len() as u8 + u8::from(sign)];
        out.extend(sign.then_some(0));
        out.extend_from_slice(digits);
        out
    };
    let body = [integer(r), integer(s)].concat();
    let mut out = vec![0x30];
    out.extend((body.len() > 127).then_some(0x81));
    out.push(body.len() as u8);
    out.extend(body);
    out
}

fn short(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let zeros = |half: &[u8]| half.iter().take_while(|byte| **byte == 0).count();
    let common = zeros(r).min(zeros(s));
    [&r[common..], &s[common..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_signature() {
        let raw = [&[0, 0x80, 1][..], &[0, 0, 7][..]].concat();
        assert_eq!(short(&raw), [0x80, 1, 0, 7]);
        assert_eq!(der(&raw), [0x30, 8, 2, 3, 0, 0x80, 1, 2, 1, 7]);
        assert_eq!(flipped(vec![1, 2]), [1, 3]);
    }
}
