//! A software token that describes itself as a hardware device, to test clients without an HSM.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use cryptoki_sys::*;

use crate::{forward, plan_file, scramble};

const MANUFACTURER: &str = "Chaos Devices";
const MODEL: &str = "Pretended HSM";

/// Writes a text into a field, padded with blanks by the standard.
pub(crate) fn write(field: &mut [CK_UTF8CHAR], text: &str) {
    let padded = text.bytes().chain(std::iter::repeat(b' '));
    for (target, byte) in field.iter_mut().zip(padded) {
        *target = byte;
    }
}

/// Writes another manufacturer and model.
pub(crate) fn rename(info: &mut CK_TOKEN_INFO) {
    write(&mut info.manufacturerID, MANUFACTURER);
    write(&mut info.model, MODEL);
}

pub(crate) unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    // SAFETY: the caller's argument, unchanged.
    let code = unsafe { forward::C_GetInfo(info) };
    let plan = plan_file::current();
    // SAFETY: the wrapped module has just written there, or it did not return CKR_OK.
    if let (CKR_OK, Some(info)) = (code, unsafe { info.as_mut() }) {
        if let Some(seed) = plan.scramble {
            scramble::module(info, seed);
        }
        if plan.device {
            write(&mut info.manufacturerID, MANUFACTURER);
            write(&mut info.libraryDescription, MODEL);
        }
        if let Some(name) = &plan.manufacturer {
            write(&mut info.manufacturerID, name);
        }
        if let Some(name) = &plan.description {
            write(&mut info.libraryDescription, name);
        }
    }
    code
}

pub(crate) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_GetSlotInfo(slot, info) };
    let plan = plan_file::current();
    // SAFETY: as above.
    if let (CKR_OK, Some(info)) = (code, unsafe { info.as_mut() }) {
        if let Some(seed) = plan.scramble {
            scramble::slot(info, seed);
        }
        if plan.device {
            info.flags |= CKF_HW_SLOT;
            write(&mut info.manufacturerID, MANUFACTURER);
        }
    }
    code
}
