//! Remembers since when our `kid` has been seen in a published key set: the scheme asks to wait 10 minutes between the
//! publication of a signing key and its first use, because verifiers cache the set.
//!
//! A file for each `kid` and URL in the state folder, with mode 600, replaced by rename. It holds nothing secret; but who could
//! change it could have a key used before the hub knows it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::trust::Fingerprint;
use crate::owner_and_mode::{Protection, faults};
use crate::state_file;

/// How long to wait after the publication before the key signs (the scheme's page on keys).
pub const WAIT: Duration = Duration::from_secs(600);

/// Why it is not known since when a key is published.
#[derive(Debug, Error)]
#[error("when the key was first seen is not on record in {}: {why}", path.display())]
pub struct RecordError {
    /// The file, or its folder.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// The record of one `kid` at one URL.
#[derive(Clone, Debug)]
pub struct PublicationRecord {
    path: PathBuf,
    kid: String,
    url: String,
}

/// What the last check of a published key set found. Times are in seconds after the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastCheck {
    /// The key was there.
    Published {
        /// Since when it was found there.
        since: u64,
    },
    /// It was not.
    Missing {
        /// When it was looked for.
        at: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct FileContent {
    schema: u32,
    kid: String,
    url: String,
    /// In seconds after the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_seen: Option<u64>,
    /// When a set without the key was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_missing: Option<u64>,
}

impl PublicationRecord {
    /// The record in this state folder. Its name is a hash: a URL may have any characters.
    pub fn new(folder: &Path, kid: &str, url: &str) -> Self {
        let digest = Fingerprint::of(format!("{kid} {url}").as_bytes()).0;
        let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
        let name = format!("jwks-{}.json", digits.collect::<String>());
        Self {
            path: folder.join(name),
            kid: kid.to_owned(),
            url: url.to_owned(),
        }
    }

    /// Records that the key is published now, or was at an `earlier` time that the server says. Returns since when it has been,
    /// in seconds after the Unix epoch.
    ///
    /// # Errors
    /// The file cannot be read or written, or others may change it.
    pub fn seen(&self, now: u64, earlier: Option<u64>) -> Result<u64, RecordError> {
        let recorded = self.read()?;
        let first_seen = recorded.as_ref().and_then(|content| content.first_seen);
        let last_missing = recorded.and_then(|content| content.last_missing);
        // What the server says is not believed beyond what was seen here.
        let earlier = earlier.filter(|time| last_missing.is_none_or(|missing| *time > missing));
        let times = [first_seen, earlier, Some(now)].into_iter().flatten();
        // A clock that was set back since makes no key older.
        let since = times.min().unwrap_or(now);
        if first_seen != Some(since) {
            self.write(Some(since), last_missing)?;
        }
        Ok(since)
    }

    /// Records that the key is not published now: when it comes again, the time starts again.
    ///
    /// # Errors
    /// The file cannot be written, or others may change it.
    pub fn not_seen(&self, now: u64) -> Result<(), RecordError> {
        self.write(None, Some(now))
    }

    /// What is remembered of the last check; `None` if there was none.
    ///
    /// # Errors
    /// The file cannot be read, or others may change it.
    pub fn last_check(&self) -> Result<Option<LastCheck>, RecordError> {
        let content = self.read()?;
        Ok(content.map(|content| match content.first_seen {
            Some(since) => LastCheck::Published { since },
            None => LastCheck::Missing {
                at: content.last_missing.unwrap_or_default(),
            },
        }))
    }

    fn read(&self) -> Result<Option<FileContent>, RecordError> {
        let content = state_file::read(&self.path).map_err(|error| self.error(error))?;
        let Some(content) = content else {
            return Ok(None);
        };
        match content {
            FileContent { schema: 1.., .. } => Err(self.error("it is of another version")),
            content if content.kid != self.kid || content.url != self.url => {
                Err(self.error("it is of another key or URL"))
            }
            content => Ok(Some(content)),
        }
    }

    fn write(&self, first_seen: Option<u64>, last_missing: Option<u64>) -> Result<(), RecordError> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        if let Some(fault) = faults(folder, Protection::Unchanged).first() {
            return Err(self.error(fault));
        }
        let content = FileContent {
            schema: 0,
            kid: self.kid.clone(),
            url: self.url.clone(),
            first_seen,
            last_missing,
        };
        // A name of its own for each process: two that check at once do not write into one file.
        let next = self.path.with_extension(format!("{}.new", process::id()));
        let written = || {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
            state_file::replace(&self.path, &next, &content)
        };
        written().map_err(|error| {
            // Where it was not made there is nothing to remove.
            let _ = fs::remove_file(&next);
            self.error(error)
        })
    }

    fn error(&self, why: impl ToString) -> RecordError {
        RecordError {
            path: self.path.clone(),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_time_is_kept_until_the_key_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let url = "https://keystore.example/application.jwks";
        let record = || PublicationRecord::new(&state, "kid", url);
        assert_eq!(record().last_check().unwrap(), None);
        assert_eq!(record().seen(1000, None).unwrap(), 1000);
        let since = 1000;
        let published = LastCheck::Published { since };
        assert_eq!(record().last_check().unwrap(), Some(published));
        assert_eq!(record().seen(1500, None).unwrap(), 1000);
        assert_eq!(record().seen(1600, Some(1200)).unwrap(), 1000);
        assert_eq!(record().seen(1700, Some(900)).unwrap(), 900);
        assert_eq!(record().seen(1800, None).unwrap(), 900);
        // Another key, and another place, have a record of their own.
        let other = PublicationRecord::new(&state, "other", url);
        assert_eq!(other.seen(1900, None).unwrap(), 1900);
        let mode = fs::metadata(&record().path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        record().not_seen(1950).unwrap();
        let missing = LastCheck::Missing { at: 1950 };
        assert_eq!(record().last_check().unwrap(), Some(missing));
        // The server says that nothing has changed since long ago: that is not believed.
        assert_eq!(record().seen(2000, Some(900)).unwrap(), 2000);
        assert_eq!(record().seen(2100, Some(1960)).unwrap(), 1960);
        // Only the records are left.
        assert_eq!(fs::read_dir(&state).unwrap().count(), 2);
    }

    #[test]
    fn a_damaged_record_is_no_age() {
        let folder = tempfile::tempdir().unwrap();
        let record = PublicationRecord::new(folder.path(), "kid", "https://a.example/x");
        for text in [
            "",
            "{}",
            r#"{"schema":1,"kid":"kid","url":"https://a.example/x","first_seen":1}"#,
            r#"{"schema":0,"kid":"another","url":"https://a.example/x","first_seen":1}"#,
        ] {
            fs::write(&record.path, text).unwrap();
            let error = record.seen(1000, None).unwrap_err();
            assert_eq!(error.path, record.path, "{text}");
        }
        fs::write(
            &record.path,
            r#"{"schema":0,"kid":"kid","url":"https://a.example/x","first_seen":1}"#,
        )
        .unwrap();
        fs::set_permissions(&record.path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(record.seen(1000, None).is_err(), "others may write to it");
    }
}
