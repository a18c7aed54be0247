//! Owner and mode of a ledger's files and folders: no other user may replace a file, and a rotated ledger keeps its
//! owner, group and mode.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::ledger_file::{
    self, folder_in_memory, folder_of_child, long_files, record, short_files,
};
use hsm_mtls::internal::ledger::verify::verify;
use hsm_mtls::internal::ledger::{FileLedger, LedgerError};
use tempfile::TempDir;

/// `nobody` and `adm` of Debian.
const NOBODY: u32 = 65534;
const ADM: u32 = 4;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("log")).unwrap();
    folder
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn refused(path: &Path, what: &str) {
    let error = FileLedger::open(&long_files(path.to_owned())).expect_err(what);
    assert!(
        matches!(error, LedgerError::Unsafe { .. }),
        "{what}: {error}"
    );
}

#[test]
fn a_ledger_that_others_could_replace_is_refused() {
    let folder = folder();
    let log = folder.path().join("log");
    let path = log.join("ledger.jsonl");
    let good = || record(&FileLedger::open(&long_files(path.clone())).unwrap()).unwrap();
    good();
    chown(&path, Some(NOBODY), None).unwrap();
    refused(&path, "a file of another user");
    chown(&path, Some(0), Some(ADM)).unwrap();
    mode(&path, 0o660);
    good();
    mode(&path, 0o642);
    refused(&path, "everybody may write to the file");
    mode(&path, 0o640);
    mode(&log, 0o757);
    refused(&path, "everybody may write to the folder");
    mode(&log, 0o770);
    refused(&path, "a group may write to the folder");
    mode(&log, 0o1777);
    good();
    mode(&log, 0o750);
    chown(&log, Some(NOBODY), None).unwrap();
    refused(&path, "a folder of another user");
    chown(&log, Some(0), None).unwrap();
    mode(folder.path(), 0o775);
    refused(&path, "a group may write to the folder above");
    mode(folder.path(), 0o757);
    refused(&path, "everybody may write to the folder above");
    mode(folder.path(), 0o700);
    good();
}

#[test]
fn a_file_that_is_joined_is_looked_at_too() {
    let folder = folder();
    let config = short_files(folder.path().join("log/ledger.jsonl"));
    let [idle, busy] = [0, 1].map(|_| FileLedger::open(&config).unwrap());
    record(&busy).unwrap();
    chown(&config.file, Some(NOBODY), None).unwrap();
    let error = record(&idle).expect_err("a file of another user");
    assert!(error.to_string().contains("another user"), "{error}");
    chown(&config.file, Some(0), None).unwrap();
    record(&idle).unwrap();
    verify(&config.file, None).unwrap();
}

#[test]
fn a_link_is_followed_once() {
    let folder = folder();
    let link = folder.path().join("ledger.jsonl");
    let path = folder.path().join("log/kept.jsonl");
    symlink(&path, &link).unwrap();
    let error = FileLedger::open(&long_files(link.clone())).expect_err("it leads to nothing");
    assert!(error.to_string().contains("a link"), "{error}");
    assert!(!path.exists(), "nothing is begun at the other end");
    fs::write(&path, "").unwrap();
    let ledger = FileLedger::open(&short_files(link.clone())).unwrap();
    // What the link leads to later is another ledger.
    record(&ledger).unwrap();
    fs::remove_file(&link).unwrap();
    symlink(folder.path().join("log/elsewhere"), &link).unwrap();
    record(&ledger).unwrap();
    fs::remove_file(&link).unwrap();
    symlink(&path, &link).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    let history = verify(&link, None).unwrap();
    // One `begin` and one record in each file but the first, which has its `begin` alone.
    assert_eq!((history.last, history.files.len()), (5, 3), "{history:?}");
}

#[test]
fn the_next_file_is_for_the_same_users() {
    let folder = folder();
    let path = folder.path().join("log/ledger.jsonl");
    let ledger = FileLedger::open(&short_files(path.clone())).unwrap();
    for (user, group, bits) in [(0, ADM, 0o660), (0, 0, 0o600), (NOBODY, NOBODY, 0o644)] {
        chown(&path, Some(user), Some(group)).unwrap();
        mode(&path, bits);
        let before = fs::metadata(&path).unwrap();
        record(&ledger).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_ne!(before.ino(), after.ino());
        let access = (after.uid(), after.gid(), after.mode() & 0o7777);
        assert_eq!(access, (user, group, bits));
    }
}

#[test]
fn a_folder_that_cannot_be_synced_keeps_its_file() {
    let Some(folder) = folder_of_child() else {
        let folder = folder();
        let log = folder.path().join("log");
        mode(folder.path(), 0o711);
        chown(&log, Some(NOBODY), Some(NOBODY)).unwrap();
        // It can be written to, and not be opened.
        mode(&log, 0o300);
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        ledger_file::run_test(
            a_folder_that_cannot_be_synced_keeps_its_file,
            &log,
            &nobody,
            &[],
        );
        let history = verify(&log.join("ledger.jsonl"), None).unwrap();
        assert_eq!((history.last, history.files.len()), (4, 1), "{history:?}");
        return;
    };
    let ledger = FileLedger::open(&short_files(folder.join("ledger.jsonl"))).unwrap();
    (2..5).for_each(|number| assert_eq!(record(&ledger).unwrap(), number));
}

#[test]
fn a_relative_ledger_path_is_below_the_working_directory() {
    if folder_of_child().is_none() {
        let folder = folder();
        let log = folder.path().join("log");
        ledger_file::run_test(
            a_relative_ledger_path_is_below_the_working_directory,
            &log,
            &[],
            &[],
        );
        let history = verify(&log.join("ledger.jsonl"), None).unwrap();
        assert_eq!((history.last, history.files.len()), (7, 4), "{history:?}");
        return;
    }
    let ledger = FileLedger::open(&short_files("ledger.jsonl".into())).unwrap();
    std::env::set_current_dir("/").unwrap();
    for number in [3, 5, 7] {
        assert_eq!(record(&ledger).unwrap(), number);
    }
}

#[test]
fn a_ledger_is_opened_while_another_process_rotates_it() {
    let folder = folder_in_memory();
    let config = short_files(folder.path().join("ledger.jsonl"));
    let ledger = FileLedger::open(&config).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                record(&ledger).unwrap();
                thread::park_timeout(Duration::from_micros(500));
            }
        });
        let opened = (0..150).try_for_each(|_| FileLedger::open(&config).map(drop));
        done.store(true, Ordering::Relaxed);
        opened.unwrap();
    });
    verify(&config.file, None).unwrap();
}
