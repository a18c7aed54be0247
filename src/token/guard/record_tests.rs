//! The record on the disk: kept across starts, for its owner alone, by one process at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::RvError;
use tempfile::TempDir;

use super::*;

/// Long enough for a thread that does not wait.
const MEANWHILE: Duration = Duration::from_millis(300);

struct Start {
    folder: TempDir,
    token: Identity,
    source: PinSource,
}

impl Start {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            token: ["lfi", "4711", "SoftHSM"].map(str::to_owned),
            source: PinSource::File("/run/secrets/pin".into()),
        }
    }

    fn subject<'a>(&'a self, folder: Option<&'a Path>, role: Role) -> Subject<'a> {
        Subject {
            folder,
            token: &self.token,
            role,
            source: &self.source,
        }
    }

    fn record(&self) -> Record {
        Record::open(self.subject(Some(self.folder.path()), Role::User)).unwrap()
    }

    fn begin(&self, version: &str) -> Try {
        self.record().attempt(Some(version.to_owned())).unwrap()
    }

    fn allows(&self, version: &str) -> Result<(), PinError> {
        self.record().allows(Some(version))
    }
}

fn fault(code: RvError) -> Fault {
    Fault::new(code, Function::Login)
}

#[test]
fn what_the_token_said_is_kept_and_told() {
    let start = Start::new();
    start.allows("1").unwrap();
    start
        .begin("1")
        .end(Last::Refused, Some(&fault(RvError::PinIncorrect)));
    let held_back = start.allows("1").unwrap_err();
    assert!(
        matches!(&held_back, PinError::RefusedEarlier(earlier) if earlier.answer == "C_Login returned CKR_PIN_INCORRECT"),
        "{held_back}"
    );
    start
        .begin("2")
        .end(Last::Refused, Some(&fault(RvError::PinIncorrect)));
    let held_back = start.allows("3").unwrap_err().to_string();
    assert!(held_back.contains("refused 2 PINs in a row"), "{held_back}");
    drop(start.begin("4"));
    start.begin("5").end(Last::Good, None);
    start.allows("5").unwrap();
}

#[test]
fn an_attempt_without_an_end_is_found_by_the_next_process() {
    let start = Start::new();
    drop(start.begin("1"));
    let held_back = start.allows("1").unwrap_err().to_string();
    assert!(
        held_back.contains("the process ended within C_Login"),
        "{held_back}"
    );
    start.allows("2").unwrap();
}

#[test]
fn each_role_has_a_record_of_its_own() {
    let start = Start::new();
    start.begin("1").end(Last::Refused, None);
    let folder = Some(start.folder.path());
    for role in [Role::SecurityOfficer, Role::PerSignature] {
        let subject = start.subject(folder, role);
        subject.refused_elsewhere(Some("1")).unwrap();
        Record::open(subject).unwrap().allows(Some("1")).unwrap();
    }
    let user = start.subject(folder, Role::User);
    assert!(user.refused_elsewhere(Some("1")).is_err());
    user.refused_elsewhere(Some("2")).unwrap();
}

#[test]
fn a_pin_that_was_not_looked_at_leaves_no_trace() {
    let start = Start::new();
    start.begin("1").not_looked_at();
    assert_eq!(start.record().before, None);
    start.begin("1").end(Last::Refused, None);
    let before = start.record().before.clone();
    start.begin("1").not_looked_at();
    assert_eq!(start.record().before, before);
}

#[test]
fn one_process_at_a_time_holds_the_record() {
    let start = Start::new();
    let held = start.record();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let start = &start;
        scope.spawn(move || {
            let second = start.record();
            tell.send(second.allows(None).is_err()).unwrap();
        });
        assert_eq!(told.recv_timeout(MEANWHILE), Err(RecvTimeoutError::Timeout));
        held.attempt(None).unwrap().end(Last::Refused, None);
        // It waited, and found what the first had written.
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(true));
    });
}

#[test]
fn a_lock_that_was_removed_is_nobodys() {
    let start = Start::new();
    let held = start.record();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let start = &start;
        scope.spawn(move || {
            let second = start.record();
            tell.send(()).unwrap();
            told_again(&second);
        });
        assert_eq!(told.recv_timeout(MEANWHILE), Err(RecvTimeoutError::Timeout));
        fs::remove_file(held.path.with_extension("lock")).unwrap();
        // The second waits for the file that is there, and has it: the operator wanted that.
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    });
}

fn told_again(record: &Record) {
    let there = fs::metadata(record.path.with_extension("lock")).unwrap();
    assert_eq!(record.lock.metadata().unwrap().ino(), there.ino());
}

#[test]
fn a_record_that_cannot_be_trusted_stops_everything() {
    let start = Start::new();
    let path = start.record().path.clone();
    let open = |folder: Option<&Path>| {
        let opened = Record::open(start.subject(folder, Role::User));
        opened.unwrap_err().to_string()
    };
    for text in ["", "{}", "{\"schema\": 1}"] {
        fs::write(&path, text).unwrap();
        let said = open(Some(start.folder.path()));
        assert!(said.contains("cannot be read"), "{said}");
    }
    fs::set_permissions(start.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(open(Some(start.folder.path())).contains("others may write to it"));
    assert!(open(Some(Path::new("/proc/none"))).contains("cannot be recorded in /proc/none"));
    assert!(open(None).contains("HOME is not set"));
}

#[test]
fn the_files_are_their_owners_alone() {
    let start = Start::new();
    start.begin("1").end(Last::Good, None);
    for entry in fs::read_dir(start.folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
