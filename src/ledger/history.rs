//! The whole chain, read over all its files: that nothing in it was changed, and what it tells.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;

use super::LedgerError;
use super::chain::{Broken, Head, Link};
use super::follow::{self, End};
use super::rotation;
use super::stretch::{self, Place, Stop};
use super::turn::Locked;

/// How long a writer is waited for, so that its last line is not read half.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a chain that holds tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct History {
    /// The first record that is there; files before it may have been archived.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Where the chain ends, as `SEQ:HASH`.
    pub head: String,
    /// Its files, oldest first.
    pub files: Vec<PathBuf>,
    /// Signatures that were asked for.
    pub attempts: u64,
    /// Records of something begun that have no outcome: its process ended, or is at it.
    pub unfinished: Vec<u64>,
    /// Lines that a crash tore, and that a later record accounts for.
    pub repairs: u64,
    /// Bytes at the end that are no whole line; the next writer accounts for them.
    pub torn: usize,
}

/// Why a chain does not hold.
#[derive(Debug, Error)]
pub enum Flaw {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] LedgerError),
    /// A record is not as it was written.
    #[error("{}: {why}", file.display())]
    Broken {
        /// In this file.
        file: PathBuf,
        /// Where.
        why: Broken,
    },
    /// An outcome of nothing that was begun.
    #[error(
        "record {sequence} is an outcome of record {of}, which began nothing or has its outcome already"
    )]
    OutcomeOfNothing {
        /// Its number.
        sequence: u64,
        /// What it says that it ends.
        of: u64,
    },
    /// A record that carries the chain on, and that this program does not write there.
    #[error("record {sequence} {why}")]
    Stray {
        /// Its number.
        sequence: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The chain is shorter than it was.
    #[error("the chain ends at record {last}, and had {expected} before: its end was cut off")]
    CutOff {
        /// The last record.
        last: u64,
        /// The number of the head that was expected.
        expected: u64,
    },
    /// It is another chain.
    #[error(
        "record {sequence} has the hash {found}, and had another when the head was exported: the chain was written anew"
    )]
    AnotherChain {
        /// The number of the head that was expected.
        sequence: u64,
        /// The hash of that record.
        found: String,
    },
    /// The record of the head is in a file that is not here.
    #[error("record {sequence} is in a file that is not here: the first record is {first}")]
    NotHere {
        /// The number of the head that was expected.
        sequence: u64,
        /// The first record that is there.
        first: u64,
    },
}

impl Flaw {
    /// The record at which the chain does not hold.
    pub fn sequence(&self) -> Option<u64> {
        match self {
            Self::Unreadable(_) => None,
            Self::Broken { why, .. } => Some(why.sequence()),
            Self::CutOff { last, .. } => Some(last + 1),
            Self::OutcomeOfNothing { sequence, .. }
            | Self::Stray { sequence, .. }
            | Self::AnotherChain { sequence, .. }
            | Self::NotHere { sequence, .. } => Some(*sequence),
        }
    }
}

/// Reads the chain of a ledger, and of the closed files beside it. A head that was exported earlier
/// shows whether its end is still there.
///
/// # Errors
/// It cannot be read, or does not hold.
pub fn verify(path: &Path, expected: Option<&Head>) -> Result<History, Flaw> {
    let (files, _) = files(path).map_err(|error| unreadable(path, error))?;
    let mut history = History {
        first: 1,
        last: 0,
        head: Head::BEGIN.to_string(),
        files: Vec::new(),
        attempts: 0,
        unfinished: Vec::new(),
        repairs: 0,
        torn: 0,
    };
    let mut told = Told::default();
    let mut at_expected = None;
    let mut place: Option<Place> = None;
    let last = files.len().saturating_sub(1);
    for (index, listed) in files.into_iter().enumerate() {
        let unreadable = |error| unreadable(&listed.path, error);
        let file = listed.open().map_err(unreadable)?;
        // What was written since the lock was let go of is for the next time.
        let length = match listed.length {
            Some(length) => length,
            None => file.metadata().map_err(unreadable)?.len(),
        };
        let before = match place.take() {
            Some(place) => place.head,
            None => {
                let bytes = stretch::beginning(&file, length).map_err(unreadable)?;
                let before = follow::before(&bytes).unwrap_or(Head::BEGIN);
                history.first = before.sequence + 1;
                before
            }
        };
        told.file_begins();
        let at = place.insert(Place {
            offset: 0,
            head: before,
        });
        let followed = stretch::go_on(at, &file, length, |link, _, head| {
            told.take(link, history.first);
            if expected.is_some_and(|expected| expected.sequence == head.sequence) {
                at_expected = Some(head.hash);
            }
        });
        let broken = |why| Flaw::Broken {
            file: listed.path.clone(),
            why,
        };
        let end = followed.map_err(|stop| match stop {
            Stop::Unreadable(error) => unreadable(error),
            Stop::Broken(why) => broken(why),
        })?;
        match end {
            End::Whole => {}
            End::Torn(torn) if index == last => history.torn = torn,
            End::WithoutNewline if index == last => history.torn = 1,
            _ => {
                let sequence = at.head.sequence + 1;
                return Err(broken(Broken::NoRecord { sequence }));
            }
        }
        history.last = at.head.sequence;
        history.head = at.head.to_string();
        history.files.push(listed.path);
    }
    if let Some(flaw) = told.flaw {
        return Err(flaw);
    }
    (history.attempts, history.repairs) = (told.attempts, told.repairs);
    history.unfinished = told.begun.into_iter().collect();
    match (expected, at_expected) {
        (Some(expected), _) if expected.sequence > history.last => Err(Flaw::CutOff {
            last: history.last,
            expected: expected.sequence,
        }),
        (Some(expected), Some(found)) if found != expected.hash => Err(Flaw::AnotherChain {
            sequence: expected.sequence,
            found: found.to_string(),
        }),
        (Some(expected), None) if expected.sequence > 0 => Err(Flaw::NotHere {
            sequence: expected.sequence,
            first: history.first,
        }),
        _ => Ok(history),
    }
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> Flaw {
    LedgerError::Unreadable {
        path: path.to_owned(),
        source: error,
    }
    .into()
}

/// What the records say, one after the other.
#[derive(Default)]
struct Told {
    attempts: u64,
    repairs: u64,
    begun: BTreeSet<u64>,
    /// What the ledger calls itself.
    ledger: Option<String>,
    /// Whether the next record is its file's first.
    first_of_file: bool,
    /// The first one.
    flaw: Option<Flaw>,
}

impl Told {
    fn file_begins(&mut self) {
        self.first_of_file = true;
    }

    /// Takes a record of a chain whose first is here, or in a file before.
    fn take(&mut self, link: &Link, first: u64) {
        let sequence = link.seq;
        let stray = |why| Some(Flaw::Stray { sequence, why });
        self.attempts += u64::from(link.kind == "attempt");
        self.repairs += u64::from(link.kind == "repair");
        if link.begins() {
            self.begun.insert(sequence);
        }
        let first_of_file = std::mem::take(&mut self.first_of_file);
        let flaw = match (link.kind.as_str(), first_of_file) {
            ("begin", true) => {
                let ledger = self.ledger.take();
                self.ledger = link.ledger().map(str::to_owned);
                match (&self.ledger, ledger) {
                    (None, _) => stray("begins a file, and does not name the ledger"),
                    (named, earlier) if earlier.is_some() && *named != earlier => {
                        stray("begins a file of another ledger")
                    }
                    _ => None,
                }
            }
            ("begin", false) => stray("begins a file, and is not the first of one"),
            (_, true) => stray("is the first of its file, and does not begin it"),
            ("outcome", _) => match link.of() {
                None => stray("is an outcome, and does not say of what"),
                Some(of) if of < first || self.begun.remove(&of) => None,
                Some(of) => Some(Flaw::OutcomeOfNothing { sequence, of }),
            },
            _ => None,
        };
        if self.flaw.is_none() {
            self.flaw = flaw;
        }
    }
}

/// A file of the chain.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    /// The one that is written to is held open: meanwhile it may get another name. Those that were
    /// closed keep theirs.
    open: Option<File>,
    /// How much of it is whole.
    length: Option<u64>,
}

impl Listed {
    pub(super) fn open(&self) -> io::Result<File> {
        match &self.open {
            Some(file) => file.try_clone(),
            None => File::open(&self.path),
        }
    }
}

/// The files of the chain, oldest first, and the path of the last without links.
pub(super) fn files(path: &Path) -> io::Result<(Vec<Listed>, PathBuf)> {
    let path = fs::canonicalize(path)?;
    loop {
        let file = Arc::new(File::open(&path)?);
        // Where a writer hangs, its last line is read as it is.
        let locked = Locked::wait(&file, Instant::now() + PATIENCE)?;
        if !rotation::is(&file, &path)? {
            continue;
        }
        let length = file.metadata()?.len();
        let mut files = Vec::new();
        for (_, closed) in rotation::all_closed(&path)? {
            // A rotation that a crash cut off leaves a second name of the file.
            if !rotation::is(&file, &closed)? {
                files.push(Listed {
                    path: closed,
                    open: None,
                    length: None,
                });
            }
        }
        drop(locked);
        files.push(Listed {
            path: path.clone(),
            open: Some(file.try_clone()?),
            length: Some(length),
        });
        return Ok((files, path));
    }
}
