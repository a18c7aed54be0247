//! An acceptance allows one attempt, with one PIN source, at one token, within the hour.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::config::pin::PinSource;
use crate::token::description::TokenId;

const FLAG: &str = "CKF_USER_PIN_COUNT_LOW";
const NOON: u64 = 1_800_000_000;

struct Fixture {
    folder: TempDir,
    token: TokenId,
    source: PinSource,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            token: ["lfi", "4711", "SoftHSM"].map(str::to_owned),
            source: PinSource::Env("THE_PIN".to_owned()),
        }
    }

    fn scope(&self, role: PinRole) -> AttemptScope<'_> {
        AttemptScope {
            folder: Some(self.folder.path()),
            token: &self.token,
            role,
            login_role: PinRole::User,
            user_name: None,
            source: &self.source,
        }
    }

    /// Writes the file as `pin accept-count-low` does.
    fn accept(&self) -> PathBuf {
        let scope = self.scope(PinRole::User);
        let path = scope.acceptance_path().unwrap();
        let by = getuid().as_raw();
        replace(&path, &scope.content(FLAG, NOON, by)).unwrap();
        path
    }

    fn at(&self, now: u64) -> Result<Option<Acceptance>, String> {
        self.scope(PinRole::User).acceptance(FLAG, now)
    }
}

#[test]
fn it_can_be_used_up_once() {
    let fixture = Fixture::new();
    assert!(fixture.at(NOON).unwrap().is_none());
    fixture.accept();
    let (first, second) = (
        fixture.at(NOON).unwrap().unwrap(),
        fixture.at(NOON).unwrap().unwrap(),
    );
    first.use_up().unwrap();
    let late = second.use_up().unwrap_err().to_string();
    assert!(late.contains("cannot be used up"), "{late}");
    assert!(fixture.at(NOON).unwrap().is_none());
    // If no PIN was sent after all, it is valid again, until the same time.
    first.restore();
    assert!(fixture.at(NOON + VALIDITY - 1).unwrap().is_some());
    assert!(fixture.at(NOON + VALIDITY).is_err());
    fixture.scope(PinRole::User).withdraw_acceptance();
    assert!(fixture.at(NOON).unwrap().is_none());
}

#[test]
fn it_is_valid_for_an_hour() {
    let fixture = Fixture::new();
    fixture.accept();
    for now in [NOON - CLOCK_SKEW, NOON, NOON + VALIDITY - 1] {
        assert!(fixture.at(now).unwrap().is_some(), "{now}");
    }
    assert!(
        fixture
            .at(NOON - CLOCK_SKEW - 1)
            .unwrap_err()
            .contains("yet to come")
    );
    assert!(
        fixture
            .at(NOON + VALIDITY)
            .unwrap_err()
            .contains("for an hour")
    );
    assert!(fixture.at(u64::MAX).is_err());
}

#[test]
fn it_is_for_one_token_role_source_and_flag() {
    let fixture = Fixture::new();
    let path = fixture.accept();
    assert!(
        fixture
            .scope(PinRole::PerSignature)
            .acceptance(FLAG, NOON)
            .unwrap()
            .is_some()
    );
    assert!(
        fixture
            .scope(PinRole::SecurityOfficer)
            .acceptance(FLAG, NOON)
            .unwrap()
            .is_none()
    );
    let other = fixture
        .scope(PinRole::User)
        .acceptance("CKF_SO_PIN_COUNT_LOW", NOON);
    assert!(other.unwrap_err().contains("is for something else"));
    for change in [
        |fixture: &mut Fixture| fixture.source = PinSource::File("/run/pin".into()),
        |fixture: &mut Fixture| fixture.token[1] = "4712".to_owned(),
    ] {
        let mut another = Fixture::new();
        change(&mut another);
        // Also under the file name of the other scope.
        let copy = another.scope(PinRole::User).acceptance_path().unwrap();
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
fn a_file_that_others_could_have_written_is_invalid() {
    let fixture = Fixture::new();
    let path = fixture.accept();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            fixture
                .at(NOON)
                .unwrap_err()
                .contains("others could have written")
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(fixture.at(NOON).unwrap().is_some());
    for text in ["", "{}", "once"] {
        fs::write(&path, text).unwrap();
        assert!(fixture.at(NOON).unwrap_err().contains("cannot be read"));
    }
    let real = fixture.folder.path().join("real");
    fixture.accept();
    fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    assert!(fixture.at(NOON).is_err());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(fixture.at(NOON).is_err());
}
