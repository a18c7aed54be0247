//! What return values of one family mean, where the standard leaves that to the vendor or the vendor departs from it. The rows
//! are in `config::profile`: family, value, meaning, next step, source.
//!
//! The values are from the vendors' headers and documents; none was seen on a device. A value that is in no row stays on the
//! careful side: after C_Login it counts as a refused PIN.

use cryptoki::error::RvError;

use super::{Code, Fault};
use crate::config::profile::{
    CKR_DEVICE_MEMORY, CKR_PIN_EXPIRED, CKR_USER_TYPE_INVALID, Meaning, Profile, ProfileChoice,
    ReturnValue,
};

impl Fault {
    /// The fault as this family means it.
    pub(in crate::token) fn of_profile(mut self, profile: Profile) -> Self {
        self.vendor = self.meaning(profile);
        self
    }

    /// The fault of a C_Login as this family means it. Where only the module itself tells its family, none of its return values
    /// is taken for "no PIN was compared": a wrong guess would send a refused PIN again.
    pub(in crate::token) fn of_login(mut self, choice: ProfileChoice) -> Self {
        let believed =
            |value: &&ReturnValue| value.meaning == Meaning::PinRefused || choice.lifts_refusals();
        self.vendor = self.meaning(choice.profile).filter(believed);
        self
    }

    fn meaning(&self, profile: Profile) -> Option<&'static ReturnValue> {
        let Code::Ckr(code) = &self.code else {
            return None;
        };
        let number = number(code)?;
        let mut values = profile.family()?.return_values.iter();
        values.find(|value| (value.first..=value.last).contains(&number))
    }
}

/// The number of the codes that are in the table.
fn number(code: &RvError) -> Option<u64> {
    match code {
        RvError::VendorDefined(number) | RvError::UnknownErrorCode(number) => Some(*number),
        RvError::UserTypeInvalid => Some(CKR_USER_TYPE_INVALID),
        RvError::DeviceMemory => Some(CKR_DEVICE_MEMORY),
        RvError::PinExpired => Some(CKR_PIN_EXPIRED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::super::{FaultClass, LoginVerdict};
    use super::*;
    use crate::config::profile::ProfileOrigin;

    #[test]
    fn an_outage_is_no_refused_pin_where_the_family_says_so() {
        let outage = Fault::new(RvError::VendorDefined(0x8000_0020), Function::Login);
        assert_eq!(
            outage.verdict_on_login(),
            LoginVerdict::Refused,
            "of no family: careful"
        );
        let outage = outage.of_profile(Profile::Luna);
        assert_eq!(outage.verdict_on_login(), LoginVerdict::NotCompared);
        assert_eq!(outage.class(), FaultClass::Device);
        let refused = Fault::new(RvError::VendorDefined(0x8000_0067), Function::Login);
        let refused = refused.of_profile(Profile::Luna);
        assert_eq!(refused.verdict_on_login(), LoginVerdict::Refused);
        assert_eq!(refused.class(), FaultClass::Pin);
        let unknown = Fault::new(RvError::VendorDefined(0x8000_0999), Function::Login);
        assert_eq!(
            unknown.of_profile(Profile::Luna).verdict_on_login(),
            LoginVerdict::Refused
        );
    }

    #[test]
    fn a_module_that_names_itself_lifts_no_refusal() {
        let choice = |origin| ProfileChoice {
            profile: Profile::Luna,
            origin,
            contradiction: None,
        };
        let outage = || Fault::new(RvError::VendorDefined(0x8000_0020), Function::Login);
        for (origin, verdict) in [
            (ProfileOrigin::Configured, LoginVerdict::NotCompared),
            (ProfileOrigin::FileName, LoginVerdict::NotCompared),
            (ProfileOrigin::LibraryInfo, LoginVerdict::Refused),
        ] {
            let told = outage().of_login(choice(origin));
            assert_eq!(told.verdict_on_login(), verdict, "{origin:?}");
        }
        let contradicted = ProfileChoice {
            contradiction: Some(Profile::SoftHsm),
            ..choice(ProfileOrigin::FileName)
        };
        let told = outage().of_login(contradicted);
        assert_eq!(told.verdict_on_login(), LoginVerdict::Refused);
        // Elsewhere the value is read as the family means it.
        assert_eq!(
            outage().of_profile(Profile::Luna).class(),
            FaultClass::Device
        );
        // What says that a PIN was refused is believed.
        let expired = Fault::new(RvError::PinExpired, Function::Login);
        let azure = ProfileChoice {
            profile: Profile::AzureCloudHsm,
            ..choice(ProfileOrigin::LibraryInfo)
        };
        assert!(expired.of_login(azure).advice().contains("Azure Cloud HSM"));
    }
}
