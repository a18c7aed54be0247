//! Who logs in.

use cryptoki::session::UserType;

use super::session::Access;

/// Which role logs in (CK_USER_TYPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// CKU_USER
    User,
    /// CKU_SO
    SecurityOfficer,
    /// A role of the vendor, by number (a crypto officer, say).
    Vendor(u32),
}

impl Role {
    pub(super) fn user_type(self) -> UserType {
        match self {
            Self::User => UserType::User,
            Self::SecurityOfficer => UserType::So,
            Self::Vendor(number) => UserType::VendorExtension(number),
        }
    }

    /// CKR_SESSION_READ_ONLY_EXISTS: the SO can only be in read-write sessions.
    pub(super) fn access(self) -> Access {
        match self {
            Self::SecurityOfficer => Access::ReadWrite,
            Self::User | Self::Vendor(_) => Access::ReadOnly,
        }
    }
}
