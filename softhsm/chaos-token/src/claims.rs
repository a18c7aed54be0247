//! False attributes of private keys: modules misreport custody attributes in both directions.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::slice;

use cryptoki_sys::*;

use crate::plan::Claim;
use crate::wrapped_objects::{is_private_key, key_type};
use crate::{calls, forward, plan_file};

/// The wrapped module's output, with the planned values for a private key.
pub(crate) unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let plan = plan_file::current();
    if !template.is_null() && !plan.silent_attributes.is_empty() {
        // SAFETY: the caller says that so many attributes are there.
        let asked = unsafe { slice::from_raw_parts(template, count as usize) };
        let silent = |attribute: &CK_ATTRIBUTE| plan.silent_attributes.contains(&attribute.type_);
        if asked.iter().any(silent) && is_private_key(session, object) {
            // As some modules do: the buffer and its length stay as they are.
            return calls::begin("C_GetAttributeValue").unwrap_or(CKR_ATTRIBUTE_TYPE_INVALID);
        }
    }
    let code = if template.is_null() || plan.templates.supports_all() {
        // SAFETY: the caller's arguments, unchanged.
        unsafe { forward::C_GetAttributeValue(session, object, template, count) }
    } else {
        // SAFETY: the caller says that so many attributes are there.
        let asked = unsafe { slice::from_raw_parts_mut(template, count as usize) };
        supported(session, object, asked, |attribute| {
            plan.templates.refusal_of(attribute).is_none()
        })
    };
    let mut claims = plan.claims;
    if plan.always_authenticate {
        claims.push(Claim {
            attribute: CKA_ALWAYS_AUTHENTICATE,
            value: true,
            key_type: None,
        });
    }
    if claims.iter().any(|claim| claim.key_type.is_some()) {
        let key_type = key_type(session, object);
        claims.retain(|claim| claim.key_type.is_none() || claim.key_type == key_type);
    }
    if code != CKR_OK || claims.is_empty() || template.is_null() {
        return code;
    }
    // SAFETY: the caller says that so many attributes are there.
    let attributes = unsafe { slice::from_raw_parts(template, count as usize) };
    let claimed = |attribute: &CK_ATTRIBUTE| {
        let mut claims = claims.iter();
        let claim = claims.find(|claim| claim.attribute == attribute.type_)?;
        (attribute.ulValueLen == 1 && !attribute.pValue.is_null()).then_some(claim.value)
    };
    if attributes
        .iter()
        .all(|attribute| claimed(attribute).is_none())
        || !is_private_key(session, object)
    {
        return code;
    }
    for attribute in attributes {
        if let Some(value) = claimed(attribute) {
            // SAFETY: one byte, by its length.
            unsafe { *attribute.pValue.cast::<CK_BBOOL>() = CK_BBOOL::from(value) };
        }
    }
    code
}

/// Reads those attributes that the token supports; of the others it says so, as section 5.7.5 of 3.1 wants it.
fn supported(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    asked: &mut [CK_ATTRIBUTE],
    is_supported: impl Fn(CK_ATTRIBUTE_TYPE) -> bool,
) -> CK_RV {
    let mut known: Vec<CK_ATTRIBUTE> = asked.to_vec();
    known.retain(|attribute| is_supported(attribute.type_));
    let count = known.len() as CK_ULONG;
    // SAFETY: so many attributes, with the caller's room for their values.
    let code = unsafe { forward::C_GetAttributeValue(session, object, known.as_mut_ptr(), count) };
    let all_known = known.len() == asked.len();
    let mut known = known.into_iter();
    for attribute in asked {
        if is_supported(attribute.type_) {
            attribute.ulValueLen = known.next().map_or(0, |known| known.ulValueLen);
        } else {
            attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
        }
    }
    match code {
        CKR_OK if !all_known => CKR_ATTRIBUTE_TYPE_INVALID,
        code => code,
    }
}
