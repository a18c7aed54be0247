//! Classifies PKCS#11 return values (CKR_): how to react to each, and whether a login may have used up an attempt. Only the
//! code counts, never a message's text.

mod advice;
mod device_state;
mod login_verdict;
mod vendor_code;

use std::fmt::{self, Display};

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

pub(crate) use crate::config::profile::{Clearance, DeviceState};
use crate::config::profile::{Meaning, ReturnValue};
use crate::ledger::Failure;
pub(crate) use login_verdict::LoginVerdict;

/// A PKCS#11 call that did not return CKR_OK.
#[derive(Clone, Debug)]
pub struct Fault {
    function: Option<Function>,
    code: Code,
    /// What the token's family means by the code.
    vendor: Option<&'static ReturnValue>,
    /// Another session, which is not read-only, may do what was refused.
    in_read_only_session: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Code {
    /// A CKR_ value of the standard or of the vendor.
    Ckr(RvError),
    /// The module's output could not be used. There is no CKR_ value, but this text.
    Answer(String),
    /// No call was made, because the session is of an earlier C_Initialize.
    Stale,
}

/// The class of a fault: how to react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultClass {
    /// The session is invalid: a new one may work.
    Session,
    /// The key's handle is invalid: search the key again.
    Key,
    /// The token requires a login.
    Login,
    /// The PIN was refused, or must not be sent. Never retried.
    Pin,
    /// The token does not support this mechanism, whatever its mechanism list says.
    Mechanism,
    /// The token has no further session at present.
    SessionLimit,
    /// The module, the token or the connection to it fails.
    Device,
    /// The call is not permitted or not well-formed: retrying it changes nothing.
    Refused,
}

impl FaultClass {
    /// Its name in the ledger and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Key => "key",
            Self::Login => "login",
            Self::Pin => "pin",
            Self::Mechanism => "mechanism",
            Self::SessionLimit => "session-limit",
            Self::Device => "device",
            Self::Refused => "refused",
        }
    }
}

impl Fault {
    /// The fault of a session of an earlier C_Initialize. A new session may work.
    pub(super) const STALE: Self = Self {
        function: None,
        code: Code::Stale,
        vendor: None,
        in_read_only_session: false,
    };

    /// A call's error, by the standard alone. Outside of this folder [`super::session::Session::fault`] makes a fault, so that
    /// what the token's family means by the code is never left out.
    pub(super) fn of(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, function) => Self::new(code, function),
            Error::NullFunctionPointer => {
                Self::answer("the module does not have the function that was called")
            }
            Error::MissingSymbol(symbol) => {
                Self::answer(format!("the module has no symbol {symbol}"))
            }
            other => Self::answer(format!("the module's answer could not be used: {other}")),
        }
    }

    pub(crate) fn new(code: RvError, function: Function) -> Self {
        Self {
            function: Some(function),
            code: Code::Ckr(code),
            vendor: None,
            in_read_only_session: false,
        }
    }

    pub(crate) fn answer(text: impl Into<String>) -> Self {
        Self {
            function: None,
            code: Code::Answer(text.into()),
            vendor: None,
            in_read_only_session: false,
        }
    }

    /// CKR_CRYPTOKI_ALREADY_INITIALIZED
    pub(super) fn is_already_initialized(&self) -> bool {
        self.code == Code::Ckr(RvError::CryptokiAlreadyInitialized)
    }

    /// CKR_USER_ALREADY_LOGGED_IN: the token did not compare the PIN, because an earlier login of this application holds.
    pub(super) fn is_already_logged_in(&self) -> bool {
        self.code == Code::Ckr(RvError::UserAlreadyLoggedIn)
    }

    /// Whether a module returns this from C_LoginUser that has the function and no named users: CKR_FUNCTION_NOT_SUPPORTED,
    /// NSS softokn 3.87 CKR_OPERATION_NOT_INITIALIZED.
    pub(super) fn is_no_login_by_name(&self) -> bool {
        matches!(
            self.code,
            Code::Ckr(RvError::FunctionNotSupported | RvError::OperationNotInitialized)
        )
    }

    /// CKR_SESSION_READ_ONLY: a read-write session may do what was refused.
    pub(super) fn is_session_read_only(&self) -> bool {
        self.code == Code::Ckr(RvError::SessionReadOnly)
    }

    /// The fault as one of its session: a read-write session may do what was refused. The return value stays on record.
    pub(super) fn of_read_only_session(self) -> Self {
        Self {
            in_read_only_session: true,
            ..self
        }
    }

    /// Whether a module that has no read-only sessions returns this from C_OpenSession (AWS CloudHSM: CKR_FUNCTION_FAILED).
    pub(super) fn may_be_of_a_read_only_session(&self) -> bool {
        use RvError as R;
        matches!(
            &self.code,
            Code::Ckr(
                R::FunctionFailed
                    | R::FunctionNotSupported
                    | R::FunctionRejected
                    | R::ArgumentsBad
                    | R::GeneralError
                    | R::SessionReadOnly
                    | R::SessionParallelNotSupported
                    | R::SessionReadWriteSoExists
                    | R::ActionProhibited
            )
        )
    }

    /// Whether the code names no cause: the request, the device or the connection to it may be at fault.
    pub(crate) fn names_no_cause(&self) -> bool {
        use RvError as R;
        self.vendor.is_none()
            && matches!(
                &self.code,
                Code::Ckr(
                    R::GeneralError
                        | R::FunctionFailed
                        | R::VendorDefined(_)
                        | R::UnknownErrorCode(_)
                )
            )
    }

    /// Whether the module answered one request with this, and may answer others: nothing that ends a session, and no device
    /// that is away.
    pub(super) fn is_of_one_request(&self) -> bool {
        let answered =
            matches!(&self.code, Code::Ckr(code) if !matches!(code, RvError::SlotIdInvalid));
        answered
            && (self.names_no_cause()
                || matches!(self.class(), FaultClass::Refused | FaultClass::Mechanism))
    }

    /// Whether the call returned a CKR_ value; otherwise it was good, and its result cannot be used.
    pub(crate) fn is_return_value(&self) -> bool {
        matches!(self.code, Code::Ckr(_))
    }

    /// CKR_MECHANISM_INVALID
    pub(crate) fn is_mechanism_invalid(&self) -> bool {
        self.code == Code::Ckr(RvError::MechanismInvalid)
    }

    /// CKR_FUNCTION_NOT_SUPPORTED
    pub(crate) fn is_function_not_supported(&self) -> bool {
        self.code == Code::Ckr(RvError::FunctionNotSupported)
    }

    /// The fault as a field of a ledger record.
    pub(crate) fn failure(&self) -> Failure {
        Failure {
            class: self.class().name(),
            ckr: match &self.code {
                Code::Ckr(code) => Some(ckr_name(code)),
                Code::Answer(_) | Code::Stale => None,
            },
            function: self.function.map(|function| format!("C_{function:?}")),
        }
    }

    /// The class, by return value.
    pub fn class(&self) -> FaultClass {
        use RvError as R;
        if self.in_read_only_session {
            return FaultClass::Session;
        }
        match self.vendor.map(|code| code.meaning) {
            Some(Meaning::PinRefused) => return FaultClass::Pin,
            Some(Meaning::NotReachable | Meaning::State(_)) => return FaultClass::Device,
            Some(Meaning::CardWanted) => return FaultClass::Refused,
            None => {}
        }
        let code = match &self.code {
            Code::Ckr(code) => code,
            Code::Answer(_) => return FaultClass::Device,
            Code::Stale => return FaultClass::Session,
        };
        match code {
            R::SessionHandleInvalid | R::SessionClosed | R::OperationActive => FaultClass::Session,
            R::OperationNotInitialized => FaultClass::Session,
            R::KeyHandleInvalid | R::ObjectHandleInvalid | R::KeyChanged => FaultClass::Key,
            R::UserNotLoggedIn => FaultClass::Login,
            R::PinIncorrect
            | R::PinInvalid
            | R::PinLenRange
            | R::PinExpired
            | R::PinLocked
            | R::PinTooWeak
            | R::NewPinMode
            | R::NextOtp
            | R::UserPinNotInitialized
            | R::UserTypeInvalid
            | R::UserAnotherAlreadyLoggedIn
            | R::UserTooManyTypes => FaultClass::Pin,
            R::MechanismInvalid
            | R::MechanismParamInvalid
            | R::KeyTypeInconsistent
            | R::KeySizeRange
            | R::DataLenRange
            | R::DataInvalid
            | R::FunctionNotSupported => FaultClass::Mechanism,
            R::SessionCount => FaultClass::SessionLimit,
            // Modules that have no session left (CryptoAuthLib). The host's memory is not better after C_Initialize either.
            R::HostMemory if matches!(self.function, Some(Function::OpenSession)) => {
                FaultClass::SessionLimit
            }
            R::KeyFunctionNotPermitted
            | R::ActionProhibited
            // A person at the device, or a missing capability (YubiHSM 2).
            | R::FunctionRejected
            | R::AttributeReadOnly
            | R::AttributeSensitive
            | R::AttributeTypeInvalid
            | R::AttributeValueInvalid
            | R::TemplateIncomplete
            | R::TemplateInconsistent
            | R::ArgumentsBad
            | R::SessionReadOnly
            | R::TokenWriteProtected
            | R::CurveNotSupported
            | R::DomainParamsInvalid => FaultClass::Refused,
            _ => FaultClass::Device,
        }
    }

    /// Whether another template may be accepted where C_GenerateKeyPair returned this. Modules return almost any code for an
    /// attribute that they do not take (CKR_GENERAL_ERROR: TPM2, NSS); session, device, login and user are not about the
    /// template.
    pub(crate) fn may_be_of_the_template(&self) -> bool {
        use RvError as R;
        let Code::Ckr(code) = &self.code else {
            return false;
        };
        match code {
            _ if self.vendor.is_some() => false,
            _ if self.names_no_cause() => true,
            R::SessionReadOnly | R::TokenWriteProtected | R::MechanismInvalid => false,
            _ => matches!(self.class(), FaultClass::Refused | FaultClass::Mechanism),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, &self.code) {
            (Some(function), Code::Ckr(code)) => {
                write!(f, "C_{function:?} returned {}", ckr_name(code))
            }
            (None, Code::Ckr(code)) => f.write_str(&ckr_name(code)),
            (_, Code::Answer(text)) => f.write_str(text),
            (_, Code::Stale) => f.write_str("the session is of an earlier C_Initialize"),
        }
    }
}

/// `PinIncorrect` → `CKR_PIN_INCORRECT`; values outside the standard are shown as numbers.
fn ckr_name(code: &RvError) -> String {
    match code {
        RvError::VendorDefined(number) => format!("CKR_VENDOR_DEFINED + {number:#x}"),
        RvError::UnknownErrorCode(number) => format!("the unknown return value {number:#x}"),
        RvError::NewPinMode => "CKR_NEW_PIN_MODE".to_owned(),
        RvError::NextOtp => "CKR_NEXT_OTP".to_owned(),
        known => format!("{known:?}")
            .chars()
            .fold("CKR".to_owned(), |mut name, c| {
                if c.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(c.to_ascii_uppercase());
                name
            }),
    }
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
