//! The scripts and examples of this project, run as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the project is.
pub fn top() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).to_owned()
}

/// Exit code, standard output and standard error; there is nothing on its standard input.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// The output of what ends well.
pub fn good(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 0, "{command:?}\n{stdout}\n{stderr}");
    stdout
}

/// A program of `examples/`, which cargo builds for all tests, but not for one alone.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("where tests are");
    let built = test
        .parent()
        .expect("where tests are")
        .parent()
        .expect("where tests are");
    let program = built.join("examples").join(name);
    assert!(program.exists(), "cargo build --examples");
    program
}
