//! The result of a command is on standard output: a reader that closes it is no error, a result that could not be
//! written is one. Messages on standard error never block the result.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::common::bank::{BINARY, Bank};
use crate::common::broken_stream::{FAULTS, Fault};
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::{found, until};

/// With the exit code of each where all is well; what begins with `!` has no result.
const COMMANDS: [(&str, i32); 30] = [
    ("--help", 0),
    ("--version", 0),
    ("ledger show --help", 0),
    ("config check", 0),
    ("config check --json", 0),
    ("token list", 0),
    ("token list --json", 0),
    ("token check -n 3", 0),
    ("token check -n 3 --json", 0),
    ("token check -n 3 --load 20", 0),
    ("token check -n 3 --load 20 --json", 0),
    ("key list", 0),
    ("key list --json", 0),
    ("csr", 0),
    ("cert show", 0),
    ("cert show --json", 0),
    ("ledger verify", 0),
    ("ledger verify --json", 0),
    ("ledger show", 0),
    ("ledger show --json", 0),
    ("ledger show --counts", 0),
    ("audit", 1),
    ("audit --json", 1),
    ("verify", 0),
    ("verify --json", 0),
    ("request GET cm:/hello-mtls", 0),
    ("request -i GET cm:/hello-mtls --json", 0),
    ("!nonsense", 2),
    ("!--config /nowhere/at.toml config check", 2),
    ("!--config /nowhere/at.toml config check --json", 2),
];

fn scene() -> (Bank, Hub) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    fs::create_dir(bank.path("log")).unwrap();
    bank.configure(|settings| {
        settings.sections =
            "[ledger]\nfile = \"log/ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(0);
    (bank, hub)
}

fn start(bank: &Bank, arguments: &str, stdout: Stdio, stderr: Stdio) -> Child {
    let mut command = Command::new(BINARY.unwrap());
    command
        .args(arguments.trim_start_matches('!').split(' '))
        .env_remove("SOFTHSM2_CONF")
        .env("HSM_MTLS_CONFIG", bank.config_path())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    command.spawn().unwrap()
}

/// How it ended, and what its open streams held.
fn ended(mut child: Child, what: &str) -> (i32, String) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let readers = [stdout.map(read), stderr.map(read)];
    let status = found(|| child.try_wait().unwrap());
    if status.is_none() {
        child.kill().unwrap();
    }
    let texts = readers.into_iter().flatten();
    let text: String = texts.map(|reader| reader.join().unwrap()).collect();
    let status = status.unwrap_or_else(|| panic!("{what}: it goes on: {text}"));
    (status.code().unwrap_or(-1), text)
}

fn read(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

#[test]
fn standard_error_is_never_in_the_way_of_a_result() {
    // A token for each: SoftHSM rewrites its token's file at every login, and processes that read it in that
    // moment find no token.
    let scenes = FAULTS.map(|fault| (fault, scene()));
    let tried = &|bank: &Bank, arguments: &str, code, fault: Fault| {
        let what = format!("{arguments}, {fault:?}");
        let broken = fault.stream();
        let verbose = format!("{arguments} -vv");
        let child = start(bank, &verbose, Stdio::piped(), broken.stdio());
        let (ended, text) = ended(child, &what);
        assert_eq!(ended, code, "{what}: {text}");
        assert_eq!(arguments.starts_with('!'), text.is_empty(), "{what}");
    };
    for (arguments, code) in COMMANDS {
        // Each that blocks takes its second.
        thread::scope(|scope| {
            for (fault, (bank, _hub)) in &scenes {
                scope.spawn(move || tried(bank, arguments, code, *fault));
            }
        });
    }
}

#[test]
fn whoever_stops_reading_a_result_ends_nothing() {
    let (bank, _hub) = scene();
    for (arguments, code) in COMMANDS {
        for fault in [Fault::Gone, Fault::GoneSocket] {
            let what = format!("{arguments}, {fault:?}");
            let child = start(&bank, arguments, fault.stream().stdio(), Stdio::piped());
            let (ended, text) = ended(child, &what);
            assert_eq!(ended, code, "{what}: {text}");
            assert!(!text.contains("panicked"), "{what}: {text}");
            assert!(!text.contains("Broken pipe"), "{what}: {text}");
        }
    }
}

#[test]
fn a_result_that_was_not_written_is_an_error() {
    let (bank, _hub) = scene();
    for (arguments, code) in COMMANDS {
        let full = Fault::Full.stream();
        let child = start(&bank, arguments, full.stdio(), Stdio::piped());
        let (ended, text) = ended(child, arguments);
        assert!(!text.contains("panicked"), "{arguments}: {text}");
        if arguments.starts_with('!') {
            assert_eq!(ended, code, "{arguments}: {text}");
            continue;
        }
        assert_eq!(ended, 2, "{arguments}: {text}");
        assert!(
            text.contains("cannot write the result"),
            "{arguments}: {text}"
        );
        // Nor is anything else ever the better for it that nobody is told why.
        let child = start(&bank, arguments, full.stdio(), full.stdio());
        assert_eq!(self::ended(child, arguments).0, 2, "{arguments}");
    }
}

#[test]
fn a_ledger_that_is_followed_ends_with_its_reader() {
    let (bank, _hub) = scene();
    for fault in [Fault::Full, Fault::Blocked, Fault::Gone] {
        let broken = fault.stream();
        let arguments = "ledger show --follow --json -v";
        let mut child = start(&bank, arguments, Stdio::piped(), broken.stdio());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.starts_with('{'), "{first}");
        drop(lines);
        assert_eq!(ended(child, arguments).0, 0);
    }
    let full = Fault::Full.stream();
    let child = start(&bank, "ledger show --follow", full.stdio(), Stdio::piped());
    let (code, text) = ended(child, "followed");
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("cannot write the result"), "{text}");
}

#[test]
fn a_command_waits_for_who_reads_its_result_slowly() {
    let (bank, _hub) = scene();
    let mut broken = Fault::Blocked.stream();
    let mut child = start(&bank, "config check", broken.stdio(), Stdio::null());
    until("it waits", || waits_to_write(child.id()));
    assert_eq!(child.try_wait().unwrap(), None);
    broken.read_until("mybank");
    drop(broken);
    assert_eq!(ended(child, "config check").0, 0);
}

/// Its system call is write(2), of standard output.
fn waits_to_write(pid: u32) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let write = if cfg!(target_arch = "x86_64") {
        "1"
    } else {
        "64"
    };
    let mut words = call.split(' ');
    words.next() == Some(write) && words.next() == Some("0x1")
}
