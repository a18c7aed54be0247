//! A disk that fails: a library between the program and the system, which answers a sync with EIO
//! and a new thread with EAGAIN when it is told to. No real disk fails on demand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it is told by.
const FAULT: &str = "DISK_FAULT";
/// Where it says that a file was synced.
const LOG: &str = "DISK_LOG";

/// The variables of a process on such a disk.
pub fn variables(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let library = folder.join("disk.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/common/failing_disk.c"
        ))
        .arg("-ldl")
        .status();
    assert!(built.expect("a C compiler").success());
    vec![
        ("LD_PRELOAD", library),
        (FAULT, folder.join("fault")),
        (LOG, folder.join("synced")),
    ]
}

fn path(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .expect("a process on such a disk")
        .into()
}

/// From now on: `files` or `folders` are not synced, or `threads` not started.
pub fn fails(what: &str) {
    fs::write(path(FAULT), what).expect("the fault");
}

/// All is well again.
pub fn works() {
    fs::remove_file(path(FAULT)).expect("a fault");
}

/// An `s` for each sync of a file, and what others wrote there.
pub fn log() -> String {
    fs::read_to_string(path(LOG)).unwrap_or_default()
}

/// Where that is.
pub fn log_path() -> PathBuf {
    path(LOG)
}
