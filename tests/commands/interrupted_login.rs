//! Ctrl-C while C_Login is in progress: the first one waits for its end, so that the PIN is not taken for refused; the second
//! one does not wait, and says what that costs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use crate::common::bank::{BINARY, Bank};
use crate::common::chaos::Chaos;
use crate::common::poll::until;

const SIGINT: i32 = 2;

fn bank(plan: &str) -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, plan);
    bank.configure(|settings| {
        // A PIN that never was good, as far as this record knows.
        settings.state_dir = "fresh".to_owned();
        settings.token_lines = "start_timeout = \"60s\"".to_owned();
    });
    (bank, chaos)
}

/// `key list`, in the middle of C_Login.
fn in_login(bank: &Bank, chaos: &Chaos) -> Child {
    // The shell may have had the tests ignore SIGINT.
    let child = Command::new("env")
        .args(["--default-signal=INT", BINARY.unwrap(), "--config"])
        .arg(bank.config_path())
        .args(["key", "list"])
        .envs(chaos.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the PIN is sent", || chaos.calls("C_Login") == 1);
    child
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn the_first_one_waits_for_the_end_of_the_login() {
    let (bank, chaos) = bank("delay C_Login 2000ms");
    let child = in_login(&bank, &chaos);
    interrupt(&child);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.signal(), Some(SIGINT), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        said.contains("C_Login is in progress, and ends first"),
        "{said}"
    );
    assert!(ended.stdout.is_empty(), "{:?}", ended.stdout);
    // The record of the PIN is that of a good one.
    chaos.run(&bank, &["key", "list"]).expect(0);
    assert_eq!(chaos.calls("C_Login"), 2);
}

#[test]
fn the_second_one_ends_it_and_says_what_that_costs() {
    let (bank, chaos) = bank("hang C_Login 1");
    let mut child = in_login(&bank, &chaos);
    let mut output = child.stderr.take().unwrap();
    interrupt(&child);
    // The second signal would be one with the first, were that not received yet.
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("ends first") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        said.extend(byte);
    }
    interrupt(&child);
    output.read_to_end(&mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4), "{said}");
    assert!(
        said.contains("interrupted during the login (C_Login)")
            && said.contains("is not sent again unasked"),
        "{said}"
    );
    chaos.plan("");
    chaos.forget_calls();
    chaos.run(&bank, &["key", "list"]).expect(4);
    assert_eq!(chaos.calls("C_Login"), 0);
}

/// `hsm-mtls key list &` in a script: the shell has it ignore SIGINT, which is for what runs in the foreground.
#[test]
fn a_command_in_the_background_is_not_interrupted() {
    let (bank, chaos) = bank("delay C_Login 1000ms");
    let script = format!(
        "'{}' --config '{}' key list & echo $!; wait $!",
        BINARY.unwrap(),
        bank.config_path().display()
    );
    let mut shell = Command::new("sh")
        .args(["-c", &script])
        .envs(chaos.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    let mut pid = String::new();
    output.read_line(&mut pid).unwrap();
    until("the PIN is sent", || chaos.calls("C_Login") == 1);
    let sent = Command::new("kill").args(["-INT", pid.trim()]).status();
    assert!(sent.unwrap().success());
    let mut shown = String::new();
    output.read_to_string(&mut shown).unwrap();
    assert_eq!(shell.wait().unwrap().code(), Some(0), "{shown}");
    assert!(shown.contains("P-256"), "{shown}");
}
