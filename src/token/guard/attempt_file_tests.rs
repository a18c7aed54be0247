//! The attempt file: kept across restarts, private to its owner, locked by one process at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::RvError;
use tempfile::TempDir;

use super::*;

/// Long enough for a thread that is not blocked.
const NO_WAIT: Duration = Duration::from_millis(300);

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
            source: PinSource::File("/run/secrets/pin".into()),
        }
    }

    fn scope<'a>(&'a self, folder: Option<&'a Path>, role: PinRole) -> AttemptScope<'a> {
        AttemptScope {
            folder,
            token: &self.token,
            role,
            login_role: PinRole::User,
            user_name: None,
            source: &self.source,
        }
    }

    fn file(&self) -> AttemptFile {
        AttemptFile::open(self.scope(Some(self.folder.path()), PinRole::User)).unwrap()
    }

    fn begin(&self, version: &str) -> PendingAttempt {
        self.file().begin_attempt(version.to_owned()).unwrap()
    }

    fn allows(&self, version: &str) -> Result<(), PinError> {
        self.file().allows(version)
    }
}

fn fault(code: RvError) -> Fault {
    Fault::new(code, Function::Login)
}

#[test]
fn the_tokens_answer_is_kept_and_reported() {
    let fixture = Fixture::new();
    fixture.allows("1").unwrap();
    fixture
        .begin("1")
        .end(Outcome::Refused, Some(&fault(RvError::PinIncorrect)));
    let denied = fixture.allows("1").unwrap_err();
    assert!(
        matches!(&denied, PinError::RefusedEarlier(earlier) if earlier.answer == "C_Login returned CKR_PIN_INCORRECT"),
        "{denied}"
    );
    fixture
        .begin("2")
        .end(Outcome::Refused, Some(&fault(RvError::PinIncorrect)));
    let denied = fixture.allows("3").unwrap_err().to_string();
    assert!(
        denied.contains("refused 2 PINs of this role in a row"),
        "{denied}"
    );
    drop(fixture.begin("4"));
    fixture.begin("5").end(Outcome::Good, None);
    fixture.allows("5").unwrap();
}

#[test]
fn an_unfinished_attempt_is_found_by_the_next_process() {
    let fixture = Fixture::new();
    drop(fixture.begin("1"));
    let denied = fixture.allows("1").unwrap_err().to_string();
    assert!(
        denied.contains("the process ended within C_Login"),
        "{denied}"
    );
    fixture.allows("2").unwrap();
}

#[test]
fn each_role_has_its_own_file() {
    let fixture = Fixture::new();
    fixture.begin("1").end(Outcome::Refused, None);
    let folder = Some(fixture.folder.path());
    for role in [PinRole::SecurityOfficer, PinRole::PerSignature] {
        let scope = fixture.scope(folder, role);
        scope.check_refusals("1").unwrap();
        AttemptFile::open(scope).unwrap().allows("1").unwrap();
    }
    let user = fixture.scope(folder, PinRole::User);
    assert!(user.check_refusals("1").is_err());
    user.check_refusals("2").unwrap();
}

#[test]
fn a_discarded_attempt_leaves_the_history_unchanged() {
    let fixture = Fixture::new();
    fixture.begin("1").discard();
    assert_eq!(fixture.file().history, None);
    fixture.begin("1").end(Outcome::Refused, None);
    let history = fixture.file().history;
    fixture.begin("1").discard();
    assert_eq!(fixture.file().history, history);
}

#[test]
fn the_file_is_locked_by_one_process_at_a_time() {
    let fixture = Fixture::new();
    let held = fixture.file();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let fixture = &fixture;
        scope.spawn(move || {
            let second = fixture.file();
            sender.send(second.allows("1").is_err()).unwrap();
        });
        assert_eq!(
            receiver.recv_timeout(NO_WAIT),
            Err(RecvTimeoutError::Timeout)
        );
        held.begin_attempt("1".to_owned())
            .unwrap()
            .end(Outcome::Refused, None);
        // The second waited for the lock, and then read the outcome of the first.
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(true));
    });
}

#[test]
fn removing_the_lock_file_releases_the_lock() {
    let fixture = Fixture::new();
    let held = fixture.file();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let fixture = &fixture;
        scope.spawn(move || {
            let second = fixture.file();
            sender.send(()).unwrap();
            has_the_current_lock(&second);
        });
        assert_eq!(
            receiver.recv_timeout(NO_WAIT),
            Err(RecvTimeoutError::Timeout)
        );
        fs::remove_file(held.path.with_extension("lock")).unwrap();
        // The second locks the new file: the operator removed the old one for that.
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    });
}

fn has_the_current_lock(file: &AttemptFile) {
    let current = fs::File::open(file.path.with_extension("lock")).unwrap();
    assert!(matches!(
        current.try_lock(),
        Err(fs::TryLockError::WouldBlock)
    ));
}

#[test]
fn a_damaged_file_or_unsafe_folder_is_an_error() {
    let fixture = Fixture::new();
    let path = fixture.file().path;
    let open = |folder: Option<&Path>| {
        let opened = AttemptFile::open(fixture.scope(folder, PinRole::User));
        opened.unwrap_err().to_string()
    };
    for text in ["", "{}", "{\"schema\": 1}"] {
        fs::write(&path, text).unwrap();
        let message = open(Some(fixture.folder.path()));
        assert!(message.contains("cannot be read"), "{message}");
    }
    fs::set_permissions(fixture.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(open(Some(fixture.folder.path())).contains("everybody may write to it"));
    assert!(open(Some(Path::new("/proc/none"))).contains("cannot be recorded in /proc/none"));
    assert!(open(None).contains("HOME is not set"));
}

#[test]
fn the_files_are_private_to_their_owner() {
    let fixture = Fixture::new();
    fixture.begin("1").end(Outcome::Good, None);
    for entry in fs::read_dir(fixture.folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
