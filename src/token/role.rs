//! The role of a login (CK_USER_TYPE), and the kind of session that it needs.

use cryptoki::session::UserType;

use super::session::Access;
use crate::config::LoginRole;

/// The role that logs in (CK_USER_TYPE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// CKU_USER
    User,
    /// CKU_SO
    SecurityOfficer,
    /// A vendor-defined role, by number (a crypto officer, for example).
    Vendor(u32),
}

impl From<LoginRole> for Role {
    fn from(role: LoginRole) -> Self {
        match role {
            LoginRole::User => Self::User,
            LoginRole::SecurityOfficer => Self::SecurityOfficer,
            LoginRole::Vendor(number) => Self::Vendor(number),
        }
    }
}

impl Role {
    pub(super) fn user_type(self) -> UserType {
        match self {
            Self::User => UserType::User,
            Self::SecurityOfficer => UserType::So,
            Self::Vendor(number) => UserType::VendorExtension(number),
        }
    }

    /// The SO can log in only in read-write sessions (CKR_SESSION_READ_ONLY_EXISTS).
    pub(super) fn access(self) -> Access {
        match self {
            Self::SecurityOfficer => Access::ReadWrite,
            Self::User | Self::Vendor(_) => Access::ReadOnly,
        }
    }
}
