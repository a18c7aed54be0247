//! Deserialisers and defaults of fields: durations, numbers within bounds, absolute paths.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::Group;
use super::uri::{ObjectType, Pkcs11Uri};

pub(super) fn default_sessions() -> usize {
    8
}

pub(super) fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

pub(super) fn default_start_timeout() -> Duration {
    Duration::from_secs(60)
}

pub(super) fn default_keep_alive() -> Duration {
    Duration::from_secs(60)
}

pub(super) fn default_fsync_interval() -> Duration {
    Duration::from_secs(1)
}

pub(super) fn default_rotate_at_mib() -> u64 {
    64
}

pub(super) fn default_head_interval() -> Duration {
    Duration::from_secs(300)
}

/// A burst of signatures: 1 to 1,000,000.
pub(super) fn burst<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(deserializer)? {
        number @ 1..=1_000_000 => Ok(Some(number)),
        _ => Err(serde::de::Error::custom("write a number from 1 to 1000000")),
    }
}

/// An absolute path of a PKCS#11 module.
pub(super) fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(serde::de::Error::custom(
            "write the module's absolute path: a bare name would load whatever the linker finds first",
        ))
    }
}

/// A folder, without a default.
pub(super) fn folder<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    let text = path.to_string_lossy();
    if text.trim().is_empty() || text.starts_with('~') || text.contains(['$', '{']) {
        return Err(serde::de::Error::custom(
            "write the path of a folder, absolute or from the folder of this file; neither ~ nor a variable is replaced",
        ));
    }
    Ok(Some(path))
}

/// The name of a `[[token]]`.
pub(super) fn token_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match (1..=64).contains(&name.len()) && name.bytes().all(is_allowed) {
        true => Ok(Some(name)),
        false => Err(serde::de::Error::custom(
            "`name` is a word of up to 64 letters, digits, -, _ or .",
        )),
    }
}

/// A list of key-exchange groups that is not empty.
pub(super) fn groups<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Group>>, D::Error> {
    match Vec::deserialize(deserializer)? {
        groups if groups.is_empty() => Err(serde::de::Error::custom(
            "`groups` names at least one; without it the default holds",
        )),
        groups => Ok(Some(groups)),
    }
}

/// A number of sessions: 1 to 1024.
pub(super) fn sessions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        count @ 1..=1024 => Ok(count),
        _ => Err(serde::de::Error::custom("`sessions` is from 1 to 1024")),
    }
}

/// A size in MiB: 1 to 65536.
pub(super) fn mebibytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        size @ 1..=65_536 => Ok(size),
        _ => Err(serde::de::Error::custom(
            "`rotate_at_mib` is from 1 to 65536",
        )),
    }
}

/// [`private_key_uri`] of a field that may be missing.
pub(super) fn own_key_uri<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Pkcs11Uri>, D::Error> {
    private_key_uri(deserializer).map(Some)
}

/// A PKCS#11 URI whose `type`, if it has one, is `private`.
pub(super) fn private_key_uri<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Pkcs11Uri, D::Error> {
    let uri = Pkcs11Uri::deserialize(deserializer)?;
    match uri.object_type {
        None | Some(ObjectType::Private) => Ok(uri),
        Some(_) => Err(serde::de::Error::custom(
            "it is a private key: write type=private",
        )),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrOther {
    Text(String),
    Other(serde::de::IgnoredAny),
}

/// A duration as [`duration`] takes it, or `"off"`.
pub(super) fn duration_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = match TextOrOther::deserialize(deserializer)? {
        TextOrOther::Text(text) if text == "off" => return Ok(None),
        TextOrOther::Text(text) => text,
        TextOrOther::Other(_) => String::new(),
    };
    parsed_duration(&text)
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom(format!("{DURATION_FORM}; or \"off\"")))
}

/// A duration from 1 ms to an hour, written as `500ms`, `5s` or `2m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    // A value of another type gets the same error as a malformed text.
    let text = match TextOrOther::deserialize(deserializer)? {
        TextOrOther::Text(text) => text,
        TextOrOther::Other(_) => String::new(),
    };
    parsed_duration(&text).ok_or_else(|| serde::de::Error::custom(DURATION_FORM))
}

const DURATION_FORM: &str = "a time is written as \"500ms\", \"5s\" or \"2m\", up to an hour";

fn parsed_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    scale
        .zip(number.parse::<u64>().ok())
        .and_then(|(scale, number)| number.checked_mul(scale))
        .filter(|millis| (1..=3_600_000).contains(millis))
        .map(Duration::from_millis)
}
