//! Wrong signatures and other forms of them, mechanisms that are listed and refused, and keys that need a login for each
//! signature.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use crate::plan::SignatureForm;
use crate::wrapped::wrapped;
use crate::{calls, forward, plan_file};

/// The state of a signature between C_SignInit and C_Sign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SignState {
    NeedsLogin,
    Authenticated,
}

static OPERATIONS: Mutex<Option<HashMap<CK_SESSION_HANDLE, SignState>>> = Mutex::new(None);

fn operations() -> MutexGuard<'static, Option<HashMap<CK_SESSION_HANDLE, SignState>>> {
    let mut operations = OPERATIONS.lock().unwrap_or_else(PoisonError::into_inner);
    operations.get_or_insert_default();
    operations
}

/// Records a context-specific login. It fails without a C_SignInit before it (section 5.6.8 of 3.1).
pub(crate) fn authenticated(session: CK_SESSION_HANDLE) -> CK_RV {
    match operations().get_or_insert_default().get_mut(&session) {
        Some(state) => {
            *state = SignState::Authenticated;
            CKR_OK
        }
        None => CKR_OPERATION_NOT_INITIALIZED,
    }
}

fn is_read_only(session: CK_SESSION_HANDLE) -> bool {
    let mut info = CK_SESSION_INFO::default();
    let wrapped = wrapped().and_then(|list| list.C_GetSessionInfo);
    // SAFETY: `info` is valid for the call. It is not counted, because the client did not make this call.
    let code = wrapped.map(|call| unsafe { call(session, &raw mut info) });
    code == Some(CKR_OK) && info.flags & CKF_RW_SESSION == 0
}

/// The hash of an RSA-PSS mechanism's parameters.
fn pss_hash(mechanism: &CK_MECHANISM) -> Option<CK_MECHANISM_TYPE> {
    let is_pss = mechanism.mechanism == CKM_RSA_PKCS_PSS
        && mechanism.ulParameterLen as usize == size_of::<CK_RSA_PKCS_PSS_PARAMS>();
    // SAFETY: parameters of this length are the caller's.
    let parameters = unsafe {
        mechanism
            .pParameter
            .cast::<CK_RSA_PKCS_PSS_PARAMS>()
            .as_ref()
    };
    parameters
        .filter(|_| is_pss)
        .map(|parameters| parameters.hashAlg)
}

pub(crate) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let plan = plan_file::current();
    // SAFETY: the caller's; null is passed on for the wrapped module to refuse.
    let mechanism_type = unsafe { mechanism.as_ref() }.map(|mechanism| mechanism.mechanism);
    let is_disabled = |mechanism| {
        plan.hidden_mechanisms.contains(&mechanism) || plan.refused_mechanisms.contains(&mechanism)
    };
    if mechanism_type.is_some_and(is_disabled) {
        return calls::begin("C_SignInit").unwrap_or(CKR_MECHANISM_INVALID);
    }
    let refused = mechanism_type.and_then(|mechanism_type| {
        // SAFETY: the caller's, as above.
        let hash = unsafe { mechanism.as_ref() }.and_then(pss_hash);
        plan.limits.refusal_of_mechanism(mechanism_type, hash)
    });
    if let Some(code) = refused {
        return calls::begin("C_SignInit").unwrap_or(code);
    }
    if let Some(code) = plan.no_read_only_signatures
        && is_read_only(session)
    {
        return calls::begin("C_SignInit").unwrap_or(code);
    }
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_SignInit(session, mechanism, key) };
    if code == CKR_OK && plan.always_authenticate {
        operations()
            .get_or_insert_default()
            .insert(session, SignState::NeedsLogin);
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
    let plan = plan_file::current();
    if plan.always_authenticate {
        let state = operations().get_or_insert_default().remove(&session);
        if state != Some(SignState::Authenticated) {
            return calls::begin("C_Sign").unwrap_or(CKR_USER_NOT_LOGGED_IN);
        }
    }
    // SAFETY: the caller's; the size of the buffer, before the module overwrites it.
    let capacity = unsafe { length.as_ref() }.copied().unwrap_or(0) as usize;
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_Sign(session, data, data_len, signature, length) };
    if code != CKR_OK || signature.is_null() || plan.signature == SignatureForm::Unchanged {
        return code;
    }
    // SAFETY: CKR_OK, so the module wrote `*length` bytes, and `capacity` bytes are the caller's.
    let (written, out) = unsafe {
        (
            &mut *length,
            std::slice::from_raw_parts_mut(signature, capacity),
        )
    };
    let original = out.get(..*written as usize).unwrap_or_default().to_vec();
    let changed = match plan.signature {
        SignatureForm::Unchanged => original,
        SignatureForm::Wrong => flipped(original),
        SignatureForm::Der => der(&original),
        SignatureForm::Short => short(&original),
    };
    let Some(target) = out.get_mut(..changed.len()) else {
        return CKR_BUFFER_TOO_SMALL;
    };
    target.copy_from_slice(&changed);
    *written = changed.len() as CK_ULONG;
    CKR_OK
}

fn flipped(mut signature: Vec<u8>) -> Vec<u8> {
    if let Some(last) = signature.last_mut() {
        *last ^= 1;
    }
    signature
}

/// ECDSA-Sig-Value (RFC 3279), which some modules return.
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
