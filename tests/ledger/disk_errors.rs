//! Nothing is signed where the ledger cannot be written: a full disk, a read-only disk, a folder of another user, a
//! file that is replaced under a running process.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::bank::{Bank, Run, config_of_child};
use crate::common::chaos::Chaos;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{EngineError, Purpose, challenge};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::ledger::{Entry, Ledger, LedgerError};
use hsm_mtls::internal::token::guard::Attendance;
use serde_json::Value;

/// `nobody` of Debian.
const NOBODY: u32 = 65534;

fn with_ledger() -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    fs::create_dir(bank.path("log")).unwrap();
    bank.configure(|settings| {
        settings.sections =
            "[ledger]\nfile = \"log/ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    (bank, chaos)
}

/// Runs the command in a mount namespace of its own, with a small disk where the ledger is; it
/// goes with the process. `before` is done on that disk, `after` when the command has ended.
fn on_a_small_disk(
    bank: &Bank,
    chaos: &Chaos,
    before: &str,
    arguments: &[&str],
    after: &str,
) -> Run {
    let script = format!(
        "mount -t tmpfs -o size=128k,mode=755 tmpfs log || exit 99\n{before}\n\
         \"$@\"; code=$?\n{after}\nexit $code"
    );
    let done = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(env!("CARGO_BIN_EXE_hsm-mtls"))
        .arg("--config")
        .arg(bank.config_path())
        .args(arguments)
        .current_dir(bank.folder())
        .envs(chaos.environment())
        .env("SOFTHSM2_CONF", bank.token.conf())
        .output()
        .unwrap();
    Run {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

#[test]
fn a_disk_that_fills_up_stops_the_signatures() {
    let (bank, chaos) = with_ledger();
    let load = ["--json", "token", "check", "-n", "1", "--load", "1000"];
    let run = on_a_small_disk(&bank, &chaos, "", &load, "cp log/ledger.jsonl kept.jsonl");
    let report = run.expect(2).json();
    let results = &report["load"]["results"];
    assert!(
        results["good"]["count"].as_u64().unwrap() > 10,
        "{report:#}"
    );
    assert!(
        results["ledger"]["count"].as_u64().unwrap() > 10,
        "{report:#}"
    );
    let kept = fs::read_to_string(bank.path("kept.jsonl")).unwrap();
    let kind = |wanted: &str| {
        let is = |line: &&str| {
            let record: Value = serde_json::from_str(line).unwrap();
            record["kind"] == wanted
        };
        kept.lines().filter(is).count()
    };
    // What is there is whole, and nothing was signed that is not there.
    assert_eq!(chaos.calls("C_Sign"), kind("attempt"));
}

#[test]
fn a_full_or_read_only_disk_is_an_error_before_the_login() {
    let (bank, chaos) = with_ledger();
    let full = "head -c 1M /dev/zero > log/filler 2>/dev/null";
    let begun = "touch log/ledger.jsonl";
    let room = "its disk is full: make room there (`df ";
    let mount = "its disk cannot be written to: mount it for writing";
    for (before, said, hint) in [
        (full.to_owned(), "No space left on device", room),
        (format!("{begun}; {full}"), "No space left on device", room),
        (
            "mount -o remount,ro log".to_owned(),
            "Read-only file system",
            mount,
        ),
        (
            format!("{begun}; mount -o remount,ro log"),
            "Read-only file system",
            mount,
        ),
    ] {
        let run = on_a_small_disk(&bank, &chaos, &before, &["csr"], "").expect(2);
        assert!(run.stderr.contains(said), "{before}: {}", run.stderr);
        assert!(run.stderr.contains(hint), "{before}: {}", run.stderr);
        assert!(run.stderr.contains("nothing is signed"), "{}", run.stderr);
    }
    assert_eq!(chaos.calls("C_Sign"), 0);
    assert_eq!(chaos.calls("C_Login"), 0);
}

#[test]
fn a_folder_of_somebody_else_is_an_error() {
    let (bank, chaos) = with_ledger();
    // Everything but the ledger is the other user's to read.
    let binary = bank.path("hsm-mtls");
    fs::copy(env!("CARGO_BIN_EXE_hsm-mtls"), &binary).unwrap();
    for path in [bank.folder(), &bank.config_path(), &bank.path("c3.pem")] {
        chown(path, Some(NOBODY), None).unwrap();
    }
    fs::set_permissions(bank.path("log"), fs::Permissions::from_mode(0o755)).unwrap();
    let done = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .arg("--config")
        .arg(bank.config_path())
        .arg("csr")
        .current_dir("/")
        .envs(chaos.environment())
        .env("SOFTHSM2_CONF", bank.token.conf())
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(
        said.contains("ledger.jsonl cannot be written: Permission denied"),
        "{said}"
    );
    let log = bank.path("log");
    let hint = format!(
        "the folder {0} (root:root, mode 0755) is not for this user: `chown nobody {0}`",
        log.display()
    );
    assert!(said.contains(&hint), "{said}");
    assert_eq!(chaos.calls("C_Sign"), 0);
}

#[test]
fn what_stands_in_the_place_of_the_ledger_is_told_with_what_helps() {
    let (bank, chaos) = with_ledger();
    let ledger = bank.path("log/ledger.jsonl");
    fs::create_dir(&ledger).unwrap();
    let folder = chaos.run(&bank, &["csr"]).expect(2);
    assert!(folder.stderr.contains("it is a folder: "), "{folder:?}");
    fs::remove_dir(&ledger).unwrap();
    fs::write(&ledger, "").unwrap();
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&ledger, Some(NOBODY), Some(NOBODY)).unwrap();
    let theirs = chaos.run(&bank, &["csr"]).expect(2);
    let told = format!(
        "{} (nobody:nogroup, mode 0640) belongs to another user",
        ledger.display()
    );
    let hint = format!("`chown root {}`", ledger.display());
    assert!(theirs.stderr.contains(&told), "{theirs:?}");
    assert!(theirs.stderr.contains(&hint), "{theirs:?}");
    chown(&ledger, Some(0), None).unwrap();
    chaos.run(&bank, &["csr"]).expect(0);
}

/// The same disk, where the guard's record and the certificate are.
#[test]
fn a_full_disk_is_told_as_such_wherever_it_is() {
    let (mut bank, chaos) = with_ledger();
    let full = "head -c 1M /dev/zero > log/filler 2>/dev/null";
    bank.configure(|settings| {
        settings.sections = String::new();
        settings.certificate = "log/c3.pem".to_owned();
    });
    let install = on_a_small_disk(&bank, &chaos, full, &["cert", "install", "c3.pem"], "");
    let said = &install.expect(2).stderr;
    assert!(said.contains("the disk is full: make room there"), "{said}");
    bank.configure(|settings| settings.state_dir = "log".to_owned());
    let before = format!("chmod 700 log; {full}");
    let login = on_a_small_disk(&bank, &chaos, &before, &["csr"], "");
    let said = &login.expect(4).stderr;
    assert!(said.contains("its disk is full: make room there"), "{said}");
}

#[test]
fn a_file_that_is_replaced_stops_a_running_process() {
    if let Some(config) = config_of_child() {
        replaced_under(&config);
        return;
    }
    let (bank, chaos) = with_ledger();
    chaos.run_test(&bank, a_file_that_is_replaced_stops_a_running_process, &[]);
}

fn replaced_under(config: &hsm_mtls::internal::config::Config) {
    let chaos = Chaos::of_child();
    let identity = Identity::open(config, Attendance::Unattended).unwrap();
    let sign = || challenge(identity.signer().as_ref(), Purpose::SelfTest);
    let ledger = &config.ledger.as_ref().unwrap().file;
    let aside = ledger.with_extension("aside");
    let refused = |what: &str| {
        let before = chaos.calls("C_Sign");
        let error = sign().expect_err(what);
        assert!(matches!(error, EngineError::Ledger(_)), "{what}: {error}");
        assert_eq!(error.exit_code() as u8, 2);
        assert_eq!(chaos.calls("C_Sign"), before, "{what}");
    };
    sign().unwrap();
    let good = fs::read(ledger).unwrap();
    fs::rename(ledger, &aside).unwrap();
    refused("it is gone");
    fs::write(ledger, &good).unwrap();
    refused("a copy is in its place");
    fs::write(ledger, "").unwrap();
    refused("an empty file is in its place");
    back(&aside, ledger);
    sign().unwrap();
    fs::write(ledger, &good[..good.len() / 2]).unwrap();
    refused("it was cut short");
    // As an editor does it: the file that is open has no name any more.
    fs::write(&aside, &good).unwrap();
    back(&aside, ledger);
    let error = sign().unwrap_err().to_string();
    assert!(error.contains("another file is in its place"), "{error}");
    fs::remove_file(ledger).unwrap();
    let error = sign().unwrap_err().to_string();
    assert!(error.contains("it was removed"), "{error}");
}

fn back(aside: &Path, ledger: &Path) {
    fs::rename(aside, ledger).unwrap();
}

/// A ledger of the application's own, which takes so many records.
#[derive(Debug)]
struct Own {
    room: usize,
    kept: Mutex<Vec<String>>,
}

impl Ledger for Own {
    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError> {
        let mut kept = self.kept.lock().unwrap();
        if kept.len() == self.room {
            return Err(LedgerError::Sink("it is full".to_owned()));
        }
        let record = serde_json::to_value(entry).unwrap();
        kept.push(record["kind"].as_str().unwrap().to_owned());
        Ok(kept.len() as u64)
    }
}

#[test]
fn an_application_may_keep_the_records_itself() {
    if let Some(config) = config_of_child() {
        kept_by_the_application(&config);
        return;
    }
    let (bank, chaos) = with_ledger();
    chaos.run_test(&bank, an_application_may_keep_the_records_itself, &[]);
    assert!(
        !bank.path("log/ledger.jsonl").exists(),
        "theirs is used, not ours"
    );
}

fn kept_by_the_application(config: &hsm_mtls::internal::config::Config) {
    let chaos = Chaos::of_child();
    let open = |room| {
        let own = Arc::new(Own {
            room,
            kept: Mutex::new(Vec::new()),
        });
        let ledger = Arc::clone(&own) as Arc<dyn Ledger>;
        (
            Identity::open_with_ledger(config, Attendance::Unattended, ledger),
            own,
        )
    };
    // Not even the login.
    let (refused, _) = open(0);
    assert_eq!(refused.unwrap_err().exit_code() as u8, 2);
    assert_eq!(chaos.calls("C_Login"), 0);
    // The login and the proof, each with its outcome, and one attempt more.
    let (identity, own) = open(5);
    let identity = identity.unwrap();
    let error = challenge(identity.signer().as_ref(), Purpose::SelfTest).unwrap_err();
    assert!(matches!(error, EngineError::Ledger(_)), "{error}");
    let kept = own.kept.lock().unwrap();
    assert_eq!(*kept, ["login", "outcome", "attempt", "outcome", "attempt"]);
    // Made, and not released: its outcome could not be recorded.
    assert_eq!(chaos.calls("C_Sign"), 2);
}
