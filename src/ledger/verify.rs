//! Verifies the whole hash chain in all its files, and the sequence of records: each file starts with its `begin` record,
//! and each outcome belongs to an operation.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::LedgerError;
use super::chain_files;
use super::chain_parser::{self, Tail};
use super::chunked_read::{self, ChainPosition, ChainReadError};
use super::hash_chain::{ChainBreak, ChainHead, RecordHeader};

/// The summary of a chain that is intact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainSummary {
    /// The sequence number of the first record; earlier files may have been archived.
    pub first: u64,
    /// The sequence number of the last record.
    pub last: u64,
    /// The head of the chain, as `SEQ:HASH`.
    pub head: String,
    /// The files of the chain, oldest first.
    pub files: Vec<PathBuf>,
    /// The number of `attempt` records: signatures that were requested from the token.
    pub attempts: u64,
    /// The sequence numbers of operations without an outcome: they are in progress, or their process ended before they did.
    pub unfinished: Vec<u64>,
    /// The number of torn lines that a repair record accounts for.
    pub repairs: u64,
    /// The number of bytes of an incomplete line at the end of the chain, which the next writer repairs.
    pub torn: usize,
}

/// Why a chain cannot be verified, or is not intact.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] LedgerError),
    /// The hash chain is broken.
    #[error("{}: {why}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// Where it is broken, and how.
        why: ChainBreak,
    },
    /// An outcome refers to no operation, or to one that has an outcome already.
    #[error(
        "record {sequence} is an outcome of record {of}, which began nothing or has its outcome already"
    )]
    OutcomeOfNothing {
        /// The sequence number of the outcome.
        sequence: u64,
        /// The sequence number of the operation to which it refers.
        of: u64,
    },
    /// A record continues the chain, but this program does not write such a record there.
    #[error("record {sequence} {why}")]
    Stray {
        /// The sequence number of the record.
        sequence: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The chain ends before the expected head, which was exported earlier: it was truncated.
    #[error("the chain ends at record {last}, and had {expected} before: its end was cut off")]
    CutOff {
        /// The sequence number of the last record.
        last: u64,
        /// The sequence number of the expected head.
        expected: u64,
    },
    /// The record with the sequence number of the expected head has another hash.
    #[error(
        "record {sequence} has the hash {found}, and had another when the head was exported: the chain was written anew"
    )]
    AnotherChain {
        /// The sequence number of the expected head.
        sequence: u64,
        /// The hash of that record.
        found: String,
    },
    /// The record of the expected head is in a file that is missing, such as an archived one.
    #[error("record {sequence} is in a file that is not here: the first record is {first}")]
    NotHere {
        /// The sequence number of the expected head.
        sequence: u64,
        /// The sequence number of the first record.
        first: u64,
    },
}

impl VerifyError {
    /// The sequence number of the record at which the verification failed.
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

/// Verifies the chain in the active file at `path` and in the closed files beside it. With an `expected` head, which was
/// exported earlier, also verifies that the chain was not truncated or replaced.
///
/// # Errors
/// The chain cannot be read, or is not intact.
pub fn verify(path: &Path, expected: Option<&ChainHead>) -> Result<ChainSummary, VerifyError> {
    let (files, _) = chain_files::list(path).map_err(|error| unreadable(path, error))?;
    let mut summary = ChainSummary {
        first: 1,
        last: 0,
        head: ChainHead::EMPTY.to_string(),
        files: Vec::new(),
        attempts: 0,
        unfinished: Vec::new(),
        repairs: 0,
        torn: 0,
    };
    let mut records = RecordSequence::default();
    let mut found_at_expected = None;
    let mut position: Option<ChainPosition> = None;
    let last = files.len().saturating_sub(1);
    for (index, chain_file) in files.into_iter().enumerate() {
        let unreadable = |error| unreadable(chain_file.path(), error);
        let file = chain_file.open().map_err(unreadable)?;
        let length = chain_file.length(&file).map_err(unreadable)?;
        let head_before = match position.take() {
            Some(position) => position.head,
            None => {
                let bytes = chunked_read::read_first_chunk(&file, length).map_err(unreadable)?;
                let head = chain_parser::head_before(&bytes).unwrap_or(ChainHead::EMPTY);
                summary.first = head.sequence + 1;
                head
            }
        };
        records.start_file();
        let position = position.insert(ChainPosition {
            offset: 0,
            head: head_before,
        });
        let read = chunked_read::read_chain(position, &file, length, |header, _, head| {
            records.add(header, summary.first);
            if expected.is_some_and(|expected| expected.sequence == head.sequence) {
                found_at_expected = Some(head.hash);
            }
        });
        let broken = |why| VerifyError::Broken {
            file: chain_file.path().to_owned(),
            why,
        };
        let tail = read.map_err(|error| match error {
            ChainReadError::Unreadable(error) => unreadable(error),
            ChainReadError::Broken(why) => broken(why),
        })?;
        match tail {
            Tail::Complete => {}
            Tail::Torn(torn) if index == last => summary.torn = torn,
            Tail::MissingNewline if index == last => summary.torn = 1,
            _ => {
                let sequence = position.head.sequence + 1;
                return Err(broken(ChainBreak::NoRecord { sequence }));
            }
        }
        summary.last = position.head.sequence;
        summary.head = position.head.to_string();
        summary.files.push(chain_file.path().to_owned());
    }
    if let Some(error) = records.error {
        return Err(error);
    }
    (summary.attempts, summary.repairs) = (records.attempts, records.repairs);
    summary.unfinished = records.unfinished.into_iter().collect();
    match (expected, found_at_expected) {
        (Some(expected), _) if expected.sequence > summary.last => Err(VerifyError::CutOff {
            last: summary.last,
            expected: expected.sequence,
        }),
        (Some(expected), Some(found)) if found != expected.hash => Err(VerifyError::AnotherChain {
            sequence: expected.sequence,
            found: found.to_string(),
        }),
        (Some(expected), None) if expected.sequence > 0 => Err(VerifyError::NotHere {
            sequence: expected.sequence,
            first: summary.first,
        }),
        _ => Ok(summary),
    }
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> VerifyError {
    LedgerError::Unreadable {
        path: path.to_owned(),
        source: error,
    }
    .into()
}

/// Checks the sequence of the records, and counts them.
#[derive(Default)]
struct RecordSequence {
    attempts: u64,
    repairs: u64,
    unfinished: BTreeSet<u64>,
    /// The name of the ledger in the last `begin` record.
    ledger: Option<String>,
    /// Whether the next record is its file's first.
    first_of_file: bool,
    /// The first error.
    error: Option<VerifyError>,
}

impl RecordSequence {
    fn start_file(&mut self) {
        self.first_of_file = true;
    }

    /// Adds the next record. Operations before `first`, the first record of the chain, are in archived files.
    fn add(&mut self, header: &RecordHeader, first: u64) {
        let sequence = header.seq;
        let stray = |why| Some(VerifyError::Stray { sequence, why });
        self.attempts += u64::from(header.kind == "attempt");
        self.repairs += u64::from(header.kind == "repair");
        if header.expects_outcome() {
            self.unfinished.insert(sequence);
        }
        let first_of_file = std::mem::take(&mut self.first_of_file);
        let error = match (header.kind.as_str(), first_of_file) {
            ("begin", true) => {
                let ledger = self.ledger.take();
                self.ledger = header.ledger().map(str::to_owned);
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
            ("outcome", _) => match header.outcome_of() {
                None => stray("is an outcome, and does not say of what"),
                Some(of) if of < first || self.unfinished.remove(&of) => None,
                Some(of) => Some(VerifyError::OutcomeOfNothing { sequence, of }),
            },
            _ => None,
        };
        if self.error.is_none() {
            self.error = error;
        }
    }
}
