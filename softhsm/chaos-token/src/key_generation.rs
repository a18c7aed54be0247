//! Templates and mechanisms that C_GenerateKeyPair refuses or wants, and keys that a search finds late: real tokens refuse
//! attributes that others require, each with another code.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use std::slice;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use crate::key_generation_plan::{Condition, TemplateRule};
use crate::wrapped_objects::has_key_with_id;
use crate::{calls, forward, plan_file};

/// Keys that a search does not find yet, and how many further searches do not.
static LATE: Mutex<(Vec<CK_OBJECT_HANDLE>, u64)> = Mutex::new((Vec::new(), 0));

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
    let unsupported = [plan.hidden_mechanisms, plan.refused_mechanisms].concat();
    let rules = plan.templates;
    let plan = plan.key_generation;
    // SAFETY: the caller says that so many attributes are there.
    let (public, private) = unsafe {
        (
            attributes(public, public_count),
            attributes(private, private_count),
        )
    };
    let refused = plan
        .rules
        .iter()
        .find(|rule| refuses(rule, if rule.public { public } else { private }));
    let unknown = public
        .iter()
        .chain(private)
        .find_map(|attribute| rules.refusal_of(attribute.type_));
    let taken_id = rules.unique_id.filter(|_| {
        let id = private.iter().find(|attribute| attribute.type_ == CKA_ID);
        // SAFETY: the caller's value, of this length.
        id.is_some_and(|id| has_key_with_id(session, unsafe { value(id) }))
    });
    let is_on_token = [public, private].iter().any(|template| {
        let mut attributes = template.iter();
        attributes.any(|attribute| attribute.type_ == CKA_TOKEN && flag(attribute) == Some(true))
    });
    let session_object = plan.no_session_keys.filter(|_| !is_on_token);
    // SAFETY: the caller's mechanism.
    let Some(mut mechanism) = (unsafe { mechanism.as_ref() }).copied() else {
        return CKR_ARGUMENTS_BAD;
    };
    let unsupported = unsupported
        .contains(&mechanism.mechanism)
        .then_some(CKR_MECHANISM_INVALID);
    if let Some(code) = unsupported
        .or(unknown)
        .or(refused.map(|refused| refused.code))
        .or(taken_id)
        .or(session_object)
    {
        return calls::begin("C_GenerateKeyPair").unwrap_or(code);
    }
    let mut substitutes = plan.substitutes.iter();
    if let Some(substitute) = substitutes.find(|one| one.listed == mechanism.mechanism) {
        mechanism.mechanism = substitute.wrapped;
    }
    let templates = [public, private].map(|template| match plan.label_is_id {
        true => label_is_id(template),
        false => template.to_vec(),
    });
    let [mut public, mut private] = templates;
    for (is_public, kind, value) in &rules.defaults {
        let template = if *is_public {
            &mut public
        } else {
            &mut private
        };
        if template.iter().all(|attribute| attribute.type_ != *kind) {
            let value = if *value { &CK_TRUE } else { &CK_FALSE };
            template.push(CK_ATTRIBUTE {
                type_: *kind,
                // The wrapped module only reads it.
                pValue: (&raw const *value).cast_mut().cast(),
                ulValueLen: 1,
            });
        }
    }
    // The wrapped module takes the curve in the public template only.
    private.retain(|attribute| attribute.type_ != CKA_EC_PARAMS);
    // SAFETY: the caller's arguments, and copies of the caller's templates, which point to the caller's values.
    let code = unsafe {
        forward::C_GenerateKeyPair(
            session,
            &raw mut mechanism,
            public.as_mut_ptr(),
            public.len() as CK_ULONG,
            private.as_mut_ptr(),
            private.len() as CK_ULONG,
            public_key,
            private_key,
        )
    };
    if code == CKR_OK && plan.late_searches > 0 && is_on_token {
        // SAFETY: the wrapped module has just written both.
        let pair = unsafe { [*public_key, *private_key] };
        *LATE.lock().unwrap_or_else(PoisonError::into_inner) = (pair.to_vec(), plan.late_searches);
    }
    code
}

pub(crate) unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
    match late.1 {
        0 => late.0.clear(),
        _ => late.1 -= 1,
    }
    drop(late);
    // SAFETY: the caller's arguments, unchanged.
    unsafe { forward::C_FindObjectsInit(session, template, count) }
}

pub(crate) unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    capacity: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_FindObjects(session, objects, capacity, count) };
    let late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
    if code != CKR_OK || late.0.is_empty() {
        return code;
    }
    // SAFETY: the wrapped module has written that many handles, and their number.
    let (found, count) = unsafe {
        (
            slice::from_raw_parts_mut(objects, *count as usize),
            &mut *count,
        )
    };
    let shown: Vec<_> = found
        .iter()
        .copied()
        .filter(|object| !late.0.contains(object))
        .collect();
    found[..shown.len()].copy_from_slice(&shown);
    *count = shown.len() as CK_ULONG;
    CKR_OK
}

fn refuses(rule: &TemplateRule, template: &[CK_ATTRIBUTE]) -> bool {
    let mut attributes = template.iter();
    let found = attributes.find(|attribute| attribute.type_ == rule.attribute);
    match (rule.condition, found) {
        (Condition::Present, found) => found.is_some(),
        (Condition::Absent, found) => found.is_none(),
        (Condition::Value(value), Some(found)) => flag(found) == Some(value),
        (Condition::LengthIsNot(length), Some(found)) => found.ulValueLen != length,
        (Condition::Value(_) | Condition::LengthIsNot(_), None) => false,
    }
}

/// # Safety
/// The value of the attribute is null or has that length, for as long as the call.
unsafe fn value(attribute: &CK_ATTRIBUTE) -> &[u8] {
    match attribute.pValue.is_null() {
        true => &[],
        // SAFETY: by the caller.
        false => unsafe {
            slice::from_raw_parts(attribute.pValue.cast(), attribute.ulValueLen as usize)
        },
    }
}

/// The value of an attribute of one byte.
fn flag(attribute: &CK_ATTRIBUTE) -> Option<bool> {
    let is_flag = attribute.ulValueLen == 1 && !attribute.pValue.is_null();
    // SAFETY: one byte, by its length.
    is_flag.then(|| unsafe { *attribute.pValue.cast::<CK_BBOOL>() } == CK_TRUE)
}

/// The template with one name for label and CKA_ID.
fn label_is_id(template: &[CK_ATTRIBUTE]) -> Vec<CK_ATTRIBUTE> {
    let named = |kind| template.iter().find(|attribute| attribute.type_ == kind);
    let Some(name) = named(CKA_ID).or_else(|| named(CKA_LABEL)) else {
        return template.to_vec();
    };
    let is_name = |attribute: &&CK_ATTRIBUTE| [CKA_ID, CKA_LABEL].contains(&attribute.type_);
    let others = template.iter().filter(|attribute| !is_name(attribute));
    let names = [CKA_ID, CKA_LABEL].map(|type_| CK_ATTRIBUTE { type_, ..*name });
    others.copied().chain(names).collect()
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
