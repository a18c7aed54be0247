//! Parses the lines of a ledger and verifies the hash chain. A torn line (one that a crash left incomplete) is skipped if a
//! repair record of exactly its bytes follows, and if a crash can have left these bytes; otherwise the chain is broken.

use serde::de::IgnoredAny;

use super::hash_chain::{ChainBreak, ChainHead, RecordHeader};
use crate::config::trust::Fingerprint;

/// How the parsed bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With a complete line.
    Complete,
    /// With this many bytes of an incomplete line.
    Torn(usize),
    /// With a complete record whose newline is missing.
    MissingNewline,
}

/// Verifies the chain in `bytes`, which begin at the start of a line, and advances `head`. Calls `on_record` once for each
/// record, with its header, its line, and the head and offset after it.
///
/// # Errors
/// A line does not continue the chain.
pub(super) fn parse_chain(
    head: &mut ChainHead,
    bytes: &[u8],
    mut on_record: impl FnMut(&RecordHeader, &[u8], &ChainHead, usize),
) -> Result<Tail, ChainBreak> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (line, complete) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&rest[..end], true),
            None => (rest, false),
        };
        let header = match parse_line(head, line) {
            Ok(header) => header,
            Err(broken) => match repaired_bytes(head, rest) {
                Some(skipped) => {
                    at += skipped;
                    continue;
                }
                None if is_torn(head, rest) => return Ok(Tail::Torn(rest.len())),
                None => return Err(broken),
            },
        };
        if !complete {
            return Ok(Tail::MissingNewline);
        }
        *head = ChainHead {
            sequence: header.seq,
            hash: Fingerprint::of(line),
        };
        at += line.len() + 1;
        on_record(&header, line, head, at);
    }
    Ok(Tail::Complete)
}

fn parse_line(head: &ChainHead, line: &[u8]) -> Result<RecordHeader, ChainBreak> {
    let sequence = head.sequence + 1;
    let header: RecordHeader =
        serde_json::from_slice(line).map_err(|_| ChainBreak::NoRecord { sequence })?;
    if header.seq != sequence {
        return Err(ChainBreak::OutOfOrder {
            sequence,
            found: header.seq,
        });
    }
    if header.prev != head.hash.to_string() {
        return Err(ChainBreak::Hash { sequence });
    }
    Ok(header)
}

/// The number of torn bytes at the start of `bytes`, including the newline that the next writer appended, if a repair
/// record of exactly these bytes follows them.
fn repaired_bytes(head: &ChainHead, bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate();
    let ends = ends.filter_map(|(at, byte)| (*byte == b'\n').then_some(at));
    for end in ends {
        let after = &bytes[end + 1..];
        let length = after.iter().position(|byte| *byte == b'\n');
        let line = &after[..length.unwrap_or(after.len())];
        let Ok(header) = parse_line(head, line) else {
            // A record that does not continue the chain: the bytes before it are not torn.
            if serde_json::from_slice::<RecordHeader>(line).is_ok() {
                return None;
            }
            continue;
        };
        let torn = &bytes[..end];
        return (header.repairs(torn) && is_torn(head, torn)).then_some(end + 1);
    }
    None
}

/// Whether crashes can have left these bytes. A crash leaves a prefix of the next record. The next writer appends a newline
/// and a repair record, of which a second crash may leave a prefix too: so each line must be a prefix of a record that
/// follows this head.
fn is_torn(head: &ChainHead, bytes: &[u8]) -> bool {
    bytes
        .split(|byte| *byte == b'\n')
        .all(|piece| is_prefix_of_next(head, piece))
}

fn is_prefix_of_next(head: &ChainHead, piece: &[u8]) -> bool {
    const TIME: &str = "0000-00-00T00:00:00.000000Z";
    // After a power cut, blocks that did not reach the disk read as zeros.
    let zeros = piece.iter().rev().take_while(|byte| **byte == 0).count();
    let piece = &piece[..piece.len() - zeros];
    let begin = format!("{LINE_START}{},\"time\":\"", head.sequence + 1);
    let digits = begin.len()..begin.len() + TIME.len();
    let template = format!("{begin}{TIME}\",\"prev\":\"{}\",\"kind\":\"", head.hash);
    let pairs = piece.iter().zip(template.bytes()).enumerate();
    let matches = pairs
        .into_iter()
        .all(|(at, (byte, expected))| match expected {
            b'0' if digits.contains(&at) => byte.is_ascii_digit(),
            expected => *byte == expected,
        });
    if !matches || piece.len() <= template.len() {
        return matches;
    }
    // `seq` occurs only as the first key of a record, and a quote within a string is escaped: so a second line start means
    // that another record follows an incomplete one.
    let has_second_record = piece[1..]
        .windows(LINE_START.len())
        .any(|window| window == LINE_START.as_bytes());
    let parsed = serde_json::from_slice::<IgnoredAny>(piece);
    !has_second_record && parsed.is_err_and(|error| error.is_eof())
}

/// The first bytes of each line.
const LINE_START: &str = "{\"seq\":";

/// The head before the first record of a file, as that record states it.
pub(super) fn head_before(bytes: &[u8]) -> Option<ChainHead> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let header: RecordHeader = serde_json::from_slice(line).ok()?;
    let sequence = header.seq.checked_sub(1)?;
    let head: ChainHead = format!("{sequence}:{}", header.prev).parse().ok()?;
    (header.kind == "begin" && (sequence > 0 || head == ChainHead::EMPTY)).then_some(head)
}

/// The sequence number of the first record and the ledger's name, if the bytes are the start of a ledger file.
pub(super) fn first_record(bytes: &[u8]) -> Option<(u64, String)> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let header: RecordHeader = serde_json::from_slice(line).ok()?;
    Some((header.seq, header.ledger()?.to_owned()))
}

/// Whether the bytes can be a ledger whose first record a crash tore.
pub(super) fn is_torn_first_record(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next();
    line.is_none_or(|line| is_prefix_of_next(&ChainHead::EMPTY, line))
}

/// The offset after the last complete record, and the head after it.
pub(super) fn last_record(bytes: &[u8]) -> Option<(usize, ChainHead)> {
    let mut end = bytes.len();
    while let Some(newline) = bytes[..end].iter().rposition(|byte| *byte == b'\n') {
        let line = bytes[..newline].rsplit(|byte| *byte == b'\n').next()?;
        if let Ok(header) = serde_json::from_slice::<RecordHeader>(line) {
            let hash = Fingerprint::of(line);
            let sequence = header.seq;
            return Some((newline + 1, ChainHead { sequence, hash }));
        }
        end = newline;
    }
    None
}

#[cfg(test)]
#[path = "chain_parser_tests.rs"]
mod tests;
