//! One chain, whoever writes, whatever happens to the file.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use tempfile::TempDir;

use super::super::{Initialize, Process, follow};
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
        process: Process::this(),
    })
}

/// The whole chain, over all its files.
fn head(path: &Path) -> Result<Head, Broken> {
    let closed = rotation::all_closed(path).unwrap();
    let files = closed.into_iter().map(|(_, path)| path);
    let mut head = Head::BEGIN;
    for file in files.chain([path.to_owned()]) {
        let end = follow::follow(&mut head, &fs::read(file).unwrap(), |_, _, _, _| {})?;
        assert_eq!(end, follow::End::Whole);
    }
    Ok(head)
}

#[test]
fn several_writers_make_one_chain_over_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    // Two ledgers of one file, as two processes have them, and two threads for each.
    config.rotate_at_mib = 0;
    let ledgers = [0, 1].map(|_| FileLedger::open(&config).unwrap());
    thread::scope(|scope| {
        for ledger in ledgers.iter().chain(&ledgers) {
            scope.spawn(|| (0..50).for_each(|_| assert!(ledger.record(&entry()).unwrap() > 0)));
        }
    });
    // A file for each record: one begins it, one is in it.
    assert_eq!(head(&config.file).unwrap().sequence, 1 + 200 * 2);
    // A third finds the end.
    let third = FileLedger::open(&config).unwrap();
    assert_eq!(third.head().unwrap(), head(&config.file).unwrap());
}

#[test]
fn what_a_crash_tore_is_recorded_and_stays() {
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
    // A whole record that lacks its newline alone.
    fs::write(&config.file, text.trim_end()).unwrap();
    let late = FileLedger::open(&config).unwrap();
    assert_eq!(late.record(&entry()).unwrap(), 7);
    assert_eq!(head(&config.file).unwrap().sequence, 7);
}

#[test]
fn another_file_in_its_place_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let ledger = FileLedger::open(&config).unwrap();
    ledger.record(&entry()).unwrap();
    let good = fs::read(&config.file).unwrap();
    let aside = folder.path().join("aside");
    let refused = |what: &str| {
        for _ in 0..2 {
            let error = ledger.record(&entry()).expect_err(what);
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
fn a_file_of_somebody_else_is_left_alone() {
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
fn what_ignores_the_lock_is_noticed_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let ledger = FileLedger::open(&config).unwrap();
    ledger.record(&entry()).unwrap();
    // It writes between our look at the file's length and our record.
    let chain = &ledger.chain;
    let written = chain.locked(|chain, state, _, length| {
        chain.catch_up(state, length)?;
        let mut file = OpenOptions::new().append(true).open(&config.file).unwrap();
        file.write_all(b"x").unwrap();
        chain.append(state, &entry(), b"")
    });
    let error = written.expect_err("its place is another than we think");
    assert!(error.to_string().contains("wait for its lock"), "{error}");
    for _ in 0..2 {
        let error = ledger.record(&entry()).expect_err("nor the next");
        assert!(matches!(error, LedgerError::Broken { .. }), "{error}");
    }
}
