//! Whose PIN an attempt is for: each role has attempts of its own on record.

use std::borrow::Cow;

use cryptoki::session::UserType;

/// The role that a PIN is for. A key with CKA_ALWAYS_AUTHENTICATE may have another PIN than the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinRole {
    User,
    SecurityOfficer,
    /// A role of the vendor's, by its CK_USER_TYPE.
    Vendor(u32),
    PerSignature,
}

impl PinRole {
    /// The PIN that a login of `user` takes.
    pub(super) fn of(user: UserType) -> Self {
        match user {
            UserType::So => Self::SecurityOfficer,
            UserType::ContextSpecific => Self::PerSignature,
            UserType::VendorExtension(number) => Self::Vendor(number),
            UserType::User => Self::User,
        }
    }

    pub(super) fn name(self) -> Cow<'static, str> {
        match self {
            Self::User => "user".into(),
            Self::SecurityOfficer => "so".into(),
            Self::Vendor(number) => format!("{number:#x}").into(),
            Self::PerSignature => "context-specific".into(),
        }
    }
}
