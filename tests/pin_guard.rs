//! Law 6: a wrong PIN is sent once, whatever calls, restarts or crashes. The calls are counted at the
//! module; SoftHSM never locks, so the token's flags are the fault-injecting module's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use common::bank::{Bank, Run, config_of_child};
use common::chaos::Chaos;
use common::hub::{Hub, HubOptions};
use common::trust_framework::write_file;
use hsm_mtls::client::Client;
use hsm_mtls::token::guard::Attendance;
use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use url::Url;

const HANDSHAKES: usize = 200;

/// A bank with a certificate and a hub, whose next PIN comes from a file with the wrong one.
fn with_wrong_pin(plan: &str) -> (Bank, Chaos, Hub, PathBuf) {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, plan);
    let wrong = bank.path("wrong-pin");
    write_file(&wrong, "wrong", 0o600);
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", wrong.display()));
    chaos.forget_calls();
    (bank, chaos, hub, wrong)
}

/// What is in the PIN file that is right.
fn right(bank: &Bank) -> String {
    std::fs::read_to_string(bank.token.pin_file()).unwrap()
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
fn ten_replicas_that_start_at_once_send_it_once() {
    let (bank, chaos, _hub, _wrong) = with_wrong_pin("without CKF_USER_PIN_COUNT_LOW");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| chaos.run(&bank, &["key", "list"]).expect(4));
        }
    });
    assert_eq!(chaos.calls("C_Login"), 1);
}

#[test]
fn a_crash_inside_the_login_is_a_try_too() {
    let (bank, chaos, _hub, wrong) = with_wrong_pin("crash C_Login 1");
    // Ended by SIGABRT: there is no exit code.
    chaos.run(&bank, &["key", "list"]).expect(-1);
    for plan in ["crash C_Login 1", ""] {
        chaos.plan(plan);
        let held_back = chaos.run(&bank, &["key", "list"]).expect(4);
        said(
            &held_back,
            "had no answer about the PIN (the process ended within C_Login)",
        );
        said(
            &held_back,
            "run `hsm-mtls token check` at a terminal and answer yes",
        );
    }
    assert_eq!(chaos.calls("C_Login"), 1);
    write_file(&wrong, &right(&bank), 0o600);
    chaos.run(&bank, &["key", "list"]).expect(0);
}

#[test]
fn two_hundred_clients_of_one_process_send_it_once() {
    if let Some(config) = config_of_child() {
        concurrently(move || {
            let config = config.clone();
            async move {
                let opened = tokio::task::spawn_blocking(move || {
                    Client::open(&config, Attendance::Unattended)
                });
                let error = opened.await.unwrap().err().unwrap();
                assert_eq!(error.exit_code() as u8, 4, "{error}");
            }
        });
        return;
    }
    let (bank, chaos, hub, _wrong) = with_wrong_pin("without CKF_USER_PIN_COUNT_LOW");
    again(
        &bank,
        &chaos,
        "two_hundred_clients_of_one_process_send_it_once",
    );
    assert_eq!(chaos.calls("C_Login"), 1);
    assert!(hub.connections().is_empty());
}

/// A key that wants the PIN before each signature, at a token that begins to refuse it.
#[test]
fn two_hundred_handshakes_send_a_pin_once_that_is_refused() {
    if let Some(config) = config_of_child() {
        // The login, then the proof's.
        let client = Client::open(&config, Attendance::Unattended).unwrap();
        let url: Arc<Url> = Arc::new(
            format!("{}/hello-mtls", config.hub.consent_manager)
                .parse()
                .unwrap(),
        );
        concurrently(move || {
            let (client, url) = (client.clone(), Arc::clone(&url));
            async move {
                let answer = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new());
                let error = answer.await.err().unwrap();
                assert_eq!(error.exit_code() as u8, 4, "{error}");
                assert!(error.to_string().contains("CKR_PIN_INCORRECT"), "{error}");
            }
        });
        return;
    }
    let (mut bank, chaos, _hub, _wrong) =
        with_wrong_pin("always-authenticate\nfail C_Login 3.. CKR_PIN_INCORRECT");
    let good = bank.token.pin_file();
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", good.display()));
    again(
        &bank,
        &chaos,
        "two_hundred_handshakes_send_a_pin_once_that_is_refused",
    );
    assert_eq!(chaos.calls("C_Login"), 2 + 1);
    // What was refused for a signature is not good for a login either.
    chaos.plan("");
    chaos.run(&bank, &["key", "list"]).expect(4);
    assert_eq!(chaos.calls("C_Login"), 2 + 1);
}

fn concurrently<F: Future<Output = ()> + Send + 'static>(task: impl Fn() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..HANDSHAKES {
            tasks.spawn(task());
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
}

/// Runs the test's other half in a process of its own.
fn again(bank: &Bank, chaos: &Chaos, test: &str) {
    let environment = chaos
        .environment()
        .map(|(name, value)| (name, value.to_str().unwrap().to_owned()));
    bank.run_test(test, &environment);
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
    let (_, record) = held_back.stderr.split_once("no terminal, remove ").unwrap();
    std::fs::remove_file(record.trim()).unwrap();
    chaos.run(&bank, &["key", "list"]).expect(0);
}

#[test]
fn an_hsm_that_is_away_at_the_login_is_tried_again() {
    let (mut bank, chaos, _hub, _wrong) = with_wrong_pin("");
    let good = bank.token.pin_file();
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", good.display()));
    chaos.run(&bank, &["key", "list"]).expect(0);
    for _ in 0..5 {
        chaos.plan("fail C_Login all CKR_DEVICE_ERROR");
        said(
            &chaos.run(&bank, &["key", "list"]).expect(3),
            "the login failed: C_Login returned CKR_DEVICE_ERROR",
        );
    }
    chaos.plan("");
    chaos.run(&bank, &["key", "list"]).expect(0);
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
