//! A module that crashes or never returns: each command names the step, ends within its timeouts, and with the exit code of
//! the token, or of the PIN where one was sent. Seven PKCS#11 functions, two faults, and each command that loads the module.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::{BINARY, Bank};
use crate::common::chaos::Chaos;
use crate::common::poll::until;
use crate::common::procfs;

/// A command, and the functions of `FUNCTIONS` that it calls.
struct Case {
    arguments: &'static [&'static str],
    calls: &'static [&'static str],
}

/// A function, and a text that names the step it belongs to.
const FUNCTIONS: [(&str, &str); 7] = [
    ("C_Initialize", "C_Initialize"),
    ("C_GetSlotList", "C_GetSlotList"),
    ("C_OpenSession", "C_OpenSession"),
    ("C_Login", "C_Login"),
    ("C_FindObjectsInit", "C_FindObjects"),
    ("C_SignInit", "C_SignInit"),
    ("C_Sign", "C_Sign"),
];

const ALL: &[&str] = &[
    "C_Initialize",
    "C_GetSlotList",
    "C_OpenSession",
    "C_Login",
    "C_FindObjectsInit",
    "C_SignInit",
    "C_Sign",
];

const WITHOUT_SIGNATURE: &[&str] = &[
    "C_Initialize",
    "C_GetSlotList",
    "C_OpenSession",
    "C_Login",
    "C_FindObjectsInit",
];

const CASES: [Case; 9] = [
    Case {
        arguments: &["token", "list"],
        calls: &["C_Initialize", "C_GetSlotList"],
    },
    Case {
        arguments: &["token", "check", "-n", "1"],
        calls: ALL,
    },
    Case {
        arguments: &["key", "list"],
        calls: WITHOUT_SIGNATURE,
    },
    Case {
        arguments: &["key", "generate", "--type", "p-256", "--label", "other"],
        calls: WITHOUT_SIGNATURE,
    },
    Case {
        arguments: &["csr"],
        calls: ALL,
    },
    Case {
        arguments: &["cert", "install", "c3.pem"],
        calls: ALL,
    },
    Case {
        arguments: &["pin", "accept-count-low", "--once"],
        calls: &["C_Initialize", "C_GetSlotList", "C_OpenSession"],
    },
    Case {
        arguments: &["audit"],
        calls: ALL,
    },
    Case {
        arguments: &["verify"],
        calls: ALL,
    },
];

/// The longest that a command may take: its timeouts, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(60);

fn bank() -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    (bank, chaos)
}

/// Each case of a function, with a record of PINs of its own: a PIN whose outcome is not known is not sent again.
fn try_each_command(fault: &str, function: &str, step: &str) -> Vec<String> {
    let (mut bank, chaos) = bank();
    // A crash waits for no timeout; a hang is waited for, and the calls before it take their time on a busy machine.
    let timeout = match fault {
        "crash" => "20s",
        _ => "3s",
    };
    let chain = bank.path("c3.pem");
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let called = case.calls.contains(&function);
        bank.configure(|settings| {
            settings.state_dir = format!("state-{number}");
            settings.token_lines =
                format!("start_timeout = \"{timeout}\"\ntimeout = \"{timeout}\"");
        });
        chaos.plan(&format!("{fault} {function} all"));
        let arguments: Vec<&str> = case
            .arguments
            .iter()
            .map(|argument| match *argument {
                "c3.pem" => chain.to_str().unwrap(),
                other => other,
            })
            .collect();
        let started = Instant::now();
        let run = chaos.run(&bank, &arguments);
        let took = started.elapsed();
        let code = match function {
            _ if !called => 0,
            "C_Login" => 4,
            _ => 3,
        };
        let text = format!("{}{}", run.stdout, run.stderr);
        let named = !called || text.contains(step);
        if run.code != code || !named || took > DEADLINE {
            wrong.push(format!(
                "{fault} {function}: {:?} ended with {} after {took:?}\n{text}",
                case.arguments, run.code
            ));
        }
    }
    wrong
}

fn each_function(fault: &'static str) {
    let functions = FUNCTIONS
        .map(|(function, step)| thread::spawn(move || try_each_command(fault, function, step)));
    let wrong: Vec<_> = functions
        .into_iter()
        .flat_map(|function| function.join().unwrap())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_call_that_crashes_is_named() {
    each_function("crash");
}

#[test]
fn a_call_that_never_returns_is_named() {
    each_function("hang");
}

/// A module can stop more than its call: here its whole process stands still, with all the timeouts in it.
#[test]
fn a_process_that_stands_still_is_ended() {
    let (mut bank, chaos) = bank();
    bank.configure(|settings| {
        settings.state_dir = "fresh".to_owned();
        settings.token_lines = "start_timeout = \"1s\"".to_owned();
    });
    chaos.plan("hang C_Login 1");
    let command = Command::new(BINARY.unwrap())
        .arg("--config")
        .arg(bank.config_path())
        .args(["key", "list"])
        .envs(chaos.environment())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the PIN is sent", || chaos.calls("C_Login") == 1);
    let process = procfs::children(command.id())[0];
    let sent = Command::new("kill")
        .args(["-STOP", &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
    let ended = command.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(
        said.contains("the login (C_Login) did not come to an end within 1 s; the process"),
        "{said}"
    );
}
