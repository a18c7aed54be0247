//! A stretch of a file, followed piece by piece: what others wrote into it may be of any length, and
//! is not taken into memory as a whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::chain::{Broken, Head, Link};
use super::follow::{End, follow};

/// So much is read at once, in bytes. Where a line is longer, or what a crash left, it is damage.
const PIECE: u64 = 1 << 20;

/// How far a file was followed.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Where the chain is there.
    pub(super) head: Head,
}

/// Why it was not followed further.
#[derive(Debug)]
pub(super) enum Stop {
    Unreadable(io::Error),
    Broken(Broken),
}

/// The last bytes of a file, `length` of which it has, that are wanted.
pub(super) fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; to.saturating_sub(from) as usize];
    file.read_exact_at(&mut bytes, from).map(|()| bytes)
}

/// The first bytes of a file, of which it has `length`: its first line is among them.
pub(super) fn beginning(file: &File, length: u64) -> io::Result<Vec<u8>> {
    read(file, 0, length.min(PIECE))
}

/// The last record of a file, of which it has `length`, and where it ends. `None`: none is near its
/// end.
pub(super) fn last(file: &File, length: u64) -> io::Result<Option<Place>> {
    let mut reach = PIECE >> 4;
    loop {
        let from = length.saturating_sub(reach);
        if let Some((at, head)) = super::follow::last_of(&read(file, from, length)?) {
            let offset = from + at as u64;
            return Ok(Some(Place { offset, head }));
        }
        if from == 0 || reach >= PIECE {
            return Ok(None);
        }
        reach = PIECE;
    }
}

/// Follows the chain from a place on until `length`; each record is shown once, with its line. The
/// place is then behind the last whole one.
pub(super) fn go_on(
    place: &mut Place,
    file: &File,
    length: u64,
    mut show: impl FnMut(&Link, &[u8], &Head),
) -> Result<End, Stop> {
    loop {
        let until = length.min(place.offset + PIECE);
        let bytes = read(file, place.offset, until).map_err(Stop::Unreadable)?;
        // A line that this piece does not hold whole is the next one's.
        let cut = match until == length {
            true => bytes.len(),
            false => match bytes.iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None => return Err(too_long(place)),
            },
        };
        let begin = place.offset;
        let Place { offset, head } = place;
        let end = follow(head, &bytes[..cut], |link, line, head, at| {
            *offset = begin + at as u64;
            show(link, line, head);
        });
        let end = end.map_err(Stop::Broken)?;
        if until == length {
            return Ok(end);
        }
        if place.offset == begin {
            return Err(too_long(place));
        }
    }
}

fn too_long(place: &Place) -> Stop {
    Stop::Broken(Broken::NoRecord {
        sequence: place.head.sequence + 1,
    })
}
