//! Several writers append to one chain; a torn line is repaired, and a file that was changed or replaced is refused.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::super::chain_parser::{self, Tail};
use super::super::hash_chain::ChainBreak;
use super::super::{Initialize, Process};
use super::*;

fn config(folder: &TempDir) -> LedgerConfig {
    LedgerConfig {
        file: folder.path().join("new/ledger.jsonl"),
        fsync: Fsync::Interval,
        fsync_interval: Duration::from_millis(10),
        rotate_at_mib: 1,
        head: None,
        head_interval: Duration::from_secs(60),
    }
}

fn entry() -> Entry<'static> {
    Entry::Initialize(Initialize {
        module: "/usr/lib/libvendor.so",
        process: Process::current(),
    })
}

/// Verifies the chain over all its files and returns its head.
fn head(path: &Path) -> Result<ChainHead, ChainBreak> {
    let closed = chain_files::list_closed(path).unwrap();
    let files = closed.into_iter().map(|(_, path)| path);
    let mut head = ChainHead::EMPTY;
    for file in files.chain([path.to_owned()]) {
        let end = chain_parser::parse_chain(&mut head, &fs::read(file).unwrap(), |_, _, _, _| {})?;
        assert_eq!(end, Tail::Complete);
    }
    Ok(head)
}

#[test]
fn several_writers_make_one_chain_over_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    // Two ledgers of one file, as in two processes, with two threads each.
    config.rotate_at_mib = 0;
    let ledgers = [0, 1].map(|_| FileLedger::open(&config).unwrap());
    thread::scope(|scope| {
        for ledger in ledgers.iter().chain(&ledgers) {
            // On a busy disk one of them may have to wait for longer than the lock is waited for.
            let record = || {
                let mut results = iter::repeat_with(|| ledger.record(&entry()));
                let locked = |result: &_| matches!(result, Err(LedgerError::Locked { .. }));
                results.find(|result| !locked(result)).unwrap().unwrap()
            };
            scope.spawn(move || (0..50).for_each(|_| assert!(record() > 0)));
        }
    });
    // Each file has two records: its first one, and the entry.
    assert_eq!(head(&config.file).unwrap().sequence, 1 + 200 * 2);
    // A third ledger finds the head.
    let third = FileLedger::open(&config).unwrap();
    assert_eq!(third.head().unwrap(), head(&config.file).unwrap());
}

#[test]
fn a_torn_line_stays_and_a_repair_record_follows() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let running = FileLedger::open(&config).unwrap();
    running.record(&entry()).unwrap();
    for torn in ["{\"seq\":3,\"ti", "{\"seq\":5,\"time\":\"2026\n"] {
        let mut file = OpenOptions::new().append(true).open(&config.file).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        running.record(&entry()).unwrap();
        assert!(fs::read_to_string(&config.file).unwrap().contains(torn));
    }
    let text = fs::read_to_string(&config.file).unwrap();
    assert_eq!(text.matches("\"kind\":\"repair\"").count(), 2, "{text}");
    assert_eq!(head(&config.file).unwrap().sequence, 6);
    // A complete record whose newline is missing.
    fs::write(&config.file, text.trim_end()).unwrap();
    let late = FileLedger::open(&config).unwrap();
    assert_eq!(late.record(&entry()).unwrap(), 7);
    assert_eq!(head(&config.file).unwrap().sequence, 7);
}

#[test]
fn a_replaced_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let ledger = FileLedger::open(&config).unwrap();
    ledger.record(&entry()).unwrap();
    let good = fs::read(&config.file).unwrap();
    let aside = folder.path().join("aside");
    let refused = |expected: &str| {
        for _ in 0..2 {
            let error = ledger.record(&entry()).expect_err(expected);
            assert!(error.to_string().contains("ledger"), "{error}");
        }
    };
    fs::rename(&config.file, &aside).unwrap();
    refused("it is gone");
    fs::write(&config.file, "").unwrap();
    refused("an empty file");
    fs::write(&config.file, &good).unwrap();
    refused("a copy: others may write to the one or to the other");
    fs::rename(&aside, &config.file).unwrap();
    assert_eq!(ledger.record(&entry()).unwrap(), 3, "it is back");
    let file = OpenOptions::new().write(true).open(&config.file).unwrap();
    file.set_len(good.len() as u64 - 1).unwrap();
    refused("it is shorter");
}

#[test]
fn a_file_that_is_no_ledger_or_is_unsafe_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    fs::create_dir(folder.path().join("new")).unwrap();
    fs::write(&config.file, "root:x:0:0\n").unwrap();
    assert!(matches!(
        FileLedger::open(&config),
        Err(LedgerError::Unfit { .. })
    ));
    assert_eq!(fs::read(&config.file).unwrap(), b"root:x:0:0\n");
    fs::remove_file(&config.file).unwrap();
    fs::write(&config.file, "").unwrap();
    fs::set_permissions(&config.file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(
        FileLedger::open(&config),
        Err(LedgerError::Unsafe { .. })
    ));
}

#[test]
fn a_write_without_the_lock_is_detected_before_the_operation() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let ledger = FileLedger::open(&config).unwrap();
    ledger.record(&entry()).unwrap();
    // Something writes between the check of the file's length and the append.
    let written = ledger.writer.with_lock(|appender, _, length| {
        appender.catch_up(length)?;
        let mut file = OpenOptions::new().append(true).open(&config.file).unwrap();
        file.write_all(b"x").unwrap();
        appender.append(&entry())
    });
    let error = written.expect_err("the file is longer than expected");
    assert!(error.to_string().contains("wait for its lock"), "{error}");
    for _ in 0..2 {
        let error = ledger.record(&entry()).expect_err("nor the next");
        assert!(matches!(error, LedgerError::Broken { .. }), "{error}");
    }
}
