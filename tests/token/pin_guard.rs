//! Law 6: a wrong PIN is sent once, whatever calls, restarts or crashes follow. The calls are counted at the module;
//! SoftHSM never locks a token, so the flags are the fault-injecting module's.

use std::fs;
use std::path::PathBuf;

use crate::common::bank::Run;
use crate::common::poll::until;
use crate::common::trust_framework::write_file;
use crate::common::wrong_pin::{right, with_wrong_pin};

/// What a process ends with that aborts: the signal's number with a minus.
/// The exit code of a command whose process crashed while the PIN was sent.
const CRASHED: i32 = 4;

/// The record that an error names as the one to remove.
fn record(run: &Run) -> PathBuf {
    let (_, rest) = run.stderr.split_once("remove ").unwrap();
    rest.split_once(": that allows").unwrap().0.into()
}

fn said(run: &Run, what: &str) {
    assert!(run.stderr.contains(what), "{what}: {run:?}");
}

#[test]
fn ten_restarts_send_a_wrong_pin_once_and_a_changed_source_is_tried_again() {
    let (bank, chaos, _hub, wrong) = with_wrong_pin("");
    said(
        &chaos.run(&bank, &["verify"]).expect(4),
        "the token refused the PIN: C_Login returned CKR_PIN_INCORRECT",
    );
    for _ in 0..10 {
        // SoftHSM would warn of the wrong try with a flag. A token that does not: the record alone.
        chaos.plan("without CKF_USER_PIN_COUNT_LOW");
        let held_back = chaos.run(&bank, &["verify"]).expect(4);
        said(
            &held_back,
            "no PIN was sent: the token refused the PIN from file ",
        );
        said(
            &held_back,
            "(C_Login returned CKR_PIN_INCORRECT), and the source has not changed since",
        );
        said(&held_back, "when that file has changed it is tried, once");
    }
    assert_eq!(chaos.calls("C_Login"), 1);
    write_file(&wrong, &right(&bank), 0o600);
    chaos.run(&bank, &["verify"]).expect(0);
    chaos.run(&bank, &["verify"]).expect(0);
    assert_eq!(chaos.calls("C_Login"), 3);
}

#[test]
fn ten_replicas_that_start_at_once_send_a_wrong_pin_once() {
    let (bank, chaos, _hub, _wrong) = with_wrong_pin("without CKF_USER_PIN_COUNT_LOW");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            // SoftHSM shows no token while another process writes to it: that one ends with 3.
            scope.spawn(|| {
                let run = chaos.run(&bank, &["key", "list"]);
                assert!(matches!(run.code, 3 | 4), "{run:?}");
            });
        }
    });
    assert_eq!(chaos.calls("C_Login"), 1);
}

#[test]
fn a_crash_inside_the_login_is_a_try_too() {
    let (bank, chaos, _hub, wrong) = with_wrong_pin("crash C_Login 1");
    chaos.run(&bank, &["key", "list"]).expect(CRASHED);
    for plan in ["crash C_Login 1", ""] {
        chaos.plan(plan);
        let held_back = chaos.run(&bank, &["key", "list"]).expect(4);
        said(
            &held_back,
            "had no answer about the PIN (the process ended within C_Login)",
        );
        said(&held_back, "that allows one more try");
    }
    assert_eq!(chaos.calls("C_Login"), 1);
    write_file(&wrong, &right(&bank), 0o600);
    chaos.run(&bank, &["key", "list"]).expect(0);
}

#[test]
fn what_the_tokens_flags_warn_of_is_not_tried() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("");
    let good = bank.token.pin_file();
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", good.display()));
    for (flag, hint) in [
        (
            "CKF_USER_PIN_COUNT_LOW",
            "run `hsm-mtls token check` at a terminal and answer yes",
        ),
        ("CKF_USER_PIN_FINAL_TRY", "administrator (SO) has to reset"),
        ("CKF_USER_PIN_LOCKED", "administrator (SO) has to reset"),
        (
            "CKF_USER_PIN_TO_BE_CHANGED",
            "administrator (SO) has to reset",
        ),
    ] {
        chaos.plan(&format!("flag {flag}"));
        let guarded = chaos.run(&bank, &["verify"]).expect(4);
        said(&guarded, &format!("no PIN was sent: the token says {flag}"));
        said(&guarded, hint);
    }
    assert_eq!(chaos.calls("C_Login"), 0);
}

/// A token that locks: its flags alone hold back a PIN from a source that was never tried.
#[test]
fn another_source_with_the_same_wrong_pin_does_not_lock_the_token() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("pin-tries 3");
    chaos.run(&bank, &["key", "list"]).expect(4);
    let copy = bank.path("copy");
    write_file(&copy, "wrong", 0o600);
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", copy.display()));
    said(
        &chaos.run(&bank, &["key", "list"]).expect(4),
        "CKF_USER_PIN_COUNT_LOW",
    );
    assert_eq!(chaos.calls("C_Login"), 1);
}

/// A variable has no date: nothing shows that it changed, so a person has to say so.
#[test]
fn a_source_without_versions_is_held_back_until_a_person_answers_for_it() {
    let (mut bank, chaos, _hub, wrong) = with_wrong_pin("without CKF_USER_PIN_COUNT_LOW");
    bank.configure(|settings| {
        settings.pin = format!("{{ command = [\"/bin/cat\", \"{}\"] }}", wrong.display());
    });
    chaos.run(&bank, &["key", "list"]).expect(4);
    write_file(&wrong, &right(&bank), 0o600);
    let held_back = chaos.run(&bank, &["key", "list"]).expect(4);
    said(
        &held_back,
        "no PIN was sent: the token refused the PIN from command /bin/cat at ",
    );
    assert_eq!(chaos.calls("C_Login"), 1);
    fs::remove_file(record(&held_back)).unwrap();
    chaos.run(&bank, &["key", "list"]).expect(0);
}

#[test]
fn an_hsm_that_is_away_at_the_login_is_tried_again() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("");
    let good = bank.token.pin_file();
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", good.display()));
    chaos.run(&bank, &["key", "list"]).expect(0);
    for _ in 0..3 {
        chaos.plan("fail C_Login all CKR_DEVICE_ERROR");
        said(
            &chaos.run(&bank, &["key", "list"]).expect(3),
            "the login failed: C_Login returned CKR_DEVICE_ERROR",
        );
    }
    // A module that answers a wrong PIN so must not be asked without end: there are pauses now.
    let pause = chaos.run(&bank, &["key", "list"]).expect(3);
    if pause.stderr.contains("the login failed") {
        said(
            &chaos.run(&bank, &["key", "list"]).expect(3),
            "and the next is tried in ",
        );
    } else {
        said(&pause, "and the next is tried in ");
    }
    chaos.plan("");
    until("the HSM is back", || {
        chaos.run(&bank, &["key", "list"]).code == 0
    });
}

#[test]
fn where_a_try_cannot_be_recorded_nothing_is_sent() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("");
    bank.write("file", "");
    bank.configure(|settings| settings.state_dir = "file/state".to_owned());
    let unrecorded = chaos.run(&bank, &["key", "list"]).expect(4);
    said(
        &unrecorded,
        "no PIN was sent: that it was tried cannot be recorded in ",
    );
    said(&unrecorded, "let `state_dir` of [[token]] name a folder");
    assert_eq!(chaos.calls("C_Login"), 0);
}

#[test]
fn a_source_that_is_a_person_is_refused_where_none_is() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("flag CKF_PROTECTED_AUTHENTICATION_PATH");
    for source in ["prompt", "protected-path"] {
        bank.configure(|settings| settings.pin = format!("\"{source}\""));
        for command in ["verify", "csr"] {
            said(
                &chaos.run(&bank, &[command]).expect(4),
                "and nobody is at a terminal",
            );
        }
    }
    assert_eq!(chaos.calls("C_Login"), 0);
}

/// The login is good each time; it is the one before the signature that the module dies in.
#[test]
fn a_crash_inside_the_login_for_a_signature_is_a_try_too() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("");
    let good = bank.token.pin_file();
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", good.display()));
    for start in 0..4 {
        chaos.plan("always-authenticate\ncrash C_Login 2");
        chaos.forget_calls();
        let expected = if start == 0 { (CRASHED, 2) } else { (4, 1) };
        let run = chaos.run(&bank, &["csr"]);
        assert_eq!((run.code, chaos.calls("C_Login")), expected, "{run:?}");
    }
}

const ACCEPT: [&str; 3] = ["pin", "accept-count-low", "--once"];

/// The good PIN in its file, and a token that somebody else has tried a wrong one at.
fn unattended_with_count_low() -> (
    crate::common::bank::Bank,
    crate::common::chaos::Chaos,
    crate::common::hub::Hub,
    PathBuf,
) {
    let (bank, chaos, hub, pin) = with_wrong_pin("pin-tries 5");
    chaos.run(&bank, &["key", "list"]).expect(4);
    write_file(&pin, &right(&bank), 0o600);
    said(
        &chaos.run(&bank, &["key", "list"]).expect(4),
        "no PIN was sent: the token says CKF_USER_PIN_COUNT_LOW",
    );
    chaos.forget_calls();
    (bank, chaos, hub, pin)
}

/// The right PIN is in place, and nobody ever comes to a terminal.
#[test]
fn an_operator_lets_an_unattended_machine_start_again() {
    let (mut bank, chaos, _hub, _pin) = unattended_with_count_low();
    bank.configure(|settings| {
        settings.sections =
            "[ledger]\nfile = \"ledger/ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    for _ in 0..3 {
        let guarded = chaos.run(&bank, &["key", "list"]).expect(4);
        said(
            &guarded,
            "`hsm-mtls pin accept-count-low --once` by the same user",
        );
    }
    // It has to be said that it is for once.
    chaos.run(&bank, &ACCEPT[..2]).expect(2);
    let accepted = chaos
        .run(&bank, &[&ACCEPT[..], &["--json"]].concat())
        .expect(0)
        .json();
    assert_eq!(
        (&accepted["accepted"], chaos.calls("C_Login")),
        (&true.into(), 0)
    );
    let file = PathBuf::from(accepted["file"].as_str().unwrap());
    assert!(file.exists());
    let used = chaos.run(&bank, &["verify"]).expect(0);
    said(&used, "accepted that at");
    assert!(!file.exists());
    // The right PIN has reset the counter: nothing is to be accepted any more.
    chaos.run(&bank, &["key", "list"]).expect(0);
    let none = chaos.run(&bank, &ACCEPT).expect(0);
    assert!(none.stdout.contains("needs no acceptance"), "{none:?}");
    assert!(!file.exists());
    let ledger = fs::read_to_string(bank.path("ledger/ledger.jsonl")).unwrap();
    let logins: Vec<_> = ledger
        .lines()
        .filter(|line| line.contains("\"kind\":\"login\""))
        .collect();
    let marked = "\"accepted\":{\"flag\":\"CKF_USER_PIN_COUNT_LOW\",\"at\":\"";
    assert!(
        logins[0].contains(marked) && !logins[1].contains("accepted"),
        "{logins:?}"
    );
}

#[test]
fn an_acceptance_is_for_one_try_a_wrong_one_and_a_crash_too() {
    let (bank, chaos, _hub, pin) = unattended_with_count_low();
    write_file(&pin, "wrong again", 0o600);
    chaos.run(&bank, &ACCEPT).expect(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let run = chaos.run(&bank, &["key", "list"]);
                assert!(matches!(run.code, 3 | 4), "{run:?}");
            });
        }
    });
    assert_eq!(chaos.calls("C_Login"), 1);
    // A loop of acceptances does not get any further: what was refused is held back by the record.
    for _ in 0..3 {
        let held_back = chaos.run(&bank, &ACCEPT).expect(4);
        said(&held_back, "and the source has not changed since");
        chaos.run(&bank, &["key", "list"]).expect(4);
    }
    assert_eq!(chaos.calls("C_Login"), 1);
}

#[test]
fn an_acceptance_is_used_up_before_the_login_that_crashes() {
    let (bank, chaos, _hub, _pin) = unattended_with_count_low();
    chaos.run(&bank, &ACCEPT).expect(0);
    chaos.plan("flag CKF_USER_PIN_COUNT_LOW\ncrash C_Login 1");
    chaos.run(&bank, &["key", "list"]).expect(CRASHED);
    for _ in 0..3 {
        chaos.run(&bank, &["key", "list"]).expect(4);
        said(
            &chaos.run(&bank, &ACCEPT).expect(4),
            "the process ended within C_Login",
        );
    }
    assert_eq!(chaos.calls("C_Login"), 1);
}

/// The last try and a lock are nobody's to accept; an acceptance from before does not hold for them.
#[test]
fn nothing_graver_than_count_low_can_be_accepted() {
    let (bank, chaos, _hub, _pin) = unattended_with_count_low();
    chaos.run(&bank, &ACCEPT).expect(0);
    for flag in [
        "CKF_USER_PIN_FINAL_TRY",
        "CKF_USER_PIN_LOCKED",
        "CKF_USER_PIN_TO_BE_CHANGED",
    ] {
        chaos.plan(&format!("flag CKF_USER_PIN_COUNT_LOW\nflag {flag}"));
        for arguments in [&["key", "list"][..], &ACCEPT] {
            let refused = chaos.run(&bank, arguments).expect(4);
            said(&refused, &format!("no PIN was sent: the token says {flag}"));
        }
    }
    assert_eq!(chaos.calls("C_Login"), 0);
    chaos.plan("flag CKF_USER_PIN_COUNT_LOW");
    chaos.run(&bank, &["key", "list"]).expect(0);
}
