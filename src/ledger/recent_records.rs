//! Reads the last records of a ledger, and no more of it than a bound: the state of an environment is looked at often, and a ledger
//! of years is not read for it. `hsm-mtls ledger verify` reads all of it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::chain_files;
use super::chain_parser;
use super::chunked_read::read_range;
use super::hash_chain::{ChainBreak, ChainHead, RecordHeader};
use super::record_reader::Record;
use super::verify::{VerifyError, unreadable};
use crate::config::trust::Fingerprint;

/// The last records of a ledger.
#[derive(Debug)]
pub struct RecentRecords {
    /// Those that were read, the newest first. Records of a form that this version does not know are left out.
    pub records: Vec<Record>,
    /// Whether these are all that the files hold.
    pub is_whole: bool,
}

impl RecentRecords {
    /// Reads file by file, the newest first, until `max_bytes` were read, or a file has a record that is old enough. The hash chain
    /// is verified within what is read of each file.
    ///
    /// # Errors
    /// The ledger cannot be read, or its chain is broken there.
    pub fn read(
        path: &Path,
        max_bytes: u64,
        is_old_enough: impl Fn(&Record) -> bool,
    ) -> Result<Self, VerifyError> {
        let (files, _) = chain_files::list(path).map_err(|error| unreadable(path, error))?;
        let mut records = Vec::new();
        let mut left = max_bytes;
        for (number, listed) in files.iter().enumerate().rev() {
            let failed = |error| unreadable(listed.path(), error);
            let file = listed.open().map_err(failed)?;
            let length = listed.length(&file).map_err(failed)?;
            let from = length.saturating_sub(left);
            left -= length - from;
            let end = match read_end(&file, from, length).map_err(failed)? {
                Ok(end) => end,
                Err(why) => {
                    let file = listed.path().to_owned();
                    return Err(VerifyError::Broken { file, why });
                }
            };
            let is_enough = left == 0 || end.iter().any(&is_old_enough);
            records.extend(end.into_iter().rev());
            if is_enough {
                let is_whole = number == 0 && from == 0;
                return Ok(Self { records, is_whole });
            }
        }
        let is_whole = true;
        Ok(Self { records, is_whole })
    }
}

/// The records of a file from this offset on, oldest first; or where the chain is broken.
fn read_end(file: &File, from: u64, length: u64) -> io::Result<Result<Vec<Record>, ChainBreak>> {
    let bytes = read_range(file, from, length)?;
    let (start, mut head) = match from {
        0 => {
            let head = chain_parser::head_before(&bytes);
            (0, head.unwrap_or(ChainHead::EMPTY))
        }
        _ => first_whole_record(&bytes)
            .ok_or_else(|| io::Error::other("there is no record in its last part"))?,
    };
    let mut records = Vec::new();
    let parsed = chain_parser::parse_chain(&mut head, &bytes[start..], |_, line, _, _| {
        records.extend(serde_json::from_slice::<Record>(line));
    });
    Ok(parsed.map(|_| records))
}

/// The offset after the first record that begins in these bytes, and the head after it. The bytes may begin in the middle of a line,
/// and a line that a crash tore may be next.
fn first_whole_record(bytes: &[u8]) -> Option<(usize, ChainHead)> {
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == b'\n')? + 1;
        let line = &bytes[at..];
        let line = &line[..line.iter().position(|byte| *byte == b'\n')?];
        if let Ok(header) = serde_json::from_slice::<RecordHeader>(line) {
            let head = ChainHead {
                sequence: header.seq,
                hash: Fingerprint::of(line),
            };
            return Some((at + line.len() + 1, head));
        }
    }
}

/// Whether there are closed files of a ledger, beside the one that is written.
pub fn has_closed_files(path: &Path) -> bool {
    chain_files::list_closed(path).is_ok_and(|closed| !closed.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::config::ledger::{Fsync, LedgerConfig};
    use crate::ledger::{Entry, FileLedger, Initialize, Ledger as _, Process};

    /// A ledger with so many records beside the first of each file.
    fn ledger(records: usize, rotate_at_mib: u64) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.jsonl");
        let config = LedgerConfig {
            file: file.clone(),
            fsync: Fsync::Interval,
            fsync_interval: Duration::from_millis(10),
            rotate_at_mib,
            head: None,
            head_interval: Duration::from_secs(60),
        };
        let ledger = FileLedger::open(&config).unwrap();
        for _ in 0..records {
            let entry = Entry::Initialize(Initialize {
                module: "/usr/lib/libvendor.so",
                process: Process::current(),
            });
            ledger.record(&entry).unwrap();
        }
        (folder, file)
    }

    fn numbers(read: &RecentRecords) -> Vec<u64> {
        read.records.iter().map(|record| record.seq).collect()
    }

    #[test]
    fn no_more_is_read_than_the_bound() {
        let (_folder, file) = ledger(50, 1024);
        let whole = RecentRecords::read(&file, 1 << 20, |_| false).unwrap();
        assert!(whole.is_whole);
        assert_eq!(numbers(&whole), (1..=51).rev().collect::<Vec<_>>());
        let length = fs::metadata(&file).unwrap().len();
        let end = RecentRecords::read(&file, length / 2, |_| false).unwrap();
        assert!(!end.is_whole);
        let read = numbers(&end);
        assert!((20..=26).contains(&read.len()), "{read:?}");
        assert_eq!(read, numbers(&whole)[..read.len()]);
    }

    #[test]
    fn older_files_are_read_as_far_as_they_are_needed() {
        // A file for each record.
        let (_folder, file) = ledger(10, 0);
        let whole = RecentRecords::read(&file, 1 << 20, |_| false).unwrap();
        assert!(whole.is_whole && whole.records.len() > 10, "{whole:?}");
        let newest = whole.records[0].seq;
        let enough = RecentRecords::read(&file, 1 << 20, |record| record.seq < newest - 3).unwrap();
        assert!(!enough.is_whole && enough.records.len() < 8, "{enough:?}");
        assert_eq!(numbers(&enough), numbers(&whole)[..enough.records.len()]);
    }

    #[test]
    fn a_torn_line_is_passed_over_and_a_changed_one_is_not() {
        let (_folder, file) = ledger(20, 1024);
        let text = fs::read_to_string(&file).unwrap();
        let mut append = OpenOptions::new().append(true).open(&file).unwrap();
        append.write_all(b"{\"seq\":22,\"time\":\"20").unwrap();
        assert_eq!(
            RecentRecords::read(&file, 1 << 20, |_| false)
                .unwrap()
                .records
                .len(),
            21
        );

        let half = text.len() as u64 / 2;
        let changed = text.replacen("libvendor", "libWendor", 1);
        fs::write(&file, &changed).unwrap();
        let broken = RecentRecords::read(&file, 1 << 20, |_| false).unwrap_err();
        assert!(matches!(broken, VerifyError::Broken { .. }), "{broken}");
        // It is not in the part that is read.
        RecentRecords::read(&file, half, |_| false).unwrap();

        fs::write(&file, "no ledger\n".repeat(1000)).unwrap();
        RecentRecords::read(&file, 1 << 20, |_| false).unwrap_err();
        RecentRecords::read(&file, 100, |_| false).unwrap_err();
        assert!(RecentRecords::read(&file.with_extension("none"), 100, |_| false).is_err());
    }
}
