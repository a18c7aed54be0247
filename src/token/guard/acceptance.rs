//! One try in spite of CKF_USER_PIN_COUNT_LOW, answered for by an operator beforehand: for machines at
//! whose terminal nobody ever is.
//!
//! It is a small dated file beside the guard's record, for one token, role and source. It is removed
//! *before* the C_Login that it allows, so a crash, a restart or a second replica finds it used up; and it
//! lifts that one warning only: what the record holds back, and the token's other flags, stay as they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cryptoki::session::UserType;
use rustix::fs::OFlags;
use rustix::process::{geteuid, getuid};
use serde::{Deserialize, Serialize};

use super::error::PinError;
use super::flags::{Warning, role, warning};
use super::record::{Record, Role, Subject, replace, sync_folder_of};
use super::{Attendance, PinGuard};
use crate::config::pin::PinSource;
use crate::ledger::AcceptedLogin;
use crate::path_access::no_file;
use crate::rfc3339;
use crate::token::fault::Fault;
use crate::token::pin;
use crate::token::session::SessionCall;

/// How long an acceptance holds, in seconds: the operator starts the service next.
const HOLDS: u64 = 3600;
/// Clocks that are set a little may not void it.
const SLACK: u64 = 60;

/// What came of an operator's wish to accept CKF_USER_PIN_COUNT_LOW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountLow {
    /// The token does not warn: nothing was written, and the next login needs no acceptance.
    NotSet,
    /// One try is allowed.
    Accepted {
        /// The CKF_ flag.
        flag: &'static str,
        /// The file that allows it.
        file: PathBuf,
        /// Until then, RFC 3339.
        until: String,
    },
}

/// An acceptance that holds.
#[derive(Debug)]
pub(super) struct Acceptance {
    path: PathBuf,
    written: Written,
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    /// Label, serial number and manufacturer.
    token: [String; 3],
    role: String,
    source: String,
    flag: String,
    /// Seconds since 1970.
    at: u64,
    /// The operator's user id.
    by: u32,
}

impl Subject<'_> {
    fn acceptance_path(&self) -> Result<PathBuf, PinError> {
        Ok(self.for_role().path()?.with_extension("count-low"))
    }

    /// The PIN for a signature is mostly the user's, and the flag is the user's: one acceptance for both.
    fn for_role(&self) -> Self {
        Self {
            role: match self.role {
                Role::PerSignature => Role::User,
                other => other,
            },
            ..*self
        }
    }

    fn written(&self, flag: &str, at: u64, by: u32) -> Written {
        Written {
            schema: 0,
            token: self.token.clone(),
            role: self.for_role().role.name().to_owned(),
            source: self.source.to_string(),
            flag: flag.to_owned(),
            at,
            by,
        }
    }

    /// The acceptance of `flag` that holds `now`; or why the one that is there does not.
    pub(super) fn acceptance(&self, flag: &str, now: u64) -> Result<Option<Acceptance>, String> {
        let path = self.acceptance_path().map_err(|error| error.to_string())?;
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let written: Written = serde_json::from_slice(&text)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if written != self.written(flag, written.at, written.by) {
            return Err(format!("{} is for something else", path.display()));
        }
        let at = || rfc3339::of_unix(written.at);
        if written.at > now.saturating_add(SLACK) {
            return Err(format!("it is dated {}, which is yet to come", at()));
        }
        if now.saturating_sub(written.at) >= HOLDS {
            return Err(format!("it is of {}, and held for an hour", at()));
        }
        Ok(Some(Acceptance { path, written }))
    }

    /// A good login ends what it was accepted for.
    pub(super) fn withdraw_acceptance(&self) {
        if let Ok(path) = self.acceptance_path() {
            // Mostly there is none.
            let _ = fs::remove_file(path);
        }
    }
}

/// What stands in a file that only root and this user could have written.
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
    let foreign = meta.uid() != 0 && meta.uid() != geteuid().as_raw();
    if no_file(&meta).is_some() || foreign || meta.mode() & 0o022 != 0 {
        return Err(format!("others could have written {}", path.display()));
    }
    let mut text = Vec::new();
    file.take(4096).read_to_end(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

impl Acceptance {
    /// Takes it off the disk: from here on it allows nothing any more. Of several who find it, one can.
    pub(super) fn use_up(&self) -> Result<(), PinError> {
        let gone = fs::remove_file(&self.path).and_then(|()| sync_folder_of(&self.path));
        gone.map_err(|error| PinError::Unrecorded {
            place: self.path.clone(),
            why: format!("the operator's acceptance cannot be used up: {error}"),
        })?;
        tracing::warn!(
            "the token says {}, and user {} accepted that at {}: the PIN is sent once",
            self.written.flag,
            self.written.by,
            rfc3339::of_unix(self.written.at)
        );
        Ok(())
    }

    /// No PIN was sent after all.
    pub(super) fn not_needed(&self) {
        if let Err(error) = replace(&self.path, &self.written) {
            tracing::error!(%error, "the operator's acceptance is used up, though no PIN was sent");
        }
    }

    pub(super) fn on_ledger(&self) -> AcceptedLogin<'_> {
        AcceptedLogin {
            flag: &self.written.flag,
            at: rfc3339::of_unix(self.written.at),
            by: self.written.by,
        }
    }
}

impl PinGuard {
    /// Writes down that an operator answers for one try although few are left. Only where the token says
    /// so now, the record holds nothing back, and what a PIN file has could be a PIN.
    pub(in crate::token) fn accept_count_low(
        &self,
        session: &SessionCall<'_>,
        user: UserType,
    ) -> Result<CountLow, PinError> {
        if self.typed() {
            return Err(PinError::NobodyThere(self.source.clone()));
        }
        let version = match &self.source {
            // The service's environment is not the operator's: only a file is the same for both.
            PinSource::File(_) => pin::read(&self.source, &Attendance::Unattended)?.version,
            _ => None,
        };
        let subject = self.subject(role(user));
        let record = Record::open(subject)?;
        let info = &session.token_info().map_err(PinError::Call)?;
        if !self.is_of(info) {
            return Err(PinError::Call(Fault::answer(
                "another token is in this slot now; nothing was accepted",
            )));
        }
        let Some(Warning { flag, meaning, low }) = warning(user, info) else {
            return Ok(CountLow::NotSet);
        };
        if !low {
            return Err(PinError::Guarded {
                flag,
                meaning,
                acceptance: None,
                state_folder: self.state_folder.clone(),
            });
        }
        match record.allows(version.as_deref()) {
            Ok(()) | Err(PinError::TooSoon { .. }) => {}
            Err(held_back) => return Err(held_back),
        }
        let at = rfc3339::unix_now();
        let file = subject.acceptance_path()?;
        let written = subject.written(flag, at, getuid().as_raw());
        replace(&file, &written).map_err(|error| PinError::Unrecorded {
            place: file.clone(),
            why: error.to_string(),
        })?;
        let until = rfc3339::of_unix(at.saturating_add(HOLDS));
        Ok(CountLow::Accepted { flag, file, until })
    }
}

#[cfg(test)]
#[path = "acceptance_tests.rs"]
mod tests;
