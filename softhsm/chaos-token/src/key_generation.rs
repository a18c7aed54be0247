//! Templates that C_GenerateKeyPair refuses: real tokens refuse attributes that others require, each with another code.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::slice;

use cryptoki_sys::*;

use crate::{calls, forward, plan_file};

pub(crate) unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let plan = plan_file::current();
    // SAFETY: the caller says that so many attributes are there.
    let templates = unsafe {
        [
            (true, attributes(public, public_count)),
            (false, attributes(private, private_count)),
        ]
    };
    let refused = plan.refused_attributes.iter().find(|refused| {
        templates.iter().any(|(is_public, template)| {
            *is_public == refused.public
                && template
                    .iter()
                    .any(|attribute| attribute.type_ == refused.attribute)
        })
    });
    let session_object = plan.no_session_keys.filter(|_| {
        let on_token = |attribute: &CK_ATTRIBUTE| {
            attribute.type_ == CKA_TOKEN
                && attribute.ulValueLen == 1
                // SAFETY: one byte, by its length.
                && unsafe { *attribute.pValue.cast::<CK_BBOOL>() } == CK_TRUE
        };
        !templates
            .iter()
            .any(|(_, template)| template.iter().any(on_token))
    });
    if let Some(code) = refused.map(|refused| refused.code).or(session_object) {
        return calls::begin("C_GenerateKeyPair").unwrap_or(code);
    }
    // SAFETY: the caller's arguments, unchanged.
    unsafe {
        forward::C_GenerateKeyPair(
            session,
            mechanism,
            public,
            public_count,
            private,
            private_count,
            public_key,
            private_key,
        )
    }
}

/// # Safety
/// `template` is null or has `count` attributes, for as long as the call.
unsafe fn attributes<'a>(template: *const CK_ATTRIBUTE, count: CK_ULONG) -> &'a [CK_ATTRIBUTE] {
    match template.is_null() {
        true => &[],
        // SAFETY: by the caller.
        false => unsafe { slice::from_raw_parts(template, count as usize) },
    }
}
