//! Whether a failed C_Login was a wrong PIN, by its return value.

use cryptoki::error::RvError;

use super::{Code, Fault, FaultClass};
use crate::config::profile::Meaning;

/// Whether the token refused the PIN of a C_Login that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginVerdict {
    /// It refused the PIN, or does not accept further attempts.
    Refused,
    /// It did not compare the PIN.
    NotCompared,
    /// It may have compared the PIN, and counted it as a wrong one.
    Unknown,
}

impl Fault {
    /// The verdict about the PIN by this return value of C_Login. It is `Unknown` for every value that does not exclude a
    /// comparison: CKR_DEVICE_REMOVED and CKR_SESSION_CLOSED may be returned in the middle of a call (PKCS#11 3.1, section
    /// 5.1), and some modules return CKR_GENERAL_ERROR for a wrong PIN.
    pub(crate) fn verdict_on_login(&self) -> LoginVerdict {
        use RvError as R;
        match self.vendor.map(|code| code.meaning) {
            Some(Meaning::PinRefused) => return LoginVerdict::Refused,
            Some(Meaning::NotReachable | Meaning::State(_)) => return LoginVerdict::NotCompared,
            // It is about the making of keys: no document says it of a login.
            Some(Meaning::CardWanted) | None => {}
        }
        let code = match &self.code {
            Code::Ckr(code) => code,
            Code::Answer(_) => return LoginVerdict::Unknown,
            Code::Stale => return LoginVerdict::NotCompared,
        };
        match code {
            // The module refused the call before it compared the PIN.
            R::CryptokiNotInitialized
            | R::SessionHandleInvalid
            | R::SessionReadOnlyExists
            | R::TokenNotPresent
            | R::UserPinNotInitialized
            | R::UserTypeInvalid
            | R::UserAnotherAlreadyLoggedIn
            | R::UserTooManyTypes
            | R::FunctionNotSupported => LoginVerdict::NotCompared,
            // Vendors have their own codes for "locked" or "throttled".
            R::VendorDefined(_) | R::UnknownErrorCode(_) => LoginVerdict::Refused,
            _ if self.class() == FaultClass::Pin => LoginVerdict::Refused,
            _ => LoginVerdict::Unknown,
        }
    }
}
