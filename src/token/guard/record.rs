//! What outlives the process: which PIN source was tried, and how that ended.
//!
//! A restart policy that starts a program anew with the same wrong PIN would lock an HSM within a
//! minute. So before C_Login it is written down that a try begins (the module may crash in it), and
//! afterwards how it ended. The record is of the *source*, never of the PIN: nothing can be guessed
//! from it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest;
use der::DateTime;
use serde::{Deserialize, Serialize};

use super::Identity;
use super::error::{EarlierTry, PinError};
use crate::config::pin::PinSource;
use crate::token::fault::Fault;

/// How long another process's login is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Logins in a row that may go without an answer before a PIN that never was good is held back.
const UNANSWERED_AT_MOST: u32 = 3;

/// The record of one source for one role of one token, held by this process alone.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    source: PinSource,
    token: String,
    role: &'static str,
    before: Option<State>,
    // Unlocked when it is dropped, and by the kernel when this process ends in whatever way.
    _lock: File,
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    schema: u32,
    token: String,
    role: String,
    source: String,
    /// Tells versions of the source apart; none where they cannot be told apart.
    version: Option<String>,
    last: Last,
    /// When the last try began, RFC 3339.
    at: String,
    /// What the module answered to it.
    answer: Option<String>,
    /// Whether this version was good before.
    good: bool,
    /// Tries in a row without an answer about the PIN, the last one included.
    unanswered: u32,
}

/// How the last try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Last {
    /// It began, and nobody lived to see its end.
    Attempt,
    Good,
    Refused,
    /// C_Login failed, and did not say that the PIN was the reason.
    Failed,
}

impl Record {
    /// Opens the record, and keeps every other process from a login with this source until it is
    /// dropped.
    ///
    /// # Errors
    /// [`PinError::Unrecorded`]: nothing could be written down, so nothing may be sent.
    pub(super) fn open(
        folder: Option<&Path>,
        token: &Identity,
        so: bool,
        source: &PinSource,
    ) -> Result<Self, PinError> {
        let folder = folder.ok_or_else(|| PinError::Unrecorded {
            place: "~/.local/state".into(),
            why: "HOME is not set".to_owned(),
        })?;
        let unrecorded = |why: String| PinError::Unrecorded {
            place: folder.to_owned(),
            why,
        };
        own_folder(folder).map_err(unrecorded)?;
        let role = if so { "so" } else { "user" };
        let path = folder.join(file_name(token, role, source));
        let lock = lock(&path.with_extension("lock")).map_err(unrecorded)?;
        let before = read(&path).map_err(|why| PinError::Unrecorded {
            place: path.clone(),
            why,
        })?;
        Ok(Self {
            path,
            source: source.clone(),
            token: token.first().cloned().unwrap_or_default(),
            role,
            before,
            _lock: lock,
        })
    }

    /// Whether what the source gives now, in this version, may be sent without asking a person.
    ///
    /// # Errors
    /// It was refused, or earlier tries ended without an answer.
    pub(super) fn allows(&self, version: Option<&str>) -> Result<(), PinError> {
        let Some(state) = self
            .before
            .as_ref()
            .filter(|state| state.version.as_deref() == version)
        else {
            return Ok(());
        };
        let earlier = |answer: &str| {
            Box::new(EarlierTry {
                pin_source: self.source.clone(),
                at: state.at.clone(),
                answer: state.answer.clone().unwrap_or_else(|| answer.to_owned()),
                failures: state.unanswered,
                record: self.path.clone(),
            })
        };
        let at_most = match (state.last, state.good) {
            (Last::Good, _) => return Ok(()),
            (Last::Refused, _) => {
                return Err(PinError::RefusedEarlier(earlier("it did not say why")));
            }
            // The HSM was away, and the PIN was good before: that heals by itself.
            (Last::Failed, true) => return Ok(()),
            (Last::Failed, false) => UNANSWERED_AT_MOST - 1,
            // Ended in the middle, by SIGKILL perhaps: a PIN that was good before is not held back
            // for one such end.
            (Last::Attempt, true) => 1,
            (Last::Attempt, false) => 0,
        };
        if state.unanswered <= at_most {
            return Ok(());
        }
        Err(PinError::Unanswered(earlier(
            "the process ended within C_Login",
        )))
    }

    /// Writes down that a try begins. Only when this has returned may the PIN be sent.
    ///
    /// # Errors
    /// [`PinError::Unrecorded`]
    pub(super) fn attempt(self, version: Option<String>) -> Result<Try, PinError> {
        let same = self
            .before
            .as_ref()
            .filter(|state| state.version == version);
        let state = State {
            schema: 0,
            token: self.token.clone(),
            role: self.role.to_owned(),
            source: self.source.to_string(),
            last: Last::Attempt,
            at: now(),
            answer: None,
            good: same.is_some_and(|state| state.good),
            unanswered: same.map_or(0, |state| state.unanswered).saturating_add(1),
            version,
        };
        self.write(&state)?;
        Ok(Try {
            record: self,
            state,
        })
    }

    fn write(&self, state: &State) -> Result<(), PinError> {
        let written = || -> io::Result<()> {
            let next = self.path.with_extension("new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(&serde_json::to_vec_pretty(state)?)?;
            // A crash of the machine within C_Login must find it on the disk.
            file.sync_all()?;
            fs::rename(&next, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        written().map_err(|error| PinError::Unrecorded {
            place: self.path.clone(),
            why: error.to_string(),
        })
    }
}

/// A try that has begun, and is on record as such until its end is.
#[derive(Debug)]
pub(super) struct Try {
    record: Record,
    state: State,
}

impl Try {
    pub(super) fn good(self) -> Result<(), PinError> {
        self.end(Last::Good, None)
    }

    pub(super) fn refused(self, fault: &Fault) -> Result<(), PinError> {
        self.end(Last::Refused, Some(fault))
    }

    /// C_Login failed for a reason that is not the PIN, as far as it says.
    pub(super) fn failed(self, fault: &Fault) -> Result<(), PinError> {
        self.end(Last::Failed, Some(fault))
    }

    /// The PIN was not looked at: it is as if it had not been sent.
    pub(super) fn not_looked_at(self) -> Result<(), PinError> {
        match &self.record.before {
            Some(before) => self.record.write(before),
            None => fs::remove_file(&self.record.path).map_err(|error| PinError::Unrecorded {
                place: self.record.path.clone(),
                why: error.to_string(),
            }),
        }
    }

    fn end(self, last: Last, fault: Option<&Fault>) -> Result<(), PinError> {
        let good = match last {
            Last::Good => true,
            Last::Refused => false,
            Last::Failed | Last::Attempt => self.state.good,
        };
        let state = State {
            last,
            good,
            answer: fault.map(ToString::to_string),
            unanswered: if last == Last::Failed {
                self.state.unanswered
            } else {
                0
            },
            ..self.state
        };
        self.record.write(&state)
    }
}

/// One file for each token, role and source. Its name says nothing of a path that may be private.
fn file_name(token: &Identity, role: &str, source: &PinSource) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    let source = source.to_string();
    let parts = token.iter().map(String::as_str).chain([role, &source]);
    for part in parts {
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

/// Makes the folder where there is none. Whoever else may write there may remove the record.
fn own_folder(folder: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| error.to_string())?;
    let meta = fs::metadata(folder).map_err(|error| error.to_string())?;
    let me = fs::metadata("/proc/self").map_err(|error| error.to_string())?;
    if meta.uid() != 0 && meta.uid() != me.uid() {
        return Err("it belongs to another user".to_owned());
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!(
            "its mode is {:03o}: others may write to it",
            meta.mode() & 0o777
        ));
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error.to_string()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(format!(
                    "another process has been logging in with the same PIN source for {} s",
                    PATIENCE.as_secs()
                ));
            }
            // There is no wait for a lock with a time limit.
            Err(TryLockError::WouldBlock) => thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

fn read(path: &Path) -> Result<Option<State>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    match serde_json::from_slice::<State>(&text) {
        Ok(state) if state.schema == 0 => Ok(Some(state)),
        _ => Err("it is damaged, or of another version of this program; see that the PIN is right, then remove it".to_owned()),
    }
}

fn now() -> String {
    DateTime::from_system_time(SystemTime::now())
        .map_or_else(|_| "a time before 1970".to_owned(), |time| time.to_string())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
