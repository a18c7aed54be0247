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
use super::chain::{self, Broken, End, Head, follow};
use super::rotation;
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
    let files = files(path).map_err(|error| unreadable(path, error))?;
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
    let mut begun = BTreeSet::new();
    let mut head = None;
    let mut at_expected = None;
    let mut stray = None;
    let last = files.len().saturating_sub(1);
    for (index, (file, length)) in files.into_iter().enumerate() {
        let mut bytes = fs::read(&file).map_err(|error| unreadable(&file, error))?;
        // What was written since the lock was let go of is for the next time.
        bytes.truncate(length.unwrap_or(bytes.len()));
        let head = head.get_or_insert_with(|| {
            let before = chain::before(&bytes).unwrap_or(Head::BEGIN);
            history.first = before.sequence + 1;
            before
        });
        let first = history.first;
        let followed = follow(head, &bytes, |link, head, _| {
            history.attempts += u64::from(link.kind == "attempt");
            history.repairs += u64::from(link.kind == "repair");
            if link.begins() {
                begun.insert(link.seq);
            }
            let of = link.of.filter(|of| *of >= first);
            if let Some(of) = of.filter(|of| !begun.remove(of)) {
                stray.get_or_insert((link.seq, of));
            }
            if expected.is_some_and(|expected| expected.sequence == head.sequence) {
                at_expected = Some(head.hash);
            }
        });
        let broken = |why| Flaw::Broken {
            file: file.clone(),
            why,
        };
        match followed.map_err(broken)? {
            End::Whole => {}
            End::Torn(torn) if index == last => history.torn = torn,
            End::WithoutNewline if index == last => history.torn = 1,
            _ => {
                let sequence = head.sequence + 1;
                return Err(broken(Broken::NoRecord { sequence }));
            }
        }
        history.last = head.sequence;
        history.head = head.to_string();
        history.files.push(file);
    }
    if let Some((sequence, of)) = stray {
        return Err(Flaw::OutcomeOfNothing { sequence, of });
    }
    history.unfinished = begun.into_iter().collect();
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

/// The files of the chain, oldest first, and how much of the last is whole.
pub(super) fn files(path: &Path) -> io::Result<Vec<(PathBuf, Option<usize>)>> {
    loop {
        let file = Arc::new(File::open(path)?);
        // Where a writer hangs, its last line is read as it is.
        let _locked = Locked::wait(&file, Instant::now() + PATIENCE)?;
        if !rotation::is(&file, path)? {
            continue;
        }
        let length = file.metadata()?.len() as usize;
        let closed = rotation::all_closed(path)?.into_iter();
        let mut files = Vec::new();
        for (_, closed) in closed {
            // A rotation that a crash cut off leaves a second name of the file.
            if !rotation::is(&file, &closed)? {
                files.push((closed, None));
            }
        }
        files.push((path.to_owned(), Some(length)));
        return Ok(files);
    }
}
