//! The hash chain: each line contains its sequence number and the SHA-256 of the line before. A record that was changed,
//! removed, inserted or moved breaks the chain there.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::SystemTime;

use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::trust::Fingerprint;
use crate::rfc3339;

/// The maximum length of a line, in bytes: peers, labels and request ids are text from outside.
pub(super) const MAX_LINE_LENGTH: usize = 16 << 10;

/// The head of a hash chain: sequence number and hash of its last record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The sequence number of the last record; 0 if there is none.
    pub sequence: u64,
    /// The SHA-256 of its line, without the newline.
    pub hash: Fingerprint,
}

impl ChainHead {
    /// The head of a chain without records.
    pub const EMPTY: Self = Self {
        sequence: 0,
        hash: Fingerprint([0; 32]),
    };
}

impl Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl FromStr for ChainHead {
    type Err = String;

    /// Parses `SEQ:HASH`, the form in which heads are exported.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no head: write SEQ:HASH, as it was exported");
        let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
        let hash = Fingerprint::deserialize(StrDeserializer::<ValueError>::new(hash));
        Ok(Self {
            sequence: sequence.parse().map_err(|_| wrong())?,
            hash: hash.map_err(|_| wrong())?,
        })
    }
}

/// The fields of a record that the hash chain itself needs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RecordHeader {
    pub(super) seq: u64,
    /// Required in each record; its value is not verified.
    #[serde(rename = "time")]
    _time: String,
    pub(super) prev: String,
    pub(super) kind: String,
    of: Option<u64>,
    ledger: Option<String>,
    torn_bytes: Option<u64>,
    torn_hash: Option<Fingerprint>,
}

/// The record of a torn line, whose bytes stay in the file before it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename = "repair")]
pub(super) struct RepairRecord {
    torn_bytes: u64,
    torn_hash: Fingerprint,
}

/// The first record of each file.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename = "begin")]
pub(super) struct BeginRecord<'a> {
    schema: u32,
    program: &'static str,
    /// The unique name of the ledger, the same in each of its files: so no two ledgers have a hash in common.
    ledger: &'a str,
}

impl<'a> BeginRecord<'a> {
    pub(super) fn new(ledger: &'a str) -> Self {
        Self {
            schema: 0,
            program: concat!("hsm-mtls ", env!("CARGO_PKG_VERSION")),
            ledger,
        }
    }
}

impl RepairRecord {
    pub(super) fn new(torn: &[u8]) -> Self {
        Self {
            torn_bytes: torn.len() as u64,
            torn_hash: Fingerprint::of(torn),
        }
    }
}

/// Where and why the hash chain is broken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChainBreak {
    /// A line is not a record.
    #[error("record {sequence} is not there: a line that is no record stands in its place")]
    NoRecord {
        /// The expected sequence number.
        sequence: u64,
    },
    /// A record has another sequence number than the expected one.
    #[error("record {sequence} is not there: the next is {found}")]
    OutOfOrder {
        /// The expected sequence number.
        sequence: u64,
        /// The number that was found.
        found: u64,
    },
    /// A record does not contain the hash of the record before it.
    #[error(
        "record {sequence} does not carry the hash of the one before: one of the two was changed, or is of another ledger"
    )]
    Hash {
        /// The sequence number of the record.
        sequence: u64,
    },
}

impl ChainBreak {
    /// The sequence number at which the chain breaks: that record, or the one before it, was changed.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::NoRecord { sequence }
            | Self::OutOfOrder { sequence, .. }
            | Self::Hash { sequence } => *sequence,
        }
    }
}

impl RecordHeader {
    /// Whether this is the first record of an operation, which an `outcome` record follows.
    pub(super) fn expects_outcome(&self) -> bool {
        const OPERATIONS: [&str; 6] = [
            "attempt",
            "login",
            "initialize",
            "key-generation",
            "key-change",
            "key-destruction",
        ];
        OPERATIONS.contains(&self.kind.as_str())
    }

    /// The sequence number of the operation's first record; `None` if this is no `outcome` record.
    pub(super) fn outcome_of(&self) -> Option<u64> {
        self.of.filter(|_| self.kind == "outcome")
    }

    /// The name of the ledger; `None` if this is no `begin` record.
    pub(super) fn ledger(&self) -> Option<&str> {
        self.ledger.as_deref().filter(|_| self.kind == "begin")
    }

    /// Whether this is a `repair` record of exactly these torn bytes.
    pub(super) fn repairs(&self, torn: &[u8]) -> bool {
        self.kind == "repair"
            && self.torn_bytes == Some(torn.len() as u64)
            && self.torn_hash == Some(Fingerprint::of(torn))
    }
}

/// A record as it is serialised.
#[derive(Serialize)]
struct Line<'a, T> {
    seq: u64,
    time: String,
    prev: &'a Fingerprint,
    #[serde(flatten)]
    entry: &'a T,
}

/// Encodes the next record as a line without its newline, and returns the head of the chain after it.
pub(super) fn encode_line<T: Serialize>(
    head: &ChainHead,
    entry: &T,
) -> serde_json::Result<(Vec<u8>, ChainHead)> {
    let line = serde_json::to_vec(&Line {
        seq: head.sequence + 1,
        time: rfc3339::with_micros(SystemTime::now()),
        prev: &head.hash,
        entry,
    })?;
    let head = ChainHead {
        sequence: head.sequence + 1,
        hash: Fingerprint::of(&line),
    };
    Ok((line, head))
}
