//! Lines that are followed from a head on. One that a crash tore is passed where the record of just
//! its bytes comes next, and only where it can be what a crash left: anything else is damage.

use serde::de::IgnoredAny;

use super::chain::{Broken, Head, Link};
use crate::config::trust::Fingerprint;

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

/// Follows the chain through bytes that begin at a line's beginning; each record is shown once, with
/// its line, and with the head and the place behind it.
///
/// # Errors
/// A line does not carry it on.
pub(super) fn follow(
    head: &mut Head,
    bytes: &[u8],
    mut show: impl FnMut(&Link, &[u8], &Head, usize),
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
                None if is_tear(head, rest) => return Ok(End::Torn(rest.len())),
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
        show(&link, line, head, at);
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

/// Where bytes that a crash left are followed by the record of just these bytes: how many they
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
            if serde_json::from_slice::<Link>(line).is_ok() {
                return None;
            }
            continue;
        };
        let torn = &bytes[..end];
        return (link.repairs(torn) && is_tear(head, torn)).then_some(end + 1);
    }
    None
}

/// Whether bytes can be what crashes left. One leaves a beginning of the line that was due. The next
/// writer puts a newline behind it, and then a repair, of which a second crash may leave a beginning
/// too: each piece begins the record that is due after this head.
fn is_tear(head: &Head, bytes: &[u8]) -> bool {
    bytes
        .split(|byte| *byte == b'\n')
        .all(|piece| begins_next(head, piece))
}

fn begins_next(head: &Head, piece: &[u8]) -> bool {
    const TIME: &str = "0000-00-00T00:00:00.000000Z";
    // What a power cut kept from the disk reads as zeros.
    let zeros = piece.iter().rev().take_while(|byte| **byte == 0).count();
    let piece = &piece[..piece.len() - zeros];
    let begin = format!("{BEGIN}{},\"time\":\"", head.sequence + 1);
    let digits = begin.len()..begin.len() + TIME.len();
    let form = format!("{begin}{TIME}\",\"prev\":\"{}\",\"kind\":\"", head.hash);
    let fits = piece.iter().zip(form.bytes()).enumerate();
    let fits = fits.into_iter().all(|(at, (byte, due))| match due {
        b'0' if digits.contains(&at) => byte.is_ascii_digit(),
        due => *byte == due,
    });
    if !fits || piece.len() <= form.len() {
        return fits;
    }
    // No key of a record but the first is its number, and in a text a quote is escaped: a second
    // beginning is another writer's line, behind half a line of somebody else.
    let again = piece[1..]
        .windows(BEGIN.len())
        .any(|window| window == BEGIN.as_bytes());
    let cut = serde_json::from_slice::<IgnoredAny>(piece);
    !again && cut.is_err_and(|error| error.is_eof())
}

/// What each line begins with.
const BEGIN: &str = "{\"seq\":";

/// The head before a file's first record, as that record claims it.
pub(super) fn before(bytes: &[u8]) -> Option<Head> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let link: Link = serde_json::from_slice(line).ok()?;
    let sequence = link.seq.checked_sub(1)?;
    let head: Head = format!("{sequence}:{}", link.prev).parse().ok()?;
    (link.kind == "begin" && (sequence > 0 || head == Head::BEGIN)).then_some(head)
}

/// The first record's number and the ledger's name, where bytes begin a ledger.
pub(super) fn first_of(bytes: &[u8]) -> Option<(u64, String)> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let link: Link = serde_json::from_slice(line).ok()?;
    Some((link.seq, link.ledger()?.to_owned()))
}

/// Whether bytes may be the beginning of a ledger whose first record a crash tore.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next();
    line.is_none_or(|line| begins_next(&Head::BEGIN, line))
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

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
