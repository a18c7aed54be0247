//! A failed fsync is final, and a chain head is exported only after it is on the disk.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::ledger_file::{self, folder_of_child, long_files, record, short_files};
use crate::common::{failing_disk, poll};
use hsm_mtls::internal::config::ledger::{Fsync, HeadExport, LedgerConfig};
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::ledger::FileLedger;
use hsm_mtls::internal::ledger::verify::verify;

/// Nothing that is waited for here takes so long.
const LONG: Duration = Duration::from_secs(3600);

/// Runs a test in a process of its own, on a disk that fails when it is told to.
fn on_a_failing_disk<Test: Fn()>(test: Test) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("log");
    fs::create_dir(&ledger).unwrap();
    ledger_file::run_test(test, &ledger, &[], &failing_disk::variables(folder.path()));
}

fn refused(ledger: &FileLedger, what: &str) {
    for _ in 0..3 {
        let error = record(ledger).expect_err(what);
        assert!(error.to_string().contains("synced"), "{what}: {error}");
    }
}

#[test]
fn a_sync_that_fails_in_between_is_final() {
    let Some(folder) = folder_of_child() else {
        return on_a_failing_disk(a_sync_that_fails_in_between_is_final);
    };
    let ledger = FileLedger::open(&long_files(folder.join("ledger.jsonl"))).unwrap();
    record(&ledger).unwrap();
    failing_disk::fails("files");
    // Until the first interval has passed.
    let error = poll::found(|| record(&ledger).err()).expect("it is refused");
    assert!(error.to_string().contains("synced"), "{error}");
    failing_disk::works();
    refused(&ledger, "a later sync says nothing of what was lost");
}

#[test]
fn a_sync_of_each_record_that_fails_is_final() {
    let Some(folder) = folder_of_child() else {
        return on_a_failing_disk(a_sync_of_each_record_that_fails_is_final);
    };
    let mut config = long_files(folder.join("ledger.jsonl"));
    config.fsync = Fsync::Each;
    let ledger = FileLedger::open(&config).unwrap();
    record(&ledger).unwrap();
    failing_disk::fails("files");
    refused(&ledger, "it is not synced");
    failing_disk::works();
    refused(&ledger, "a later sync says nothing of what was lost");
    // Another process has nothing to answer for.
    record(&FileLedger::open(&config).unwrap()).unwrap();
    verify(&config.file, None).unwrap();
}

#[test]
fn a_file_that_cannot_be_synced_is_not_closed() {
    let Some(folder) = folder_of_child() else {
        return on_a_failing_disk(a_file_that_cannot_be_synced_is_not_closed);
    };
    let mut config = short_files(folder.join("ledger.jsonl"));
    config.fsync_interval = LONG;
    let ledger = FileLedger::open(&config).unwrap();
    failing_disk::fails("files");
    refused(&ledger, "before another file is begun");
    failing_disk::works();
    refused(&ledger, "a later sync says nothing of what was lost");
}

#[test]
fn a_rotation_whose_names_are_not_synced_leaves_one_chain() {
    let Some(folder) = folder_of_child() else {
        return on_a_failing_disk(a_rotation_whose_names_are_not_synced_leaves_one_chain);
    };
    let mut config = short_files(folder.join("ledger.jsonl"));
    config.fsync_interval = LONG;
    let ledger = FileLedger::open(&config).unwrap();
    failing_disk::fails("folders");
    refused(&ledger, "the new names are not on the disk");
    failing_disk::works();
    refused(&ledger, "nobody knows what a power cut would leave");
    let history = verify(&config.file, None).unwrap();
    assert_eq!((history.last, history.files.len()), (2, 2), "{history:?}");
    // Whoever comes next goes on where the chain is.
    let next = FileLedger::open(&config).unwrap();
    record(&next).unwrap();
    assert_eq!(verify(&config.file, None).unwrap().last, 4);
}

#[test]
fn without_a_thread_that_syncs_there_is_no_ledger() {
    let Some(folder) = folder_of_child() else {
        return on_a_failing_disk(without_a_thread_that_syncs_there_is_no_ledger);
    };
    let config = long_files(folder.join("ledger.jsonl"));
    failing_disk::fails("threads");
    let error = FileLedger::open(&config).expect_err("no thread");
    assert!(error.to_string().contains("thread"), "{error}");
    failing_disk::works();
    record(&FileLedger::open(&config).unwrap()).unwrap();
}

/// A program that writes down what it is given.
fn program(folder: &Path, does: &str) -> HeadExport {
    let program = folder.join("tell");
    fs::write(&program, format!("#!/bin/sh\n{does}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    HeadExport::Command(vec![program.to_str().unwrap().to_owned()])
}

#[test]
fn a_chain_head_is_synced_before_it_is_exported() {
    let Some(folder) = folder_of_child() else {
        return on_a_failing_disk(a_chain_head_is_synced_before_it_is_exported);
    };
    let mut config = long_files(folder.join("ledger.jsonl"));
    config.fsync_interval = LONG;
    config.head_interval = Duration::from_millis(1);
    let told = folder.join("told");
    let log = failing_disk::log_path();
    let tell = format!(
        "printf t >> {}; echo \"$@\" > {}",
        log.display(),
        told.display()
    );
    config.head = Some(program(&folder, &tell));
    let ledger = FileLedger::open(&config).unwrap();
    let until_told = || {
        let text = fs::read_to_string(&config.file).unwrap();
        let head = Fingerprint::of(text.lines().next_back().unwrap().as_bytes()).to_string();
        // With the newline: all of it is written.
        let is_head = |told: String| told.ends_with(&format!("{head}\n"));
        poll::until("it is told", || {
            fs::read_to_string(&told).is_ok_and(is_head)
        });
    };
    // The head that a new ledger has is told too.
    until_told();
    for _ in 0..3 {
        record(&ledger).unwrap();
        until_told();
    }
    let log = failing_disk::log();
    assert!(!log.starts_with('t') && !log.contains("tt"), "{log}");
    failing_disk::fails("files");
    let told = failing_disk::log().matches('t').count();
    poll::found(|| record(&ledger).err()).expect("it is refused");
    drop(ledger);
    assert_eq!(
        failing_disk::log().matches('t').count(),
        told,
        "it is not there"
    );
}

/// A socket whose queue is full, and nobody reads it.
fn stalled(path: &Path) -> (UnixDatagram, UnixDatagram) {
    let socket = UnixDatagram::bind(path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let full = loop {
        if let Err(error) = filler.send_to(b"something else", path) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    (socket, filler)
}

#[test]
fn a_stalled_socket_holds_up_neither_syncs_nor_the_end() {
    let Some(folder) = folder_of_child() else {
        return on_a_failing_disk(a_stalled_socket_holds_up_neither_syncs_nor_the_end);
    };
    let path: PathBuf = folder.join("syslog");
    let _held = stalled(&path);
    let config = LedgerConfig {
        head: Some(HeadExport::Syslog(path)),
        head_interval: Duration::from_millis(1),
        ..long_files(folder.join("ledger.jsonl"))
    };
    let ledger = FileLedger::open(&config).unwrap();
    let syncs = || failing_disk::log().matches('s').count();
    for _ in 0..20 {
        let before = syncs();
        record(&ledger).unwrap();
        poll::until("it is synced", || syncs() > before);
    }
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        drop(ledger);
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(20))
        .expect("the process ends");
}

#[test]
fn the_export_program_inherits_no_environment() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut config = long_files(folder.path().join("log/ledger.jsonl"));
    config.head = Some(program(folder.path(), &format!("env > {}", told.display())));
    // The tests themselves are run with variables: cargo's.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let ledger = FileLedger::open(&config).unwrap();
    record(&ledger).unwrap();
    drop(ledger);
    let variables = fs::read_to_string(told).unwrap();
    let inherited: Vec<_> = variables
        .lines()
        .filter_map(|line| line.split('=').next())
        // The shell makes the others.
        .filter(|name| !["PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert!(inherited.is_empty(), "{inherited:?}");
    assert!(variables.contains("PATH=/usr/local/sbin:"), "{variables}");
}
