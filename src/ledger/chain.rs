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
    pub(super) prev: String,
    pub(super) kind: String,
    /// Of an `outcome`: the number of the record that it ends.
    pub(super) of: Option<u64>,
    /// Of a `begin`: the ledger's own name.
    pub(super) ledger: Option<String>,
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
}

/// The head before a file's first record, as that record claims it.
pub(super) fn before(bytes: &[u8]) -> Option<Head> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let link: Link = serde_json::from_slice(line).ok()?;
    let sequence = link.seq.checked_sub(1)?;
    let head: Head = format!("{sequence}:{}", link.prev).parse().ok()?;
    (link.kind == "begin" && (sequence > 0 || head == Head::BEGIN)).then_some(head)
}

/// What lines end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A whole line.
    Whole,
    /// So many bytes of a line that was never finished.
    Torn(usize),
    /// A whole record, but for its newline.
    WithoutNewline,
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

/// Follows the chain through bytes that begin at a line's beginning; each record is shown once, with
/// the place behind it.
///
/// # Errors
/// A line does not carry it on.
pub(super) fn follow(
    head: &mut Head,
    bytes: &[u8],
    mut show: impl FnMut(&Link, &Head, usize),
) -> Result<End, Broken> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (line, whole) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&rest[..end], true),
            None => (rest, false),
        };
        let link = match read(head, line) {
            Ok(link) => link,
            Err(broken) => match skip_torn(head, rest) {
                Some(repaired) => {
                    at += repaired;
                    continue;
                }
                None if holds_no_record(rest) => return Ok(End::Torn(rest.len())),
                None => return Err(broken),
            },
        };
        if !whole {
            return Ok(End::WithoutNewline);
        }
        *head = Head {
            sequence: link.seq,
            hash: Fingerprint::of(line),
        };
        at += line.len() + 1;
        show(&link, head, at);
    }
    Ok(End::Whole)
}

fn read(head: &Head, line: &[u8]) -> Result<Link, Broken> {
    let sequence = head.sequence + 1;
    let link: Link = serde_json::from_slice(line).map_err(|_| Broken::NoRecord { sequence })?;
    if link.seq != sequence {
        return Err(Broken::OutOfOrder {
            sequence,
            found: link.seq,
        });
    }
    if link.prev != head.hash.to_string() {
        return Err(Broken::Hash { sequence });
    }
    Ok(link)
}

/// Where bytes that are no record are followed by the record of just these bytes: how many they
/// are, the newline that was put behind them included.
fn skip_torn(head: &Head, bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate();
    let ends = ends.filter_map(|(at, byte)| (*byte == b'\n').then_some(at));
    for end in ends {
        let after = &bytes[end + 1..];
        let length = after.iter().position(|byte| *byte == b'\n');
        let line = &after[..length.unwrap_or(after.len())];
        let Ok(link) = read(head, line) else {
            // Another record: nothing was torn here.
            if is_record(line) {
                return None;
            }
            continue;
        };
        let torn = &bytes[..end];
        let of_these = link.kind == "repair"
            && link.torn_bytes == Some(torn.len() as u64)
            && link.torn_hash == Some(Fingerprint::of(torn));
        return of_these.then_some(end + 1);
    }
    None
}

/// The first record's number and the ledger's name, where bytes begin a ledger.
pub(super) fn first_of(bytes: &[u8]) -> Option<(u64, String)> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let link: Link = serde_json::from_slice(line).ok()?;
    Some((link.seq, link.ledger?))
}

/// Whether bytes may be the beginning of a first record.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = br#"{"seq":"#;
    let length = BEGIN.len().min(bytes.len());
    bytes[..length] == BEGIN[..length]
}

/// The last whole record: the place behind it, and the head there.
pub(super) fn last_of(bytes: &[u8]) -> Option<(usize, Head)> {
    let mut end = bytes.len();
    while let Some(newline) = bytes[..end].iter().rposition(|byte| *byte == b'\n') {
        let line = bytes[..newline].rsplit(|byte| *byte == b'\n').next()?;
        if let Ok(link) = serde_json::from_slice::<Link>(line) {
            let hash = Fingerprint::of(line);
            let sequence = link.seq;
            return Some((newline + 1, Head { sequence, hash }));
        }
        end = newline;
    }
    None
}

fn is_record(line: &[u8]) -> bool {
    serde_json::from_slice::<Link>(line).is_ok()
}

/// A write that a crash cut off leaves the beginning of a line, and no record after it.
fn holds_no_record(bytes: &[u8]) -> bool {
    !bytes.split(|byte| *byte == b'\n').any(is_record)
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
