//! Where user name and password for a forward proxy come from: a source like the PIN's. They are no PIN: they may be read again
//! and tried again, and the process that talks to the network reads them itself. So no program gives them, since that process
//! starts none.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

/// The source of `user:password` (RFC 7617, without the base64).
#[derive(Clone, Debug)]
pub enum CredentialsSource {
    /// A file that only its owner can read; one line end at its end is removed.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential: a name below `$CREDENTIALS_DIRECTORY`, or its absolute path where that is known.
    Credential(String),
    /// The URL in a variable that names the forward proxy too, and `user:password` of it.
    Url(&'static str, SecretString),
}

/// The forms, for messages.
const FORMS: &str = "not a source of credentials (what was written is not shown: it may be a password); write { file = \"/path\" }, \
     { credential = \"name\" } or { env = \"NAME\" }: what is there is `user:password`";

impl PartialEq for CredentialsSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(own), Self::File(other)) => own == other,
            (Self::Env(own), Self::Env(other))
            | (Self::Credential(own), Self::Credential(other)) => own == other,
            (Self::Url(own, secret), Self::Url(other, other_secret)) => {
                own == other && secret.expose_secret() == other_secret.expose_secret()
            }
            _ => false,
        }
    }
}

impl Eq for CredentialsSource {}

impl fmt::Display for CredentialsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
            Self::Url(variable, _) => write!(f, "the URL in environment variable {variable}"),
        }
    }
}

impl CredentialsSource {
    /// The same source, with a relative file resolved against the folder of the configuration.
    pub(super) fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            // A front end has no such variable: it is told the path.
            Self::Credential(name) => Self::Credential(credential_path(&name).unwrap_or(name)),
            other => other,
        }
    }

    /// The file that it is in. `None`: it is in none, or `$CREDENTIALS_DIRECTORY` is not set.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Credential(name) => credential_path(name).map(PathBuf::from),
            Self::Env(_) | Self::Url(..) => None,
        }
    }

    fn of_field(field: &str, value: String) -> Result<Self, String> {
        match field {
            _ if value.is_empty() => Err(FORMS.to_owned()),
            "file" => Ok(Self::File(value.into())),
            "env" => Ok(Self::Env(value)),
            "credential" if value.starts_with('/') => Ok(Self::Credential(value)),
            "credential" if value.contains('/') || value.starts_with('.') => Err(
                "a credential is a plain name below $CREDENTIALS_DIRECTORY, not a path".to_owned(),
            ),
            "credential" => Ok(Self::Credential(value)),
            _ => Err(FORMS.to_owned()),
        }
    }
}

/// The path of a credential. `None`: `$CREDENTIALS_DIRECTORY` is not set.
pub(in crate::config) fn credential_path(name: &str) -> Option<String> {
    // A path stays what it is.
    let folder = match name.starts_with('/') {
        true => "/".to_owned(),
        false => env::var("CREDENTIALS_DIRECTORY").ok()?,
    };
    let path = Path::new(&folder).join(name);
    Some(path.to_string_lossy().into_owned())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Table(BTreeMap<String, OneOrOther>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrOther {
    One(String),
    Other(IgnoredAny),
}

impl<'de> Deserialize<'de> for CredentialsSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written::Table(table) = Written::deserialize(deserializer)? else {
            return Err(D::Error::custom(FORMS));
        };
        if table.contains_key("command") {
            return Err(D::Error::custom(
                "no program gives these credentials: the process that talks to the network starts none; have it write a file, and name that",
            ));
        }
        let mut fields = table.into_iter();
        match (fields.next(), fields.next()) {
            (Some((field, OneOrOther::One(value))), None) => {
                Self::of_field(&field, value).map_err(D::Error::custom)
            }
            _ => Err(D::Error::custom(FORMS)),
        }
    }
}
