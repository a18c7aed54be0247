//! Which state of a device a return value names. Only a code that names a state does: CKR_DEVICE_ERROR and the like say
//! nothing of the cause.

use cryptoki::error::RvError;

use super::{Code, Fault};
use crate::config::profile::{Clearance, DeviceState, Meaning};

impl Fault {
    /// The state that the return value names; `None` if it names none.
    pub(crate) fn device_state(&self) -> Option<DeviceState> {
        match self.vendor.map(|code| code.meaning) {
            Some(Meaning::State(state)) => return Some(state),
            Some(Meaning::NotReachable) => return Some(DeviceState::NotReachable),
            Some(Meaning::PinRefused | Meaning::CardWanted) => return None,
            None => {}
        }
        let Code::Ckr(code) = &self.code else {
            return None;
        };
        match code {
            RvError::DeviceMemory => Some(DeviceState::DeviceMemory),
            RvError::HostMemory => Some(DeviceState::HostMemory),
            RvError::TokenNotPresent => Some(DeviceState::TokenNotPresent),
            RvError::DeviceRemoved => Some(DeviceState::DeviceRemoved),
            RvError::TokenNotRecognized => Some(DeviceState::TokenNotRecognized),
            _ => None,
        }
    }

    /// Whether the code says that the token or its session is gone, so that no call in it can succeed.
    pub(crate) fn is_loss_of_token(&self) -> bool {
        use RvError as R;
        let gone = self
            .device_state()
            .is_some_and(|state| state.clearance() == Clearance::Return);
        gone || matches!(
            &self.code,
            Code::Ckr(R::CryptokiNotInitialized | R::SlotIdInvalid | R::UserNotLoggedIn)
        )
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;
    use crate::config::profile::Profile;

    #[test]
    fn a_code_that_names_no_cause_is_no_state() {
        for code in [
            RvError::DeviceError,
            RvError::GeneralError,
            RvError::VendorDefined(0x8000_0035),
        ] {
            let fault = Fault::new(code, Function::Sign);
            assert_eq!(fault.device_state(), None, "{fault}");
        }
        let fault = Fault::new(RvError::VendorDefined(0x8000_0035), Function::Sign);
        let state = fault.of_profile(Profile::Luna).device_state();
        assert_eq!(state, Some(DeviceState::AuditLogFull));
        assert_eq!(state.map(DeviceState::clearance), Some(Clearance::Operator));
    }
}
