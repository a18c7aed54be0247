//! The chain: each line carries its number and the hash of the line before. What was changed,
//! removed, put in or put elsewhere breaks it at that place.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::SystemTime;

use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::trust::Fingerprint;
use crate::rfc3339;

/// The longest line that is written, in bytes. A host name, a label and a request's id stand in it,
/// and they are other people's text.
pub(super) const LONGEST_LINE: usize = 16 << 10;

/// Where a chain ends: what the next record carries on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last record's number; 0 before the first.
    pub sequence: u64,
    /// SHA-256 of its line, without the newline.
    pub hash: Fingerprint,
}

impl Head {
    /// Before the first record.
    pub const BEGIN: Self = Self {
        sequence: 0,
        hash: Fingerprint([0; 32]),
    };
}

impl Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    /// `SEQ:HASH`, as it was exported.
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

/// What the chain itself reads of a line.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    /// Each has one. It is for people to read: nothing is decided by it.
    #[serde(rename = "time")]
    _time: String,
    pub(super) prev: String,
    pub(super) kind: String,
    of: Option<u64>,
    ledger: Option<String>,
    torn_bytes: Option<u64>,
    torn_hash: Option<Fingerprint>,
}

/// The record of a line that a crash tore; what was written of it stays where it is.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename = "repair")]
pub(super) struct Repair {
    torn_bytes: u64,
    torn_hash: Fingerprint,
}

/// The first record of a file.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename = "begin")]
pub(super) struct Begin<'a> {
    schema: u32,
    program: &'static str,
    /// The same in each file of a ledger, and in no other: two ledgers have no hash in common.
    ledger: &'a str,
}

impl<'a> Begin<'a> {
    pub(super) fn of(ledger: &'a str) -> Self {
        Self {
            schema: 0,
            program: concat!("hsm-mtls ", env!("CARGO_PKG_VERSION")),
            ledger,
        }
    }
}

impl Repair {
    pub(super) fn of(torn: &[u8]) -> Self {
        Self {
            torn_bytes: torn.len() as u64,
            torn_hash: Fingerprint::of(torn),
        }
    }
}

/// Why lines do not carry on the chain.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Broken {
    /// The line is no record.
    #[error("record {sequence} is not there: a line that is no record stands in its place")]
    NoRecord {
        /// The number that was due.
        sequence: u64,
    },
    /// The line is another record.
    #[error("record {sequence} is not there: the next is {found}")]
    OutOfOrder {
        /// The number that was due.
        sequence: u64,
        /// The number that came.
        found: u64,
    },
    /// It does not follow on the record before.
    #[error(
        "record {sequence} does not carry the hash of the one before: one of the two was changed, or is of another ledger"
    )]
    Hash {
        /// Its number.
        sequence: u64,
    },
}

impl Broken {
    /// The number of the record that is not as it was written, or does not carry on from one that
    /// is not.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::NoRecord { sequence }
            | Self::OutOfOrder { sequence, .. }
            | Self::Hash { sequence } => *sequence,
        }
    }
}

impl Link {
    /// Whether something is begun that is to have an outcome.
    pub(super) fn begins(&self) -> bool {
        const BEGUN: [&str; 5] = [
            "attempt",
            "login",
            "initialize",
            "key-generation",
            "key-destruction",
        ];
        BEGUN.contains(&self.kind.as_str())
    }

    /// Of an `outcome`: the number of the record that it ends.
    pub(super) fn of(&self) -> Option<u64> {
        self.of.filter(|_| self.kind == "outcome")
    }

    /// Of a `begin`: the ledger's own name.
    pub(super) fn ledger(&self) -> Option<&str> {
        self.ledger.as_deref().filter(|_| self.kind == "begin")
    }

    /// Of a `repair`: whether it is of these bytes.
    pub(super) fn repairs(&self, torn: &[u8]) -> bool {
        self.kind == "repair"
            && self.torn_bytes == Some(torn.len() as u64)
            && self.torn_hash == Some(Fingerprint::of(torn))
    }
}

/// A line of a chain.
#[derive(Serialize)]
struct Line<'a, T> {
    seq: u64,
    time: String,
    prev: &'a Fingerprint,
    #[serde(flatten)]
    entry: &'a T,
}

/// The line that carries the chain on, and where it ends then.
pub(super) fn line<T: Serialize>(head: &Head, entry: &T) -> serde_json::Result<(Vec<u8>, Head)> {
    let line = serde_json::to_vec(&Line {
        seq: head.sequence + 1,
        time: rfc3339::precisely(SystemTime::now()),
        prev: &head.hash,
        entry,
    })?;
    let head = Head {
        sequence: head.sequence + 1,
        hash: Fingerprint::of(&line),
    };
    Ok((line, head))
}
