//! A test that runs again, alone in a process of its own. The environment of a PKCS#11 module is its process's:
//! a test that loads a module into its process shares that process with no other test.

use std::any::type_name;
use std::process::{Command, Output};

/// The arguments with which this test binary runs the one test that is handed over, a function item.
pub fn arguments<Test: Fn()>(_test: Test) -> [&'static str; 3] {
    // `binary::module::test`: the test runner names a test without its binary.
    let (_, name) = type_name::<Test>()
        .split_once("::")
        .expect("a function of this test binary");
    [name, "--exact", "--nocapture"]
}

/// This test binary, which runs that one test.
pub fn command<Test: Fn()>(test: Test) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args(arguments(test));
    command
}

/// What it printed. A name that fits no test would run none, and end well: that is a failure too.
pub fn passed(name: &str, output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{name} failed in its own process ({}):\n{printed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
