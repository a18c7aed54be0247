//! False attributes of private keys: modules misreport custody attributes in both directions.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::slice;

use cryptoki_sys::*;

use crate::wrapped::wrapped;
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
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_GetAttributeValue(session, object, template, count) };
    let mut claims = plan.claims;
    if plan.always_authenticate {
        claims.push((CKA_ALWAYS_AUTHENTICATE, true));
    }
    if code != CKR_OK || claims.is_empty() || template.is_null() {
        return code;
    }
    // SAFETY: the caller says that so many attributes are there.
    let attributes = unsafe { slice::from_raw_parts(template, count as usize) };
    let claimed = |attribute: &CK_ATTRIBUTE| {
        let mut claims = claims.iter();
        let claim = claims.find(|(kind, _)| *kind == attribute.type_)?;
        (attribute.ulValueLen == 1 && !attribute.pValue.is_null()).then_some(claim.1)
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

fn is_private_key(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> bool {
    let mut class: CK_OBJECT_CLASS = 0;
    let mut attribute = CK_ATTRIBUTE {
        type_: CKA_CLASS,
        pValue: (&raw mut class).cast(),
        ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
    };
    let wrapped = wrapped().and_then(|list| list.C_GetAttributeValue);
    // SAFETY: one attribute with room for its value. It is not counted, because the client did not make this call.
    let code = wrapped.map(|call| unsafe { call(session, object, &raw mut attribute, 1) });
    code == Some(CKR_OK) && class == CKO_PRIVATE_KEY
}
