//! Reads objects of the wrapped module. These calls are not counted, because the client did not make them.

use cryptoki_sys::*;

use crate::wrapped::wrapped;

/// The value of an attribute, as its bytes.
pub(crate) fn attribute(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attribute_type: CK_ATTRIBUTE_TYPE,
) -> Option<Vec<u8>> {
    let call = wrapped()?.C_GetAttributeValue?;
    let mut value = vec![0_u8; 512];
    let mut attribute = CK_ATTRIBUTE {
        type_: attribute_type,
        pValue: value.as_mut_ptr().cast(),
        ulValueLen: value.len() as CK_ULONG,
    };
    // SAFETY: one attribute with room for its value.
    let code = unsafe { call(session, object, &raw mut attribute, 1) };
    let length = usize::try_from(attribute.ulValueLen).ok()?;
    value.truncate(length);
    (code == CKR_OK).then_some(value)
}

fn number(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attribute_type: CK_ATTRIBUTE_TYPE,
) -> Option<CK_ULONG> {
    let value = attribute(session, object, attribute_type)?;
    Some(CK_ULONG::from_ne_bytes(value.try_into().ok()?))
}

pub(crate) fn is_private_key(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> bool {
    number(session, object, CKA_CLASS) == Some(CKO_PRIVATE_KEY)
}

pub(crate) fn key_type(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> Option<CK_KEY_TYPE> {
    number(session, object, CKA_KEY_TYPE)
}

/// Whether a private key has this CKA_ID. The session must have no search of its own.
pub(crate) fn has_key_with_id(session: CK_SESSION_HANDLE, id: &[u8]) -> bool {
    let Some(list) = wrapped() else { return false };
    let (Some(begin), Some(next), Some(end)) = (
        list.C_FindObjectsInit,
        list.C_FindObjects,
        list.C_FindObjectsFinal,
    ) else {
        return false;
    };
    let mut class = CKO_PRIVATE_KEY;
    let mut template = [
        CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw mut class).cast(),
            ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
        },
        CK_ATTRIBUTE {
            type_: CKA_ID,
            pValue: id.as_ptr().cast_mut().cast(),
            ulValueLen: id.len() as CK_ULONG,
        },
    ];
    let (mut object, mut count) = (0, 0);
    // SAFETY: two attributes, and room for one handle. The module only reads the template.
    unsafe {
        if begin(session, template.as_mut_ptr(), 2) != CKR_OK {
            return false;
        }
        next(session, &raw mut object, 1, &raw mut count);
        end(session);
    }
    count > 0
}
