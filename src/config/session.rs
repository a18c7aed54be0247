//! `login` and `session` of `[[token]]`: when to call C_Login, and the kind of the sessions.

use serde::{Deserialize, Deserializer};

/// When to call C_Login. `Always` and `Never` are for tokens whose CKF_LOGIN_REQUIRED is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginPolicy {
    /// Log in if the token has CKF_LOGIN_REQUIRED.
    #[default]
    Auto,
    /// Log in even if the token says that it needs no login.
    Always,
    /// Never log in.
    Never,
}

/// The kind of the sessions that sign and read: some modules have read-write sessions only (AWS CloudHSM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionMode {
    /// Read-only, and read-write once the module has refused to open or to use a read-only one.
    #[default]
    Auto,
    /// Always read-only.
    ReadOnly,
    /// Always read-write.
    ReadWrite,
}

impl<'de> Deserialize<'de> for SessionMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || {
            serde::de::Error::custom(
                "`session` is \"auto\", \"read-only\" or \"read-write\"; how many there are is `sessions`",
            )
        };
        match String::deserialize(deserializer)
            .map_err(|_| wrong())?
            .as_str()
        {
            "auto" => Ok(Self::Auto),
            "read-only" => Ok(Self::ReadOnly),
            "read-write" => Ok(Self::ReadWrite),
            _ => Err(wrong()),
        }
    }
}
