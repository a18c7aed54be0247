//! The records of a chain, one after the other, over all its files and as they come.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::LedgerError;
use super::chain::{self, Broken, End, Head, follow};
use super::history::{Flaw, files, unreadable};
use super::rotation;

/// A record, as far as it is read again. What is not of its kind is absent.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// What it is: [`super::Entry`].
    pub kind: String,
    /// What a signature was for.
    pub purpose: Option<String>,
    /// The key's PKCS#11 URI.
    pub key: Option<String>,
    /// SHA-256 of the public key.
    pub spki: Option<String>,
    /// How it was signed.
    pub scheme: Option<String>,
    /// Who the signature was for.
    pub peer: Option<String>,
    /// `x-fapi-interaction-id`.
    pub interaction_id: Option<String>,
    /// Which role logged in.
    pub role: Option<String>,
    /// The label of a pair that was made.
    pub label: Option<String>,
    /// Of an outcome: the number of what it ends.
    pub of: Option<u64>,
    /// Of an outcome: how it ended.
    pub result: Option<String>,
    /// Of an outcome: the class of the error.
    pub class: Option<String>,
    /// Of an outcome: what the module returned.
    pub ckr: Option<String>,
    /// Of an outcome: how long it took, in microseconds.
    pub micros: Option<u64>,
}

/// Reads a chain.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Those that come after the one that is read.
    files: VecDeque<PathBuf>,
    file: Option<(File, PathBuf, u64)>,
    head: Head,
}

impl Reader {
    /// Of the ledger at `path` and the closed files beside it.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let listed = files(path).map_err(|source| LedgerError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            files: listed.into_iter().map(|(file, _)| file).collect(),
            file: None,
            head: Head::BEGIN,
        })
    }

    /// Shows each record that is there and was not shown yet, with its line.
    ///
    /// # Errors
    /// It cannot be read, or the chain does not hold there; what is before was shown.
    pub fn read(&mut self, mut show: impl FnMut(Record, &str)) -> Result<(), Flaw> {
        loop {
            self.read_file(&mut show)?;
            if !self.next_file()? {
                return Ok(());
            }
        }
    }

    fn read_file(&mut self, show: &mut impl FnMut(Record, &str)) -> Result<(), Flaw> {
        let Some((file, path, offset)) = &mut self.file else {
            return Ok(());
        };
        let failed = |error| unreadable(path, error);
        let length = file.metadata().map_err(failed)?.len();
        let mut bytes = vec![0; length.saturating_sub(*offset) as usize];
        file.read_exact_at(&mut bytes, *offset).map_err(failed)?;
        if self.head == Head::BEGIN && *offset == 0 {
            self.head = chain::before(&bytes).unwrap_or(Head::BEGIN);
        }
        let followed = follow(&mut self.head, &bytes, |_, _, at| {
            let line = bytes[..at - 1].rsplit(|byte| *byte == b'\n').next();
            let line = str::from_utf8(line.unwrap_or_default()).unwrap_or_default();
            // A kind that a later version writes may have fields of another form.
            if let Ok(record) = serde_json::from_str(line) {
                show(record, line);
            }
        });
        let broken = |why| Flaw::Broken {
            file: path.clone(),
            why,
        };
        let torn = match followed.map_err(broken)? {
            End::Whole => 0,
            End::Torn(torn) => torn,
            // Its newline is on the way.
            End::WithoutNewline => {
                let line = bytes.rsplit(|byte| *byte == b'\n').next();
                line.map_or(0, <[u8]>::len)
            }
        };
        *offset += (bytes.len() - torn) as u64;
        if torn > 0 && !self.files.is_empty() {
            let sequence = self.head.sequence + 1;
            return Err(broken(Broken::NoRecord { sequence }));
        }
        Ok(())
    }

    /// Goes to the file that carries on the one that was read, where there is one.
    fn next_file(&mut self) -> Result<bool, Flaw> {
        let failed = |error| unreadable(&self.path, error);
        let next = match (self.files.pop_front(), &self.file) {
            (Some(listed), _) => listed,
            (None, Some((file, ..))) if rotation::is(file, &self.path).map_err(failed)? => {
                return Ok(false);
            }
            _ => {
                let closed = rotation::closed(&self.path, self.head.sequence + 1);
                match closed.try_exists() {
                    Ok(true) => closed,
                    _ => self.path.clone(),
                }
            }
        };
        match File::open(&next) {
            Ok(file) => {
                self.file = Some((file, next, 0));
                Ok(true)
            }
            // Between two looks it was closed, and has another name.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.file.is_some() => {
                Ok(false)
            }
            Err(error) => Err(unreadable(&next, error)),
        }
    }
}
