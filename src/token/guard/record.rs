//! What outlives the process: which PIN source was tried, and how that ended.
//!
//! A restart policy that starts a program anew with the same wrong PIN would lock an HSM within a
//! minute. So before C_Login it is written down that a try begins (the module may crash in it), and
//! afterwards how it ended. The record is of the *source*, never of the PIN: nothing can be guessed
//! from it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::Identity;
use super::error::{EarlierTry, PinError};
use super::lock::{lock, own_folder};
use super::memory::{HeldBack, Last, Memory};
use crate::config::pin::PinSource;
use crate::rfc3339;
use crate::token::fault::Fault;

/// The record of one source for one role of one token, held by this process alone.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    source: PinSource,
    token: String,
    role: Role,
    before: Option<Memory>,
    // The kernel unlocks it when this process ends in whatever way.
    lock: File,
}

/// What the file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Written {
    schema: u32,
    token: String,
    role: String,
    source: String,
    #[serde(flatten)]
    memory: Memory,
}

/// Whose PIN it is. A key may want another PIN for each signature than the token for the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    User,
    SecurityOfficer,
    PerSignature,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::SecurityOfficer => "so",
            Self::PerSignature => "context-specific",
        }
    }
}

/// Which record: of a token, a role and a source, in a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) folder: Option<&'a Path>,
    pub(super) token: &'a Identity,
    pub(super) role: Role,
    pub(super) source: &'a PinSource,
}

impl Subject<'_> {
    pub(super) fn path(&self) -> Result<PathBuf, PinError> {
        let folder = self.folder.ok_or_else(|| PinError::Unrecorded {
            place: "~/.local/state".into(),
            why: "HOME is not set".to_owned(),
        })?;
        Ok(folder.join(file_name(self.token, self.role.name(), self.source)))
    }

    /// Whether another process has seen this version refused; read without waiting for anybody.
    pub(super) fn refused_elsewhere(&self, version: Option<&str>) -> Result<(), PinError> {
        let path = self.path()?;
        let Some(memory) = read(&path)? else {
            return Ok(());
        };
        match memory.allows(version, rfc3339::unix_now()) {
            Err(held @ (HeldBack::Refused | HeldBack::RefusedInARow)) => {
                Err(held_back(held, &memory, self.source, &path))
            }
            _ => Ok(()),
        }
    }
}

impl Record {
    /// Opens the record, and keeps every other process from a login with this source until it is
    /// dropped.
    ///
    /// # Errors
    /// Nothing could be written down, so nothing may be sent.
    pub(super) fn open(subject: Subject<'_>) -> Result<Self, PinError> {
        let path = subject.path()?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        own_folder(folder).map_err(|why| PinError::Unrecorded {
            place: folder.to_owned(),
            why,
        })?;
        let lock = lock(&path.with_extension("lock"))?;
        let before = read(&path)?;
        Ok(Self {
            path,
            source: subject.source.clone(),
            token: subject.token.first().cloned().unwrap_or_default(),
            role: subject.role,
            before,
            lock,
        })
    }

    /// Whether what the source gives now, in this version, may be sent without asking a person.
    ///
    /// # Errors
    /// It was refused, or earlier tries ended without an answer.
    pub(super) fn allows(&self, version: Option<&str>) -> Result<(), PinError> {
        let Some(memory) = &self.before else {
            return Ok(());
        };
        memory
            .allows(version, rfc3339::unix_now())
            .map_err(|held| held_back(held, memory, &self.source, &self.path))
    }

    /// Writes down that a try begins. Only when this has returned may the PIN be sent.
    ///
    /// # Errors
    /// [`PinError::Unrecorded`]
    pub(super) fn attempt(self, version: Option<String>) -> Result<Try, PinError> {
        let memory = Memory::attempt(self.before.as_ref(), version, rfc3339::unix_now());
        if let Err(error) = self.write(&memory) {
            // Nothing was sent: a try that did not take place must not stay behind.
            let _ = self.restore();
            return Err(error);
        }
        Ok(Try {
            record: self,
            memory,
        })
    }

    fn restore(&self) -> Result<(), PinError> {
        match &self.before {
            Some(before) => self.write(before),
            None => fs::remove_file(&self.path).map_err(|error| self.unwritten(&error)),
        }
    }

    fn unwritten(&self, error: &io::Error) -> PinError {
        PinError::Unrecorded {
            place: self.path.clone(),
            why: error.to_string(),
        }
    }

    fn write(&self, memory: &Memory) -> Result<(), PinError> {
        let written = Written {
            schema: 0,
            token: self.token.clone(),
            role: self.role.name().to_owned(),
            source: self.source.to_string(),
            memory: memory.clone(),
        };
        replace(&self.path, &written).map_err(|error| self.unwritten(&error))
    }
}

/// Writes a file anew, as a whole or not at all, for its owner alone.
pub(super) fn replace(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let next = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    // A crash of the machine within C_Login must find it on the disk.
    file.sync_all()?;
    fs::rename(&next, path)?;
    sync_folder_of(path)
}

pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all() {
        // Some network file systems do not know how to sync a folder.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A module may have forked a daemon that holds a copy of the descriptor: closing ours would
        // not be enough.
        let _ = self.lock.unlock();
    }
}

/// A try that has begun, and is on record as such until its end is.
#[derive(Debug)]
pub(super) struct Try {
    record: Record,
    memory: Memory,
}

impl Try {
    /// How it ended. Where that cannot be written, the attempt stays on record, and holds back what
    /// never was good.
    pub(super) fn end(self, last: Last, fault: Option<&Fault>) {
        let memory = self.memory.ended(last, fault.map(ToString::to_string));
        told(self.record.write(&memory));
    }

    /// The PIN was not looked at: it is as if it had not been sent.
    pub(super) fn not_looked_at(self) {
        told(self.record.restore());
    }
}

fn told(written: Result<(), PinError>) {
    if let Err(error) = written {
        tracing::error!(%error, "how the login ended is not on record");
    }
}

fn held_back(held: HeldBack, memory: &Memory, source: &PinSource, path: &Path) -> PinError {
    let in_the_middle = || "the process ended within C_Login".to_owned();
    let earlier = Box::new(EarlierTry {
        pin_source: source.clone(),
        at: rfc3339::of_unix(memory.at),
        answer: memory.answer.clone().unwrap_or_else(in_the_middle),
        failures: memory.unanswered.max(memory.refused_in_a_row),
        record: path.to_owned(),
    });
    match held {
        HeldBack::Refused => PinError::RefusedEarlier(earlier),
        HeldBack::RefusedInARow => PinError::RefusedInARow(earlier),
        HeldBack::Unanswered => PinError::Unanswered(earlier),
        HeldBack::TooSoon(seconds) => PinError::TooSoon { earlier, seconds },
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

fn read(path: &Path) -> Result<Option<Memory>, PinError> {
    let damaged = |why: String| PinError::Damaged {
        record: path.to_owned(),
        why,
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let written: Written =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    match written.schema {
        0 => Ok(Some(written.memory)),
        newer => Err(damaged(format!("its schema {newer} is of another version"))),
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
