//! An operator's acceptance of CKF_USER_PIN_COUNT_LOW, given beforehand, for one login attempt of a service that runs
//! without a terminal.
//!
//! It is a small file with a date in the folder of the attempt file, for one token, role, user name and PIN source. It is removed
//! *before* the C_Login that it allows, so it cannot be used again after a crash or by another process. It overrides only
//! that flag, not the token's other flags and not the retry policy.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::getuid;
use serde::{Deserialize, Serialize};

use super::attempt_file::{AttemptScope, replace};
use super::error::{PinError, RecordError};
use super::pin_role::PinRole;
use crate::access_diagnosis::other_than_file;
use crate::ledger::AcceptedLogin;
use crate::owner_and_mode::{Protection, fault_of_file};
use crate::rfc3339;
use crate::state_file;

/// How long an acceptance is valid, in seconds: the operator starts the service right after it.
const VALIDITY: u64 = 3600;
/// How far in the future its date may be, in seconds: the clock may have been set back.
const CLOCK_SKEW: u64 = 60;

/// The result of `pin accept-count-low`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountLow {
    /// The flag is not set: nothing was written, and the next login needs no acceptance.
    NotSet,
    /// One attempt is allowed.
    Accepted {
        /// The CKF_ flag.
        flag: &'static str,
        /// The acceptance file.
        file: PathBuf,
        /// When it expires, RFC 3339.
        until: String,
    },
}

/// A valid acceptance.
#[derive(Debug)]
pub(super) struct Acceptance {
    path: PathBuf,
    content: AcceptanceContent,
}

/// The file's JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptanceContent {
    schema: u32,
    /// Label, serial number and manufacturer.
    token: [String; 3],
    role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    source: String,
    flag: String,
    /// Seconds since 1970.
    at: u64,
    /// The operator's user id.
    by: u32,
}

impl AttemptScope<'_> {
    fn acceptance_path(&self) -> Result<PathBuf, PinError> {
        Ok(self.acceptance_scope().path()?.with_extension("count-low"))
    }

    /// The scope of an acceptance. That of `PerSignature` is the login's, since the flag is about the PIN of the login.
    fn acceptance_scope(&self) -> Self {
        Self {
            role: match self.role {
                PinRole::PerSignature => self.login_role,
                other => other,
            },
            ..*self
        }
    }

    fn content(&self, flag: &str, at: u64, by: u32) -> AcceptanceContent {
        AcceptanceContent {
            schema: 0,
            token: self.token.clone(),
            role: self.acceptance_scope().role.name().into_owned(),
            user_name: self.user_name.map(str::to_owned),
            source: self.source.to_string(),
            flag: flag.to_owned(),
            at,
            by,
        }
    }

    /// The acceptance of `flag` that is valid `now`, if there is one. An invalid one is an error.
    pub(super) fn acceptance(&self, flag: &str, now: u64) -> Result<Option<Acceptance>, String> {
        let path = self.acceptance_path().map_err(|error| error.to_string())?;
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let content: AcceptanceContent = serde_json::from_slice(&text)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if content != self.content(flag, content.at, content.by) {
            return Err(format!("{} is for something else", path.display()));
        }
        let at = || rfc3339::of_unix(content.at);
        if content.at > now.saturating_add(CLOCK_SKEW) {
            return Err(format!("it is dated {}, which is yet to come", at()));
        }
        if now.saturating_sub(content.at) >= VALIDITY {
            return Err(format!("it is of {}, and held for an hour", at()));
        }
        Ok(Some(Acceptance { path, content }))
    }

    /// Removes the acceptance after a successful login.
    pub(super) fn withdraw_acceptance(&self) {
        if let Ok(path) = self.acceptance_path() {
            // It fails if there is none, the usual case.
            let _ = fs::remove_file(path);
        }
    }
}

/// Reads a file, if no user other than root and this one could have written it.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file: File = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let meta = file.metadata().map_err(unreadable)?;
    if other_than_file(&meta).is_some() {
        return Err(format!("{} is no file", path.display()));
    }
    if let Some(fault) = fault_of_file(path, &meta, Protection::Unchanged) {
        return Err(format!(
            "others could have written {}: {fault}",
            path.display()
        ));
    }
    let mut text = Vec::new();
    file.take(4096).read_to_end(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

impl Acceptance {
    /// Removes the file. If several processes read it, only one of them succeeds.
    pub(super) fn use_up(&self) -> Result<(), PinError> {
        let removed =
            fs::remove_file(&self.path).and_then(|()| state_file::sync_folder_of(&self.path));
        removed.map_err(|error| PinError::Unrecorded {
            place: self.path.clone(),
            why: RecordError::Acceptance(error),
        })?;
        tracing::warn!(
            "the token says {}, and user {} accepted that at {}: the PIN is sent once",
            self.content.flag,
            self.content.by,
            rfc3339::of_unix(self.content.at)
        );
        Ok(())
    }

    /// Writes the file again, because no PIN was sent.
    pub(super) fn restore(&self) {
        if let Err(error) = replace(&self.path, &self.content) {
            tracing::error!(%error, "the operator's acceptance is used up, though no PIN was sent");
        }
    }

    pub(super) fn on_ledger(&self) -> AcceptedLogin<'_> {
        AcceptedLogin {
            flag: &self.content.flag,
            at: rfc3339::of_unix(self.content.at),
            by: self.content.by,
        }
    }
}

/// Writes the operator's acceptance of `flag` for one attempt.
pub(super) fn write(flag: &'static str, scope: AttemptScope<'_>) -> Result<CountLow, PinError> {
    let at = rfc3339::unix_now();
    let path = scope.acceptance_path()?;
    let content = scope.content(flag, at, getuid().as_raw());
    replace(&path, &content).map_err(|error| PinError::Unrecorded {
        place: path.clone(),
        why: error.into(),
    })?;
    let until = rfc3339::of_unix(at.saturating_add(VALIDITY));
    Ok(CountLow::Accepted {
        flag,
        file: path,
        until,
    })
}

#[cfg(test)]
#[path = "acceptance_tests.rs"]
mod tests;
