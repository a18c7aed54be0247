//! The records of a chain, one after the other, over all its files and as they come.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::LedgerError;
use super::chain::{Broken, Head};
use super::follow::{self, End};
use super::history::{Flaw, Listed, files, unreadable};
use super::rotation;
use super::stretch::{self, Place, Stop};

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
    /// Why the signer process refused.
    pub why: Option<String>,
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

/// What is read.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A record, with its line.
    Record(Box<Record>, &'a str),
    /// One of another form than this program writes, or a later version of it does: its number. It
    /// carries the chain on.
    OfAnotherForm(u64),
}

/// Reads a chain.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Those that come after the one that is read.
    files: VecDeque<Listed>,
    file: Option<(File, PathBuf)>,
    place: Place,
}

impl Reader {
    /// Of the ledger at `path` and the closed files beside it.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let (listed, path) = files(path).map_err(|source| LedgerError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path,
            files: listed.into(),
            file: None,
            place: Place {
                offset: 0,
                head: Head::BEGIN,
            },
        })
    }

    /// Shows each record that is there and was not shown yet.
    ///
    /// # Errors
    /// It cannot be read, or the chain does not hold there; what is before was shown.
    pub fn read(&mut self, mut show: impl FnMut(Seen<'_>)) -> Result<(), Flaw> {
        loop {
            // Looked at first: what has lost its name is not written to any more, and is then read
            // to its end.
            let last = self.is_last()?;
            let torn = self.read_file(&mut show)?;
            if last {
                return Ok(());
            }
            if let (true, Some((_, path))) = (torn, &self.file) {
                return Err(Flaw::Broken {
                    file: path.clone(),
                    why: Broken::NoRecord {
                        sequence: self.place.head.sequence + 1,
                    },
                });
            }
            if !self.next_file()? {
                return Ok(());
            }
        }
    }

    /// Whether the file that is read is the one that is written to.
    fn is_last(&self) -> Result<bool, Flaw> {
        let failed = |error| unreadable(&self.path, error);
        match &self.file {
            Some((file, _)) if self.files.is_empty() => {
                rotation::is(file, &self.path).map_err(failed)
            }
            _ => Ok(false),
        }
    }

    /// Says whether the end of the file is no whole line.
    fn read_file(&mut self, show: &mut impl FnMut(Seen<'_>)) -> Result<bool, Flaw> {
        let Some((file, path)) = &self.file else {
            return Ok(false);
        };
        let failed = |error| unreadable(path, error);
        let length = file.metadata().map_err(failed)?.len();
        if length < self.place.offset {
            return Err(unreadable(
                path,
                io::Error::other("it is shorter than it was"),
            ));
        }
        if self.place.head == Head::BEGIN && self.place.offset == 0 {
            let begin = stretch::beginning(file, length).map_err(failed)?;
            self.place.head = follow::before(&begin).unwrap_or(Head::BEGIN);
        }
        let end = stretch::go_on(&mut self.place, file, length, |link, line, _| {
            let text = str::from_utf8(line).ok();
            let record = text.and_then(|text| Some((serde_json::from_str(text).ok()?, text)));
            show(match record {
                Some((record, line)) => Seen::Record(Box::new(record), line),
                None => Seen::OfAnotherForm(link.seq),
            });
        });
        match end {
            Ok(End::Whole) => Ok(false),
            // The rest is on the way, or the next writer's to mend.
            Ok(End::Torn(_) | End::WithoutNewline) => Ok(true),
            Err(Stop::Unreadable(error)) => Err(unreadable(path, error)),
            Err(Stop::Broken(why)) => Err(Flaw::Broken {
                file: path.clone(),
                why,
            }),
        }
    }

    /// Goes to the file that carries on the one that was read, where there is one.
    fn next_file(&mut self) -> Result<bool, Flaw> {
        let opened = match self.files.pop_front() {
            Some(listed) => {
                let file = listed.open();
                let file = file.map_err(|error| unreadable(&listed.path, error))?;
                (file, listed.path)
            }
            None => {
                let first = self.place.head.sequence + 1;
                match rotation::with_first(&self.path, first, |path| File::open(path)) {
                    Ok(next) => next,
                    // It was moved away, and nothing is in its place yet.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(unreadable(&self.path, error)),
                }
            }
        };
        self.file = Some(opened);
        self.place.offset = 0;
        Ok(true)
    }
}
