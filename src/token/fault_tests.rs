//! The classes of return values, and what each means for a PIN.

use super::*;

#[test]
fn return_values_have_the_names_of_the_standard() {
    let fault = Fault::new(RvError::PinIncorrect, Function::Login);
    assert_eq!(fault.to_string(), "C_Login returned CKR_PIN_INCORRECT");
    let vendor = Fault::new(RvError::VendorDefined(0x8000_0105), Function::SignInit);
    assert_eq!(
        vendor.to_string(),
        "C_SignInit returned CKR_VENDOR_DEFINED + 0x80000105"
    );
}

#[test]
fn a_stale_session_has_no_return_value() {
    let fault = Fault::STALE;
    assert_eq!(fault.class(), FaultClass::Session);
    assert_eq!(fault.verdict_on_login(), LoginVerdict::NotCompared);
    let Failure { ckr, function, .. } = fault.failure();
    assert_eq!((ckr, function), (None, None));
}

#[test]
fn each_class_has_advice_of_its_own() {
    use FaultClass as C;
    let mut all: Vec<(C, &str)> = Vec::new();
    for code in [
        RvError::SessionClosed,
        RvError::KeyHandleInvalid,
        RvError::UserNotLoggedIn,
        RvError::PinIncorrect,
        RvError::MechanismInvalid,
        RvError::SessionCount,
        RvError::DeviceError,
        RvError::AttributeReadOnly,
    ] {
        let fault = Fault::new(code, Function::Sign);
        // Exhaustive, so that a new class needs a code above.
        match fault.class() {
            C::Session | C::Key | C::Login | C::Pin => {}
            C::Mechanism | C::SessionLimit | C::Device | C::Refused => {}
        }
        all.push((fault.class(), fault.advice()));
    }
    for (index, (class, advice)) in all.iter().enumerate() {
        assert!(!advice.is_empty() && !advice.ends_with('.'), "{class:?}");
        let others = &all[index + 1..];
        assert!(
            others
                .iter()
                .all(|(other, text)| other != class && text != advice),
            "{class:?}"
        );
    }
}

#[test]
fn no_pin_error_is_of_a_class_that_is_retried() {
    for code in [
        RvError::PinIncorrect,
        RvError::PinLocked,
        RvError::PinExpired,
        RvError::PinLenRange,
    ] {
        assert_eq!(
            Fault::new(code, Function::Login).class(),
            FaultClass::Pin,
            "{code:?}"
        );
    }
}
