//! The record's memory, start after start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

use cryptoki::context::Function;
use cryptoki::error::RvError;
use tempfile::TempDir;

use super::*;

struct Start {
    folder: TempDir,
}

impl Start {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn record(&self) -> Record {
        let token = ["lfi", "4711", "SoftHSM"].map(str::to_owned);
        let source = PinSource::File("/run/secrets/pin".into());
        Record::open(Some(self.folder.path()), &token, false, &source).unwrap()
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
fn a_refusal_is_remembered_until_the_source_changes() {
    let start = Start::new();
    start.allows("1").unwrap();
    start
        .begin("1")
        .refused(&fault(RvError::PinIncorrect))
        .unwrap();
    let held_back = start.allows("1").unwrap_err();
    assert!(
        matches!(&held_back, PinError::RefusedEarlier(earlier) if earlier.answer == "C_Login returned CKR_PIN_INCORRECT"),
        "{held_back}"
    );
    start.allows("2").unwrap();
    start.begin("2").good().unwrap();
    start.allows("2").unwrap();
}

#[test]
fn an_attempt_without_an_end_holds_back_a_pin_that_was_never_good() {
    let start = Start::new();
    drop(start.begin("1"));
    let held_back = start.allows("1").unwrap_err();
    assert!(
        matches!(&held_back, PinError::Unanswered(earlier) if earlier.failures == 1),
        "{held_back}"
    );
    start.allows("2").unwrap();
}

#[test]
fn a_pin_that_was_good_outlives_one_kill_and_not_two() {
    let start = Start::new();
    start.begin("1").good().unwrap();
    drop(start.begin("1"));
    start.allows("1").unwrap();
    drop(start.begin("1"));
    assert!(matches!(
        start.allows("1"),
        Err(PinError::Unanswered(earlier)) if earlier.failures == 2
    ));
    // And what was good of one version says nothing of another.
    start.begin("2").good().unwrap();
    drop(start.begin("3"));
    assert!(start.allows("3").is_err());
}

#[test]
fn an_hsm_that_is_away_does_not_cost_the_service_its_restart() {
    let start = Start::new();
    for _ in 0..2 {
        start
            .begin("1")
            .failed(&fault(RvError::DeviceError))
            .unwrap();
        start.allows("1").unwrap();
    }
    start
        .begin("1")
        .failed(&fault(RvError::DeviceError))
        .unwrap();
    assert!(matches!(
        start.allows("1"),
        Err(PinError::Unanswered(earlier)) if earlier.failures == 3
    ));
    start.begin("2").good().unwrap();
    for _ in 0..50 {
        start
            .begin("2")
            .failed(&fault(RvError::GeneralError))
            .unwrap();
        start.allows("2").unwrap();
    }
}

#[test]
fn a_pin_that_was_not_looked_at_leaves_no_trace() {
    let start = Start::new();
    start.begin("1").not_looked_at().unwrap();
    assert_eq!(start.record().before, None);
    start
        .begin("1")
        .refused(&fault(RvError::PinLocked))
        .unwrap();
    start.begin("1").not_looked_at().unwrap();
    assert!(start.allows("1").is_err());
}

#[test]
fn one_process_at_a_time_holds_the_record() {
    let start = Start::new();
    let held = start.record();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let start = &start;
        scope.spawn(move || {
            let _second = start.record();
            tell.send(()).unwrap();
        });
        assert!(told.try_recv().is_err(), "the second waits");
        let attempt = held.attempt(None).unwrap();
        attempt.refused(&fault(RvError::PinIncorrect)).unwrap();
        told.recv_timeout(PATIENCE).unwrap();
    });
    assert!(start.record().allows(None).is_err());
}

#[test]
fn a_record_that_cannot_be_trusted_stops_everything() {
    let start = Start::new();
    let path = start.record().path;
    fs::write(&path, "").unwrap();
    let token = ["lfi", "4711", "SoftHSM"].map(str::to_owned);
    let source = PinSource::File("/run/secrets/pin".into());
    let open = |folder: Option<&Path>| {
        Record::open(folder, &token, false, &source)
            .unwrap_err()
            .to_string()
    };
    assert!(open(Some(start.folder.path())).contains("it is damaged"));
    fs::set_permissions(start.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(open(Some(start.folder.path())).contains("others may write to it"));
    assert!(open(Some(Path::new("/proc/none"))).contains("cannot be recorded in /proc/none"));
    assert!(open(None).contains("HOME is not set"));
}

#[test]
fn the_files_are_their_owners_alone() {
    let start = Start::new();
    start.begin("1").good().unwrap();
    for entry in fs::read_dir(start.folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
