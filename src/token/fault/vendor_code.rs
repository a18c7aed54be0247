//! What return values of one family mean, where the standard leaves that to the vendor or the vendor departs from it. A
//! reviewer can read each row: family, value, meaning, next step.
//!
//! The values are from the vendors' headers and documents; none was seen on a device. A value that is in no row stays on the
//! careful side: after C_Login it counts as a refused PIN.

use cryptoki::error::RvError;

use super::{Code, DeviceState, Fault};
use crate::config::profile::Profile;

/// What a return value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The PIN was refused, or the role may not log in any more.
    PinRefused,
    /// The device was not reached: no PIN was compared.
    NotReachable,
    /// The device is in a state that its administrator has to end: no PIN was compared.
    State(DeviceState),
    /// A key is made only while a card of the device's administrators or operators is presented.
    CardWanted,
}

/// A return value of a family.
#[derive(Debug)]
pub(super) struct VendorCode {
    profile: Profile,
    first: u64,
    last: u64,
    pub(super) meaning: Meaning,
    /// What to do next.
    pub(super) advice: &'static str,
}

const fn row(
    profile: Profile,
    (first, last): (u64, u64),
    meaning: Meaning,
    advice: &'static str,
) -> VendorCode {
    VendorCode {
        profile,
        first,
        last,
        meaning,
        advice,
    }
}

const LUNA_NETWORK: &str = "the Luna client did not reach its HSM: look at the network, at `vtl verify` and at the client's Chrystoki.conf";
const LUNA_PIN: &str = "do not repeat it: ten failed logins of the officer lock both roles of the partition; correct the PIN source first";

/// CKR_USER_TYPE_INVALID (PKCS#11 3.1, section 5.1.7)
const USER_TYPE_INVALID: u64 = 0x103;
/// CKR_DEVICE_MEMORY
const DEVICE_MEMORY: u64 = 0x31;

static CODES: [VendorCode; 15] = [
    row(
        Profile::Luna,
        (0x8000_0007, 0x8000_0007),
        Meaning::PinRefused,
        "the role is locked out after too many failed logins: the partition's security officer has to unlock it",
    ),
    row(
        Profile::Luna,
        (0x8000_001a, 0x8000_001a),
        Meaning::PinRefused,
        LUNA_PIN,
    ),
    row(
        Profile::Luna,
        (0x8000_0067, 0x8000_0067),
        Meaning::PinRefused,
        LUNA_PIN,
    ),
    row(
        Profile::Luna,
        (0x8000_001f, 0x8000_0020),
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    row(
        Profile::Luna,
        (0x8000_0023, 0x8000_0024),
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    row(
        Profile::Luna,
        (0x8000_002b, 0x8000_002b),
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    row(
        Profile::Luna,
        (0x8000_002d, 0x8000_002e),
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    row(
        Profile::Luna,
        (0x8000_0045, 0x8000_0066),
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    row(
        Profile::Luna,
        (0x8000_0035, 0x8000_0035),
        Meaning::State(DeviceState::AuditLogFull),
        "the HSM's audit log is full: its auditor has to archive it",
    ),
    row(
        Profile::Luna,
        (0x8000_0076, 0x8000_0076),
        Meaning::State(DeviceState::Tampered),
        "the HSM reports tampering: its security officer has to look at it",
    ),
    row(
        Profile::Luna,
        (0x8000_008d, 0x8000_008d),
        Meaning::State(DeviceState::RestartRequired),
        "the HSM has to be restarted by its administrator",
    ),
    row(
        Profile::Nethsm,
        (USER_TYPE_INVALID, USER_TYPE_INVALID),
        Meaning::NotReachable,
        "the NetHSM was not reached at the login, or does not know this user: look at the network and at the `operator` of its p11nethsm.conf",
    ),
    row(
        Profile::YubiHsm2,
        (DEVICE_MEMORY, DEVICE_MEMORY),
        Meaning::State(DeviceState::AuditLogFull),
        "the YubiHSM's log of 62 entries may be full: fetch it, and set its log index",
    ),
    row(
        Profile::AzureCloudHsm,
        (0xa3, 0xa3),
        Meaning::PinRefused,
        "Azure Cloud HSM says CKR_PIN_EXPIRED of a wrong PIN: it is user:password of a crypto user; correct the PIN source first",
    ),
    row(
        Profile::Nshield,
        (0x8000_00e0, 0x8000_00e0),
        Meaning::CardWanted,
        "an nShield in FIPS 140 level 3 makes keys only while a card of its Security World is presented: put an ACS or OCS card into the reader and try again, \
         or type `generatekey pkcs11 protect=token type=RSA size=2048 plainname=c3` there, and write the key's URI into `key` of [c3]",
    ),
];

impl Fault {
    /// The fault as this family means it.
    pub(in crate::token) fn of_profile(mut self, profile: Profile) -> Self {
        if let Code::Ckr(code) = &self.code {
            let value = value(code);
            self.vendor = CODES.iter().find(|row| {
                row.profile == profile
                    && value.is_some_and(|value| (row.first..=row.last).contains(&value))
            });
        }
        self
    }
}

/// The number of the codes that are in the table.
fn value(code: &RvError) -> Option<u64> {
    match code {
        RvError::VendorDefined(value) | RvError::UnknownErrorCode(value) => Some(*value),
        RvError::UserTypeInvalid => Some(USER_TYPE_INVALID),
        RvError::DeviceMemory => Some(DEVICE_MEMORY),
        RvError::PinExpired => Some(0xa3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::super::{FaultClass, LoginVerdict};
    use super::*;

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
    fn each_row_has_a_range_and_advice() {
        for row in &CODES {
            assert!(
                row.first <= row.last && !row.advice.is_empty() && !row.advice.ends_with('.'),
                "{row:?}"
            );
        }
    }
}
