//! A ledger without a token: its records are of no use of a key.

use std::any::type_name;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hsm_mtls::internal::config::ledger::{Fsync, LedgerConfig};
use hsm_mtls::internal::ledger::{Entry, FileLedger, Initialize, Ledger, LedgerError, Process};

use tempfile::TempDir;

use super::child_test;

const CHILD_FOLDER: &str = "HSM_MTLS_LEDGER_FOLDER";

/// A folder in memory, for a ledger with several writers: a lock of it is waited for a second, and a disk that others use
/// may take longer for one fsync.
pub fn folder_in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("tmpfs(5)")
}

/// With the shortest files that there are: a file for each record.
pub fn short_files(file: PathBuf) -> LedgerConfig {
    LedgerConfig {
        rotate_at_mib: 0,
        ..long_files(file)
    }
}

pub fn long_files(file: PathBuf) -> LedgerConfig {
    LedgerConfig {
        file,
        fsync: Fsync::Interval,
        fsync_interval: Duration::from_millis(10),
        rotate_at_mib: 1 << 10,
        head: None,
        head_interval: Duration::from_secs(60),
    }
}

pub fn record(ledger: &FileLedger) -> Result<u64, LedgerError> {
    ledger.record(&Entry::Initialize(Initialize {
        module: "/usr/lib/libvendor.so",
        process: Process::current(),
    }))
}

/// Runs one test of this test binary again in a process of its own, whose folder the ledger's is.
/// `wrapper` runs it, as `setpriv` does.
pub fn run_test<Test: Fn()>(
    test: Test,
    folder: &Path,
    wrapper: &[&str],
    variables: &[(&str, PathBuf)],
) {
    let binary = std::env::current_exe().expect("the test binary");
    let mut all: Vec<_> = wrapper.iter().map(PathBuf::from).collect();
    // Where another user runs it, it has to be where that user may go.
    let copy = folder.with_extension("test-binary");
    if !wrapper.is_empty() {
        std::fs::copy(&binary, &copy).expect("the test binary");
    }
    all.push(if wrapper.is_empty() {
        binary
    } else {
        copy.clone()
    });
    let output = Command::new(&all[0])
        .args(&all[1..])
        .args(child_test::arguments(test))
        .current_dir(folder)
        .env(CHILD_FOLDER, folder)
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .output()
        .expect("the test runs again");
    let _ = std::fs::remove_file(copy);
    child_test::passed(type_name::<Test>(), &output);
}

/// The folder, in the process that [`run_test`] started.
pub fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD_FOLDER).map(PathBuf::from)
}
