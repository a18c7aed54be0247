//! Reads the hash chain in a file in chunks: a ledger file may be of any length, and is not read into memory as a whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::chain_parser::{self, Tail};
use super::hash_chain::{ChainBreak, ChainHead, RecordHeader};

/// The size of a chunk, in bytes. A longer line, also a torn one, is damage.
const CHUNK_SIZE: u64 = 1 << 20;

/// The position up to which the chain in a file was verified.
#[derive(Clone, Debug)]
pub(super) struct ChainPosition {
    /// The offset of the byte after the last verified record.
    pub(super) offset: u64,
    /// The head of the chain after that record.
    pub(super) head: ChainHead,
}

/// Why the chain could not be read to its end.
#[derive(Debug)]
pub(super) enum ChainReadError {
    Unreadable(io::Error),
    Broken(ChainBreak),
}

/// The bytes of a file from one offset to another.
pub(super) fn read_range(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; to.saturating_sub(from) as usize];
    file.read_exact_at(&mut bytes, from).map(|()| bytes)
}

/// The first chunk of a file of this length. It contains the first line.
pub(super) fn read_first_chunk(file: &File, length: u64) -> io::Result<Vec<u8>> {
    read_range(file, 0, length.min(CHUNK_SIZE))
}

/// The position after the last record of a file of this length. `None`: the last chunk contains no record.
pub(super) fn find_last_record(file: &File, length: u64) -> io::Result<Option<ChainPosition>> {
    let mut size = CHUNK_SIZE >> 4;
    loop {
        let from = length.saturating_sub(size);
        let bytes = read_range(file, from, length)?;
        if let Some((end, head)) = chain_parser::last_record(&bytes) {
            let offset = from + end as u64;
            return Ok(Some(ChainPosition { offset, head }));
        }
        if from == 0 || size >= CHUNK_SIZE {
            return Ok(None);
        }
        size = CHUNK_SIZE;
    }
}

/// Verifies the chain from `position` to `length`, and calls `on_record` once for each record, with its header, its
/// line and the head after it. Advances `position` to the end of the last complete record, also if it fails.
pub(super) fn read_chain(
    position: &mut ChainPosition,
    file: &File,
    length: u64,
    mut on_record: impl FnMut(&RecordHeader, &[u8], &ChainHead),
) -> Result<Tail, ChainReadError> {
    loop {
        let end = length.min(position.offset + CHUNK_SIZE);
        let bytes = read_range(file, position.offset, end).map_err(ChainReadError::Unreadable)?;
        // A line that this chunk does not hold completely is read with the next chunk.
        let complete = match end == length {
            true => bytes.len(),
            false => match bytes.iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None => return Err(line_too_long(position)),
            },
        };
        let start = position.offset;
        let ChainPosition { offset, head } = position;
        let tail = chain_parser::parse_chain(head, &bytes[..complete], |header, line, head, at| {
            *offset = start + at as u64;
            on_record(header, line, head);
        });
        let tail = tail.map_err(ChainReadError::Broken)?;
        if end == length {
            return Ok(tail);
        }
        if position.offset == start {
            return Err(line_too_long(position));
        }
    }
}

fn line_too_long(position: &ChainPosition) -> ChainReadError {
    ChainReadError::Broken(ChainBreak::NoRecord {
        sequence: position.head.sequence + 1,
    })
}
