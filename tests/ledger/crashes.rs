//! Two hundred processes are killed at random moments: the chain stays whole, and every call that pkcs11-spy saw has
//! its record.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::common::bank::Bank;
use crate::common::ledger_records::{ProcessRecords, by_process, records};
use crate::common::pkcs11_spy::{self, Seen};
use crate::common::procfs;
use crate::common::softhsm::MODULE;
use hsm_mtls::internal::ledger::verify;
use rustix::process::{Pid, Signal, kill_process_group};

const LEDGER: &str = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n";
const KILLS: usize = 200;
/// How many callers a process has. With one, the order of its calls is known too.
const AT_ONCE: [usize; 2] = [1, 8];

/// A process that is to be ended with SIGKILL, and what the spy has said of it so far.
struct Doomed {
    child: Child,
    at_once: usize,
    log: Vec<u8>,
    more: BufReader<ChildStderr>,
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // Where it has ended by itself, the test says so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Doomed {
    fn start(mut command: Command, at_once: usize) -> Self {
        let mut child = command
            .args(["--load", "1000000", "--concurrency", &at_once.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let more = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            at_once,
            log: Vec::new(),
            more,
        }
    }

    /// Lets it go on to a call of this function, and so many lines of the log further.
    fn go_on(&mut self, function: Option<&str>, further: usize) {
        let mut line = || {
            let before = self.log.len();
            let length = self.more.read_until(b'\n', &mut self.log).unwrap();
            assert!(
                length > 0,
                "it ended: {}",
                String::from_utf8_lossy(&self.log)
            );
            String::from_utf8_lossy(&self.log[before..]).into_owned()
        };
        if let Some(function) = function {
            while pkcs11_spy::call(line().trim_end()) != Some(function) {}
        }
        for _ in 0..further {
            line();
        }
    }

    /// Its process id, how many callers it had, and all that the spy saw.
    fn kill(mut self) -> (u32, usize, String) {
        // The records are those of the process that has the module. Neither goes on while it is looked for.
        let started = self.child.id();
        let group = Pid::from_child(&self.child);
        kill_process_group(group, Signal::STOP).unwrap();
        let process = procfs::children(started).first().copied();
        kill_process_group(group, Signal::KILL).unwrap();
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "it ended by itself: {ended}");
        self.more.read_to_end(&mut self.log).unwrap();
        let log = String::from_utf8_lossy(&self.log).into_owned();
        (process.unwrap_or(started), self.at_once, log)
    }
}

/// How far a process came before it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The module and its tokens.
    Start,
    /// C_Login had not come back.
    Login,
    /// The key and what it can do.
    Key,
    /// C_Sign was called.
    Signatures,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Start, Self::Login, Self::Key, Self::Signatures];

    fn of(log: &str) -> Self {
        match pkcs11_spy::count(log, "C_Login") {
            _ if pkcs11_spy::count(log, "C_Sign") > 0 => Self::Signatures,
            _ if pkcs11_spy::returned(log, "C_Login") > 0 => Self::Key,
            0 => Self::Start,
            _ => Self::Login,
        }
    }
}

/// What the spy saw of a process that was killed is on record, and little more.
fn nothing_without_record(log: &str, at_once: usize, recorded: &ProcessRecords) {
    let ProcessRecords {
        attempts, logins, ..
    } = recorded;
    let login = pkcs11_spy::count(log, "C_Login");
    assert!(login <= logins.len(), "a login without its record");
    let ended = logins.iter().filter(|ended| **ended).count();
    assert!(
        ended <= pkcs11_spy::returned(log, "C_Login"),
        "an outcome too early"
    );
    let signs = pkcs11_spy::count(log, "C_Sign");
    assert!(signs <= attempts.len(), "a C_Sign without its attempt");
    let mut seen = Seen::of(log);
    let mut found = 0;
    for attempt in attempts {
        match (seen.take(attempt.message), &attempt.outcome) {
            (Some(_), _) => found += 1,
            (None, None) => {}
            (None, Some(outcome)) => panic!("no C_Sign came to {outcome}"),
        }
    }
    // Of a call that had just begun, the bytes are not there yet.
    assert!(
        signs <= found + at_once,
        "{signs} C_Sign, {found} on record"
    );
    assert!(recorded.unfinished.len() <= at_once);
    if at_once == 1 {
        let signed = pkcs11_spy::signed(log);
        let messages: Vec<_> = attempts.iter().map(|attempt| attempt.message).collect();
        assert!(messages.starts_with(&signed), "not in this order");
        let ended = attempts.iter().flat_map(|attempt| &attempt.outcome).count();
        assert!(
            ended <= pkcs11_spy::returned(log, "C_Sign"),
            "an outcome too early"
        );
        let last = recorded.unfinished.iter().all(|at| *at == recorded.last);
        assert!(last, "{:?} before {}", recorded.unfinished, recorded.last);
    }
}

fn random(below: usize) -> usize {
    RandomState::new().hash_one(()) as usize % below
}

#[test]
fn two_hundred_kills_leave_one_chain() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.configure(|settings| {
        settings.module = pkcs11_spy::module();
        settings.sections = LEDGER.to_owned();
    });
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"));
        command
            .arg("--config")
            .arg(bank.config_path())
            .args(["token", "check", "-n", "1"])
            .env("SOFTHSM2_CONF", bank.token.conf())
            .env("PKCS11SPY", MODULE)
            // To standard error, where nothing is kept back: a kill loses no line.
            .env_remove("PKCS11SPY_OUTPUT");
        command
    };
    let whole = check().output().unwrap().stderr;
    let whole = String::from_utf8_lossy(&whole);
    let line_of = |function| {
        whole
            .lines()
            .position(|line| pkcs11_spy::call(line) == Some(function))
    };
    let (login, sign) = (line_of("C_Login").unwrap(), line_of("C_Sign").unwrap());
    let returned = whole
        .lines()
        .skip(login)
        .position(|line| line.starts_with("Returned: "));
    let returned = returned.unwrap();
    // SoftHSM writes its token's file anew at each login, and a kill leaves half of it: an HSM is not
    // a part of the process that is killed.
    let token = bank.token.files();
    let mut phases: BTreeMap<_, usize> = Phase::ALL.map(|phase| (phase, 0)).into();
    let mut last = Phase::Start;
    let killed: Vec<_> = (0..KILLS)
        .map(|kill| {
            for (path, bytes) in &token {
                fs::write(path, bytes).unwrap();
            }
            let mut doomed = Doomed::start(check(), AT_ONCE[kill / Phase::ALL.len() % 2]);
            // One that is killed in the login costs the next login a pause, unless one in between has come past it.
            let past_login = |phase: &Phase| last != Phase::Login || *phase > Phase::Login;
            let rarest = Phase::ALL.into_iter().filter(past_login);
            // How far it comes before the signal is a matter of the machine's load.
            match rarest.min_by_key(|phase| phases[phase]).unwrap() {
                Phase::Start => doomed.go_on(None, random(login)),
                Phase::Login => doomed.go_on(Some("C_Login"), random(returned)),
                Phase::Key => {
                    let past = returned + 1;
                    doomed.go_on(Some("C_Login"), past + random(sign - login - past));
                }
                Phase::Signatures => doomed.go_on(Some("C_Sign"), random(3000)),
            }
            let killed = doomed.kill();
            last = Phase::of(&killed.2);
            *phases.entry(last).or_default() += 1;
            killed
        })
        .collect();
    bank.run(&["ledger", "verify"]).expect(0);
    let ledger = bank.path("ledger.jsonl");
    let history = verify::verify(&ledger, None).unwrap();
    let processes = by_process(&records(&ledger));
    let mut unfinished = 0;
    for (pid, at_once, log) in &killed {
        let recorded = processes.get(pid);
        unfinished += recorded.map_or(0, |recorded| recorded.unfinished.len());
        nothing_without_record(
            log,
            *at_once,
            recorded.unwrap_or(&ProcessRecords::default()),
        );
    }
    println!(
        "{phases:?}, {} attempts, {unfinished} unfinished",
        history.attempts
    );
    assert_eq!(
        history.unfinished.len(),
        unfinished,
        "of others than were killed"
    );
    assert!(
        phases.values().all(|share| *share >= KILLS / 10),
        "{phases:?}"
    );
}
