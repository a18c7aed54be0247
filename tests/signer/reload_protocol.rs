//! A compromised front end at a reload: an answer to no offer, or no answer to one, costs its own life or the new
//! signer, and nothing else. The front end is the test's own; its supervisor and its signers are the real ones.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::child_test;
use crate::common::poll::until;
use crate::common::procfs::{launched, state};
use crate::common::renewal::signal;
use crate::common::signer_process::signers;
use crate::common::three_processes::{ROLE, launch_with, supervise_with};
use hsm_mtls::internal::signer::front_end_supervisor::inherit;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// What the front end says at the start, and what it says to an offer: words in hexadecimal digits.
const FIRST: &str = "HSM_MTLS_TEST_FIRST";
const THEN: &str = "HSM_MTLS_TEST_THEN";
/// Where it leaves that it lives, and each offer that came.
const MARKS: &str = "HSM_MTLS_TEST_MARKS";

fn word(code: u8, id: u64) -> String {
    let bytes = [&[code][..], &id.to_le_bytes()].concat();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Taken {
    bank: Bank,
    supervisor: Child,
}

impl Taken {
    fn over(first: &[String], then: &[String]) -> Self {
        let mut bank = Bank::new();
        bank.certify("p-256");
        bank.configure(|settings| {
            settings.token_lines = "timeout = \"500ms\"\nstart_timeout = \"1s\"".to_owned();
        });
        let log = fs::File::create(bank.path("log")).unwrap();
        let supervisor = child_test::command(a_process_of_the_test)
            .env(ROLE, "supervisor")
            .env("HSM_MTLS_TEST_CONFIG", bank.config_path())
            .env(FIRST, first.join(","))
            .env(THEN, then.join(","))
            .env(MARKS, bank.path("marks"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let taken = Self { bank, supervisor };
        until("the front end lives", || taken.marks() > 0);
        taken
    }

    fn marks(&self) -> usize {
        fs::read_to_string(self.bank.path("marks")).map_or(0, |marks| marks.lines().count())
    }

    fn signers(&self) -> Vec<u32> {
        let found = signers(&self.bank);
        assert!(found.len() <= 2, "never more than two: {found:?}");
        found
    }

    fn front_end(&self) -> Option<u32> {
        let signers = signers(&self.bank);
        let mut all = launched(self.supervisor.id()).into_iter();
        all.find(|pid| !signers.contains(pid))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let all = launched(self.supervisor.id());
        // It may have ended already.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        if !thread::panicking() {
            until("all are gone", || {
                all.iter()
                    .all(|pid| state(*pid).is_none_or(|state| state == 'Z'))
            });
        }
    }
}

/// What nobody asked it ends it, and the next one has another signer.
#[test]
fn a_front_end_that_sends_an_unsolicited_message_is_ended() {
    for (why, first, then) in [
        ("taken, without an offer", vec![word(b'T', 1)], vec![]),
        ("kept, without an offer", vec![word(b'K', 1)], vec![]),
        ("let go, without an offer", vec![word(b'G', 0)], vec![]),
        ("garbage", vec!["ff".to_owned()], vec![]),
        ("a long word", vec![word(b'T', 1) + "00"], vec![]),
        ("an offer that there is not", vec![], vec![word(b'T', 7)]),
        ("let go before it is taken", vec![], vec![word(b'G', 1)]),
        ("taken twice", vec![], vec![word(b'T', 1), word(b'T', 1)]),
        (
            "taken, let go, and let go once more",
            vec![],
            vec![word(b'T', 1), word(b'G', 1), word(b'G', 1)],
        ),
    ] {
        let taken = Taken::over(&first, &then);
        if first.is_empty() {
            signal("HUP", taken.supervisor.id());
        }
        // Each front end that is started says so.
        until(why, || {
            taken.signers();
            fs::read_to_string(taken.bank.path("log"))
                .unwrap()
                .contains("what nobody asked it")
        });
        until("there is another", || taken.marks() >= 2);
    }
}

/// It keeps its signer, and the new one is ended; the next reload is offered to it as if nothing had been.
#[test]
fn an_offer_that_is_not_answered_is_given_up() {
    let taken = Taken::over(&[], &[]);
    let (signer, front_end) = (taken.signers(), taken.front_end());
    signal("HUP", taken.supervisor.id());
    until("another signer is there", || taken.signers().len() == 2);
    let asked = Instant::now();
    // Four times start_timeout, twice timeout, and what files and an answer take.
    while taken.signers().len() == 2 {
        assert!(asked.elapsed() < Duration::from_secs(16), "for ever");
        thread::park_timeout(Duration::from_millis(20));
    }
    assert!(asked.elapsed() > Duration::from_secs(8), "too soon");
    assert_eq!(taken.signers(), signer);
    assert_eq!(taken.front_end(), front_end);
    let log = fs::read_to_string(taken.bank.path("log")).unwrap();
    assert!(log.contains("NOT reloaded"), "{log}");
    // There may be a word about the first one now: that it was kept is no lie.
    until("the second is offered", || {
        signal("HUP", taken.supervisor.id());
        taken.signers().len() == 2
    });
    // Its own mark; then channels and configuration, twice.
    until("each offer came whole", || taken.marks() == 1 + 2 * 2);
}

/// Supervisor, launcher and front end, as processes of their own.
#[test]
fn a_process_of_the_test() {
    let Some(config) = config_of_child() else {
        return;
    };
    match std::env::var(ROLE).as_deref() {
        Ok("supervisor") => {
            let subscriber = tracing_subscriber::fmt()
                .with_writer(std::io::stderr)
                .finish();
            let _told = tracing::subscriber::set_default(subscriber);
            let mut launcher = child_test::command(a_process_of_the_test);
            launcher.env(ROLE, "launcher");
            supervise_with(launcher, &config.path);
        }
        Ok("launcher") => {
            let front_end = || {
                let mut command = child_test::command(a_process_of_the_test);
                command
                    .env(ROLE, "front end")
                    .env("HSM_MTLS_TEST_CONFIG", &config.path);
                for name in [FIRST, THEN, MARKS] {
                    command.env(name, std::env::var(name).unwrap());
                }
                command
            };
            launch_with(front_end, &config.path);
        }
        Ok("front end") => front_end(),
        other => panic!("{other:?}"),
    }
}

fn front_end() {
    let inherited = inherit().unwrap();
    mark();
    say(&inherited.control, FIRST);
    let mut bytes = vec![0; 64 << 10];
    loop {
        let (length, _) = recv(&inherited.control, &mut bytes[..], RecvFlags::empty()).unwrap();
        if length == 0 {
            return;
        }
        mark();
        say(&inherited.control, THEN);
    }
}

fn mark() {
    use std::io::Write;
    let path = std::env::var(MARKS).unwrap();
    let file = fs::File::options().append(true).create(true).open(path);
    writeln!(file.unwrap(), "mark").unwrap();
}

fn say(control: &OwnedFd, name: &str) {
    let words = std::env::var(name).unwrap();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        let bytes: Vec<u8> = (0..word.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap())
            .collect();
        // It may be ended meanwhile.
        let _ = send(control, &bytes, SendFlags::NOSIGNAL);
    }
}
