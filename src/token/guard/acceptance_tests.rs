//! What an acceptance allows: one try, of one PIN, at one token, within the hour.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::super::Identity;
use super::*;

const FLAG: &str = "CKF_USER_PIN_COUNT_LOW";
const NOON: u64 = 1_800_000_000;

struct Place {
    folder: TempDir,
    token: Identity,
    source: PinSource,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            token: ["lfi", "4711", "SoftHSM"].map(str::to_owned),
            source: PinSource::Env("THE_PIN".to_owned()),
        }
    }

    fn subject(&self, role: Role) -> Subject<'_> {
        Subject {
            folder: Some(self.folder.path()),
            token: &self.token,
            role,
            source: &self.source,
        }
    }

    /// As `pin accept-count-low` does it.
    fn accept(&self) -> PathBuf {
        let subject = self.subject(Role::User);
        let path = subject.acceptance_path().unwrap();
        let by = getuid().as_raw();
        replace(&path, &subject.written(FLAG, NOON, by)).unwrap();
        path
    }

    fn at(&self, now: u64) -> Result<Option<Acceptance>, String> {
        self.subject(Role::User).acceptance(FLAG, now)
    }
}

#[test]
fn it_is_used_up_once_by_whoever_comes_first() {
    let place = Place::new();
    assert!(place.at(NOON).unwrap().is_none());
    place.accept();
    let (first, second) = (
        place.at(NOON).unwrap().unwrap(),
        place.at(NOON).unwrap().unwrap(),
    );
    first.use_up().unwrap();
    let late = second.use_up().unwrap_err().to_string();
    assert!(late.contains("cannot be used up"), "{late}");
    assert!(place.at(NOON).unwrap().is_none());
    // Where no PIN was sent after all, it holds as before, and not longer.
    first.not_needed();
    assert!(place.at(NOON + HOLDS - 1).unwrap().is_some());
    assert!(place.at(NOON + HOLDS).is_err());
    place.subject(Role::User).withdraw_acceptance();
    assert!(place.at(NOON).unwrap().is_none());
}

#[test]
fn it_is_dated() {
    let place = Place::new();
    place.accept();
    for now in [NOON - SLACK, NOON, NOON + HOLDS - 1] {
        assert!(place.at(now).unwrap().is_some(), "{now}");
    }
    assert!(
        place
            .at(NOON - SLACK - 1)
            .unwrap_err()
            .contains("yet to come")
    );
    assert!(place.at(NOON + HOLDS).unwrap_err().contains("for an hour"));
    assert!(place.at(u64::MAX).is_err());
}

#[test]
fn it_is_for_one_token_role_source_and_flag() {
    let place = Place::new();
    let path = place.accept();
    assert!(
        place
            .subject(Role::PerSignature)
            .acceptance(FLAG, NOON)
            .unwrap()
            .is_some()
    );
    assert!(
        place
            .subject(Role::SecurityOfficer)
            .acceptance(FLAG, NOON)
            .unwrap()
            .is_none()
    );
    let other = place
        .subject(Role::User)
        .acceptance("CKF_SO_PIN_COUNT_LOW", NOON);
    assert!(other.unwrap_err().contains("is for something else"));
    for change in [
        |place: &mut Place| place.source = PinSource::File("/run/pin".into()),
        |place: &mut Place| place.token[1] = "4712".to_owned(),
    ] {
        let mut another = Place::new();
        change(&mut another);
        // Also by the name that its own would have.
        let copy = another.subject(Role::User).acceptance_path().unwrap();
        fs::copy(&path, copy).unwrap();
        assert!(
            another
                .at(NOON)
                .unwrap_err()
                .contains("is for something else")
        );
    }
}

#[test]
fn what_others_could_have_written_allows_nothing() {
    let place = Place::new();
    let path = place.accept();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            place
                .at(NOON)
                .unwrap_err()
                .contains("others could have written")
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(place.at(NOON).unwrap().is_some());
    for text in ["", "{}", "once"] {
        fs::write(&path, text).unwrap();
        assert!(place.at(NOON).unwrap_err().contains("cannot be read"));
    }
    let real = place.folder.path().join("real");
    place.accept();
    fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    assert!(place.at(NOON).is_err());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(place.at(NOON).is_err());
}
