//! What is known of a family of HSMs, as data: how it is told, what differs for it, and where each fact is from. The profiles,
//! the PIN guard and docs/hsm.md take it from here.

use std::fmt;

use super::{DeviceState, Profile};
use crate::config::{KeepAliveCall, SessionMode};

/// A family of HSMs whose module is one.
#[derive(Debug)]
pub struct Family {
    /// The profile that stands for it.
    pub profile: Profile,
    /// Its name in the configuration, and the name of its file in `hsm-config/`.
    pub name: &'static str,
    /// The product, as its vendor calls it.
    pub title: &'static str,
    /// How the file name of its module begins, in small letters.
    pub file_names: &'static [&'static str],
    /// What its C_GetInfo returns. Empty: not known, or shared with other families.
    pub library: &'static [LibraryText],
    /// The kind of the sessions, where it differs.
    pub session: Option<SessionMode>,
    /// The keep-alive call, where it differs.
    pub keep_alive_call: Option<KeepAliveCall>,
    /// Return values that are the vendor's, or mean something else than the standard says.
    pub return_values: &'static [ReturnValue],
    /// What an operator has to know.
    pub facts: &'static [Fact],
}

impl Family {
    /// Whether some return values of C_Login mean for it that no PIN was compared.
    pub fn has_outage_values(&self) -> bool {
        let lifts = |value: &ReturnValue| {
            matches!(value.meaning, Meaning::NotReachable | Meaning::State(_))
        };
        self.return_values.iter().any(lifts)
    }
}

/// How manufacturerID and libraryDescription of CK_INFO begin; letter case does not count.
#[derive(Debug)]
pub struct LibraryText {
    /// The beginning of manufacturerID.
    pub manufacturer: &'static str,
    /// The beginning of libraryDescription.
    pub description: &'static str,
    /// Where it was read.
    pub source: Source,
}

/// What a return value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The PIN was refused, or the role may not log in any more.
    PinRefused,
    /// The device was not reached: no PIN was compared.
    NotReachable,
    /// The device is in a state that its administrator has to end: no PIN was compared.
    State(DeviceState),
    /// A key is made only while a card of the device's administrators or operators is presented. Nothing is said of a login.
    CardWanted,
}

impl Meaning {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::PinRefused => "PIN refused",
            Self::NotReachable => "not reachable",
            Self::State(state) => state.name(),
            Self::CardWanted => "card wanted",
        }
    }
}

/// CKR_DEVICE_MEMORY (PKCS#11 3.1, section 5.1)
pub const CKR_DEVICE_MEMORY: u64 = 0x31;
/// CKR_PIN_EXPIRED
pub const CKR_PIN_EXPIRED: u64 = 0xa3;
/// CKR_USER_TYPE_INVALID
pub const CKR_USER_TYPE_INVALID: u64 = 0x103;

/// Return values of a family that follow each other and mean the same.
#[derive(Debug)]
pub struct ReturnValue {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// What they say.
    pub meaning: Meaning,
    /// What to do next.
    pub advice: &'static str,
    /// Where it is from.
    pub source: Source,
}

/// Something that an operator has to know.
#[derive(Debug)]
pub struct Fact {
    /// The fact, in sentences.
    pub text: &'static str,
    /// Where it is from.
    pub source: Source,
}

/// Where a fact is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A document of the vendor's, by its title; empty where the title is not on record.
    Vendor(&'static str),
    /// The vendor's code, by repository or header; empty where that is not on record.
    VendorCode(&'static str),
    /// Another party's code or document, by repository; empty where that is not on record.
    OtherCode(&'static str),
    /// What a user reported, and where; empty where that is not on record.
    Report(&'static str),
    /// Seen with this version, by the tests of this repository or beside them.
    Seen(&'static str),
    /// What follows from the others.
    Inference,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, place) = match self {
            Self::Vendor(title) => ("documented by the vendor", *title),
            Self::VendorCode(place) => ("read in the vendor's code", *place),
            Self::OtherCode(place) => ("read in another party's code or document", *place),
            Self::Report(place) => ("a user's report", *place),
            Self::Seen(version) => ("seen", *version),
            Self::Inference => ("our inference", ""),
        };
        f.write_str(kind)?;
        match place {
            "" => Ok(()),
            place => write!(f, ": {place}"),
        }
    }
}
