//! C_Initialize with a string in pReserved, which cryptoki does not pass.
#![expect(
    unsafe_code,
    reason = "a call through the module's function list; the block says why it holds"
)]

use std::ffi::{CStr, c_void};
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::Rv;
use cryptoki_sys::{CK_C_INITIALIZE_ARGS, CKF_OS_LOCKING_OK};

use super::super::fault::Fault;
use super::{RawCalls, present};

impl RawCalls {
    /// C_Initialize with CKF_OS_LOCKING_OK and a string in pReserved.
    pub(in crate::token) fn initialize(&self, parameters: &CStr) -> Result<(), Fault> {
        /// NSS has a member of its own in the place of pReserved, and its pReserved behind it.
        #[repr(C)]
        struct Arguments {
            standard: CK_C_INITIALIZE_ARGS,
            behind: *mut c_void,
        }
        let call = present(self.functions.C_Initialize, Function::Initialize)?;
        let mut arguments = Arguments {
            standard: CK_C_INITIALIZE_ARGS {
                CreateMutex: None,
                DestroyMutex: None,
                LockMutex: None,
                UnlockMutex: None,
                flags: CKF_OS_LOCKING_OK,
                pReserved: parameters.as_ptr().cast_mut().cast(),
            },
            behind: ptr::null_mut(),
        };
        // SAFETY: the arguments and the string outlive the call; modules that take a string only read it.
        let returned = unsafe { call((&raw mut arguments).cast()) };
        match Rv::from(returned) {
            Rv::Ok => Ok(()),
            Rv::Error(code) => Err(Fault::new(code, Function::Initialize)),
        }
    }
}
