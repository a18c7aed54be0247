//! The attempt file: keeps the history of the login attempts of one role on disk, across restarts and PIN sources. `retry_policy`
//! decides what the history allows, `refused_pin_versions` what is remembered of refused PINs.
//!
//! A service manager that restarts a program with the same wrong PIN would lock an HSM within a minute. So the attempt is
//! recorded before C_Login (the module may crash in it), and its outcome afterwards. The token counts wrong PINs for each role,
//! so the file is for a role, whatever the source is called. It describes the *source*, never the PIN: no PIN can be guessed from
//! it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::error::{EarlierAttempt, PinError, RecordError};
use super::login_lock::lock_file;
use super::pin_role::PinRole;
use super::retry_policy::{AttemptHistory, Outcome, RetryDenied};
use crate::config::pin::PinSource;
use crate::ledger::lock::FileLock;
use crate::owner_and_mode::{Protection, faults};
use crate::rfc3339;
use crate::state_file;
use crate::token::description::TokenId;
use crate::token::fault::{Fault, LoginVerdict};

/// The attempt file of one scope, locked by this process.
#[derive(Debug)]
pub(super) struct AttemptFile {
    path: PathBuf,
    source: PinSource,
    token: String,
    role: PinRole,
    user_name: Option<String>,
    history: Option<AttemptHistory>,
    // The kernel releases it however this process ends.
    _lock: FileLock,
}

/// The file's JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct FileContent {
    schema: u32,
    token: String,
    role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    source: String,
    #[serde(flatten)]
    history: AttemptHistory,
}

/// The scope of an attempt history: a token, a role and a user's name, in a state folder; and the source that is used now.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptScope<'a> {
    pub(super) folder: Option<&'a Path>,
    pub(super) token: &'a TokenId,
    pub(super) role: PinRole,
    /// The role whose login covers the signatures.
    pub(super) login_role: PinRole,
    /// The user's name, where the login names one.
    pub(super) user_name: Option<&'a str>,
    pub(super) source: &'a PinSource,
}

impl AttemptScope<'_> {
    pub(super) fn path(&self) -> Result<PathBuf, PinError> {
        let folder = self.folder.ok_or_else(|| PinError::Unrecorded {
            place: "~/.local/state".into(),
            why: RecordError::NoHome,
        })?;
        Ok(folder.join(self.file_name()))
    }

    /// One file for each scope. Its name is a hash: a token's label may have any characters.
    fn file_name(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        let role = self.role.name();
        let parts = self.token.iter().map(String::as_str);
        for part in parts.chain([&*role]).chain(self.user_name) {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digits = hash
            .finish()
            .as_ref()
            .iter()
            .take(8)
            .fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
        format!("pin-{digits}.json")
    }

    /// Checks that the token refused this version to no process. Reads the attempt file without its lock.
    pub(super) fn check_refusals(&self, version: &str) -> Result<(), PinError> {
        let path = self.path()?;
        let Some(history) = read(&path)? else {
            return Ok(());
        };
        match history.allows(version, rfc3339::unix_now()) {
            Err(denied @ (RetryDenied::Refused | RetryDenied::RefusedInARow)) => {
                Err(denial_error(denied, &history, self.source, &path))
            }
            _ => Ok(()),
        }
    }

    /// Records a refusal that this file has no attempt for.
    pub(super) fn record_refusal(self, version: &str, fault: &Fault) {
        let recorded = AttemptFile::open(self)
            .and_then(|file| file.begin_attempt(version.to_owned()))
            .map(|attempt| attempt.end(Outcome::Refused, Some(fault)));
        if let Err(error) = recorded {
            tracing::error!(target: "hsm_mtls::token::guard", %error, "that the PIN was refused is not on record");
        }
    }
}

impl AttemptFile {
    /// Locks and reads the file. No other process logs in with this role until the lock is dropped.
    ///
    /// # Errors
    /// The folder or the file cannot be used, or the lock timed out; then no PIN may be sent.
    pub(super) fn open(scope: AttemptScope<'_>) -> Result<Self, PinError> {
        let path = scope.path()?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        create_private_folder(folder).map_err(|why| PinError::Unrecorded {
            place: folder.to_owned(),
            why,
        })?;
        let lock = lock_file(&path.with_extension("lock"))?;
        let history = read(&path)?;
        Ok(Self {
            path,
            source: scope.source.clone(),
            token: scope.token.first().cloned().unwrap_or_default(),
            role: scope.role,
            user_name: scope.user_name.map(str::to_owned),
            history,
            _lock: lock,
        })
    }

    /// Checks that the source's current version may be sent without an operator's confirmation.
    ///
    /// # Errors
    /// The token refused it, or earlier attempts had no answer.
    pub(super) fn allows(&self, version: &str) -> Result<(), PinError> {
        let Some(history) = &self.history else {
            return Ok(());
        };
        history
            .allows(version, rfc3339::unix_now())
            .map_err(|denied| denial_error(denied, history, &self.source, &self.path))
    }

    /// Records that an attempt begins. The PIN may be sent only after this has returned.
    ///
    /// # Errors
    /// [`PinError::Unrecorded`]
    pub(super) fn begin_attempt(self, version: String) -> Result<PendingAttempt, PinError> {
        let history =
            AttemptHistory::begin_attempt(self.history.as_ref(), version, rfc3339::unix_now());
        if let Err(error) = self.write(&history) {
            // There is no attempt without its record, so none may stay recorded.
            let _ = self.restore();
            return Err(error);
        }
        Ok(PendingAttempt {
            file: self,
            history,
        })
    }

    fn restore(&self) -> Result<(), PinError> {
        match &self.history {
            Some(history) => self.write(history),
            None => fs::remove_file(&self.path).map_err(|error| self.unwritable(error)),
        }
    }

    fn unwritable(&self, error: io::Error) -> PinError {
        PinError::Unrecorded {
            place: self.path.clone(),
            why: error.into(),
        }
    }

    fn write(&self, history: &AttemptHistory) -> Result<(), PinError> {
        let content = FileContent {
            schema: 0,
            token: self.token.clone(),
            role: self.role.name().into_owned(),
            user_name: self.user_name.clone(),
            source: self.source.to_string(),
            history: history.clone(),
        };
        replace(&self.path, &content).map_err(|error| self.unwritable(error))
    }
}

/// Checks that no other user may change the folder or the way to it: who may could remove the file, or have it looked for
/// elsewhere. Creates the folder if it is missing.
fn create_private_folder(folder: &Path) -> Result<(), RecordError> {
    if let Some(fault) = faults(folder, Protection::Unchanged).first() {
        return Err(RecordError::Unsafe {
            why: fault.to_string(),
            advice: fault.advice(),
        });
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)?;
    Ok(())
}

/// Replaces a file atomically (write, fsync, rename), with mode 600.
pub(super) fn replace(path: &Path, content: &impl Serialize) -> io::Result<()> {
    // It must be on disk even if the machine crashes during C_Login.
    state_file::replace(path, &path.with_extension("new"), content)
}

/// An attempt that is recorded as unfinished until its outcome is recorded.
#[derive(Debug)]
pub(super) struct PendingAttempt {
    file: AttemptFile,
    history: AttemptHistory,
}

impl PendingAttempt {
    /// Records the outcome of a C_Login that failed, by what its return value says about the PIN.
    pub(super) fn end_failed(self, verdict: LoginVerdict, fault: &Fault) {
        match verdict {
            LoginVerdict::Refused => self.end(Outcome::Refused, Some(fault)),
            LoginVerdict::NotCompared => self.discard(),
            LoginVerdict::Unknown => self.end(Outcome::Failed, Some(fault)),
        }
    }

    /// Records the outcome. If that cannot be written, the attempt stays recorded as unfinished, which blocks a PIN that was
    /// never accepted.
    pub(super) fn end(self, outcome: Outcome, fault: Option<&Fault>) {
        let history = self
            .history
            .end_attempt(outcome, fault.map(ToString::to_string));
        log_failure(self.file.write(&history));
    }

    /// Removes the attempt from the history: the token did not compare the PIN.
    pub(super) fn discard(self) {
        log_failure(self.file.restore());
    }
}

fn log_failure(written: Result<(), PinError>) {
    if let Err(error) = written {
        // The target that this event always had: operators filter logs by it.
        tracing::error!(target: "hsm_mtls::token::guard::record", %error, "how the login ended is not on record");
    }
}

fn denial_error(
    denied: RetryDenied,
    history: &AttemptHistory,
    source: &PinSource,
    path: &Path,
) -> PinError {
    let unfinished = || "the process ended within C_Login".to_owned();
    let earlier = Box::new(EarlierAttempt {
        pin_source: source.clone(),
        at: rfc3339::of_unix(history.at),
        answer: history.answer.clone().unwrap_or_else(unfinished),
        failures: history.unanswered.max(history.refused_in_a_row),
        record: path.to_owned(),
    });
    match denied {
        RetryDenied::Refused => PinError::RefusedEarlier(earlier),
        RetryDenied::RefusedInARow => PinError::RefusedInARow(earlier),
        RetryDenied::Unanswered => PinError::Unanswered(earlier),
        RetryDenied::TooSoon(seconds) => PinError::TooSoon { earlier, seconds },
    }
}

/// The history in the file; `None` where there is no file.
fn read(path: &Path) -> Result<Option<AttemptHistory>, PinError> {
    let damaged = |why: String| PinError::Damaged {
        record: path.to_owned(),
        why,
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let content: FileContent =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    match content.schema {
        0 => Ok(Some(content.history)),
        newer => Err(damaged(format!("its schema {newer} is of another version"))),
    }
}

#[cfg(test)]
#[path = "attempt_file_tests.rs"]
mod tests;
