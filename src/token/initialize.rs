//! C_Initialize, with the string that some modules want in pReserved.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};

use super::fault::Fault;
use super::raw::RawCalls;
use crate::config::initialize::InitializeString;

/// CKF_OS_LOCKING_OK: worker threads call the module concurrently, so it must use the system's locks.
fn init_args() -> CInitializeArgs {
    CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)
}

/// C_Initialize. False: other code in this process has called it already, so the module can be used, and must not be
/// finalised here.
pub(super) fn call_initialize(
    pkcs11: &Pkcs11,
    raw: Option<&RawCalls>,
    parameters: Option<&InitializeString>,
) -> Result<bool, Fault> {
    let initialized = match (parameters, raw) {
        (None, _) => pkcs11.initialize(init_args()).map_err(Fault::of),
        (Some(parameters), Some(raw)) => raw.initialize(parameters.as_c_str()),
        (Some(_), None) => Err(Fault::answer(
            "`initialize` cannot be given to a module that keeps a state per function list",
        )),
    };
    match initialized {
        Err(fault) if fault.is_already_initialized() => Ok(false),
        other => other.map(|()| true),
    }
}
