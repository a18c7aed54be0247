//! `login`, `user`, `user_name`, `session` and `keep_alive_call` of `[[token]]`: when to call C_Login, for whom, the kind of the sessions,
//! and the call that keeps an idle one alive.

use serde::{Deserialize, Deserializer};

/// When to call C_Login. `Always` and `Never` are for tokens whose CKF_LOGIN_REQUIRED is wrong. Except with `Never`, a token
/// whose logins turn out to be for one session gets one in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginPolicy {
    /// Log in if the token has CKF_LOGIN_REQUIRED.
    #[default]
    Auto,
    /// Log in even if the token says that it needs no login.
    Always,
    /// Never log in.
    Never,
    /// Log in in each session, even if the token says that it needs no login (Nitrokey NetHSM).
    PerSession,
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

impl SessionMode {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        }
    }
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

/// The role that logs in to sign (CK_USER_TYPE): the least privileged one that may use the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginRole {
    /// CKU_USER
    #[default]
    User,
    /// CKU_SO
    SecurityOfficer,
    /// A role of the vendor's, by its number (the Crypto User of a Luna HSM is 0x80000001).
    Vendor(u32),
}

impl LoginRole {
    /// What a role is written as.
    pub const FORM: &'static str =
        "write user, so, or a number of the vendor (0x80000000 and above)";

    /// `user`, `so` or a number in decimal or hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "user" => Some(Self::User),
            "so" => Some(Self::SecurityOfficer),
            number => match number.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => number.parse().ok(),
            }
            .and_then(Self::vendor),
        }
    }

    /// CKU_VENDOR_DEFINED: the standard defines or reserves all smaller numbers.
    fn vendor(number: u32) -> Option<Self> {
        (number >= 0x8000_0000).then_some(Self::Vendor(number))
    }
}

impl<'de> Deserialize<'de> for LoginRole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Name(String),
        }
        let role = match Written::deserialize(deserializer) {
            Ok(Written::Number(number)) => Self::vendor(number),
            Ok(Written::Name(name)) => Self::parse(&name),
            Err(_) => None,
        };
        role.ok_or_else(|| serde::de::Error::custom(format!("`user` is a role: {}", Self::FORM)))
    }
}

/// The name of a user, without a default: printable UTF-8.
pub(super) fn user_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer).ok();
    let name = name.filter(|name| is_user_name(name)).map(Some);
    name.ok_or_else(|| serde::de::Error::custom(format!("`user_name` is {USER_NAME_FORM}")))
}

/// What the name of a user is written as.
pub const USER_NAME_FORM: &str =
    "the name that the token knows the user by, in printable characters and without its PIN";

/// Whether a text can be the name of a user: printable, and not empty.
pub fn is_user_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

/// The call that keeps an idle session alive. Several modules answer C_GetSessionInfo without asking the device (YubiHSM 2,
/// NetHSM): then it keeps no connection open, and detects no loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepAliveCall {
    /// C_GetSessionInfo
    #[default]
    SessionInfo,
    /// C_GenerateRandom of 16 bytes
    Random,
    /// C_FindObjectsInit, C_FindObjects and C_FindObjectsFinal for a label that no object has
    Find,
    /// None: the module or its daemon keeps the connection open.
    None,
}

impl KeepAliveCall {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionInfo => "session-info",
            Self::Random => "random",
            Self::Find => "find",
            Self::None => "none",
        }
    }
}
