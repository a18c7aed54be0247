//! A token that says that it is a device: what clients make of an HSM can be tested without one.

#![expect(non_snake_case, reason = "the functions have the standard's names")]

use cryptoki_sys::*;

use crate::{forward, plan};

const MAKER: &str = "Chaos Devices";
const MODEL: &str = "Pretended HSM";

/// Over the whole field, padded as the standard has it.
fn write(field: &mut [CK_UTF8CHAR], text: &str) {
    let padded = text.bytes().chain(std::iter::repeat(b' '));
    for (place, byte) in field.iter_mut().zip(padded) {
        *place = byte;
    }
}

/// The maker's name and the model's in place of the program's.
pub(crate) fn name(info: &mut CK_TOKEN_INFO) {
    write(&mut info.manufacturerID, MAKER);
    write(&mut info.model, MODEL);
}

pub(crate) unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    // SAFETY: the caller's argument, unchanged.
    let code = unsafe { forward::C_GetInfo(info) };
    // SAFETY: the wrapped module has just written there, or it did not return CKR_OK.
    if let (CKR_OK, true, Some(info)) = (code, plan::current().device, unsafe { info.as_mut() }) {
        write(&mut info.manufacturerID, MAKER);
        write(&mut info.libraryDescription, MODEL);
    }
    code
}

pub(crate) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { forward::C_GetSlotInfo(slot, info) };
    // SAFETY: as above.
    if let (CKR_OK, true, Some(info)) = (code, plan::current().device, unsafe { info.as_mut() }) {
        info.flags |= CKF_HW_SLOT;
        write(&mut info.manufacturerID, MAKER);
    }
    code
}
