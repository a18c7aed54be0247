//! A signer answers a health request at once, in every state; it calls no token for it, and writes no record.

use std::fs;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hostile_front_end::*;
use crate::common::poll::until;
use crate::common::procfs;
use crate::common::signer_process::{config, launch};
use crate::common::trust_framework::write_file;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::signer::signer_supervisor::SupervisedSigner;
use hsm_mtls::internal::signer::{self, RemoteKey, SignerHealth};
use serde_json::Value;

/// Far below what any call that hangs here would take.
const AT_ONCE: Duration = Duration::from_secs(1);

fn bank() -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.configure(|settings| {
        settings.token_lines = "timeout = \"20s\"".to_owned();
        settings.sections =
            "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n[signer]\nper_second = 3\nburst = 3\n"
                .to_owned();
    });
    let chaos = Chaos::between(&mut bank, "");
    (bank, chaos)
}

fn at_once(front_end: &FrontEnd, channel: usize) -> Value {
    let asked = Instant::now();
    let health = front_end.health(channel);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    health
}

#[test]
fn health_is_answered_at_once_in_every_state() {
    let (bank, chaos) = bank();
    chaos.plan("hang C_Login 1..");
    let front_end = FrontEnd::begin(launch(&bank, Some(&chaos)));
    assert_eq!(at_once(&front_end, 0), "starting");
    // Behind it somebody waits for the key, and it is no matter.
    front_end.send(1, &[&[2, 1][..], &7_u64.to_le_bytes()].concat());
    until("the login hangs", || chaos.calls("C_Login") > 0);
    assert_eq!(at_once(&front_end, 0), "starting");
    drop(front_end);

    chaos.plan("");
    let front_end = FrontEnd::described(FrontEnd::begin(launch(&bank, Some(&chaos))));
    let ready = at_once(&front_end, 0)["ready"].clone();
    assert_eq!(
        (&ready["outage"], &ready["last_signature_ms"]),
        (&Value::Null, &Value::Null),
        "{ready}"
    );
    front_end.serves(1);
    let ready = at_once(&front_end, 0)["ready"].clone();
    assert!(ready["last_signature_ms"].as_u64().unwrap() < 60_000);
    assert_eq!(ready["sessions_in_use"], 0, "{ready}");

    // A signature that hangs.
    chaos.plan("hang C_Sign 1..");
    let asked = front_end.good(certificate_verify("client"));
    front_end.send(1, &frame(1, &asked));
    until("it is at work", || {
        at_once(&front_end, 0)["ready"]["sessions_in_use"] == 1
    });
    drop(front_end);
}

#[test]
fn a_pin_that_is_refused_is_said_and_sent_once() {
    let (mut bank, chaos) = bank();
    let wrong = bank.path("wrong-pin");
    write_file(&wrong, "wrong", 0o600);
    bank.configure(|settings| {
        settings.state_dir = "fresh".to_owned();
        settings.pin = format!("{{ file = \"{}\" }}", wrong.display());
    });
    chaos.forget_calls();
    let front_end = FrontEnd::begin(launch(&bank, Some(&chaos)));
    until("it is said", || {
        at_once(&front_end, 0)["failed"]["class"] == "pin"
    });
    assert_eq!(chaos.calls("C_Login"), 1);
}

/// Neither a use of the key nor something to be counted among them.
#[test]
fn a_flood_of_health_requests_leaves_no_record_and_delays_no_signature() {
    let (bank, chaos) = bank();
    let front_end = FrontEnd::described(FrontEnd::begin(launch(&bank, Some(&chaos))));
    for _ in 0..2000 {
        at_once(&front_end, 0);
    }
    // Three in a second are permitted: none of them is spent.
    front_end.serves(1);
    front_end.serves(1);
    // And while many lie there unanswered.
    for id in 0..50 {
        front_end.send(0, &health(id));
    }
    front_end.serves(1);
    drop(front_end);
    let ledger = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    let attempts = ledger.matches("\"kind\":\"attempt\"").count();
    assert_eq!(attempts, 3, "{ledger}");
    assert!(!ledger.contains("refused"), "{ledger}");
}

#[test]
fn a_malformed_health_request_is_refused_and_recorded() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    let front_end = FrontEnd::start(&bank);
    let whole = health(1);
    for (bytes, why) in [
        (whole[..9].to_vec(), "ends too early"),
        ([&whole[..], &[0]].concat(), "something behind its end"),
        ([&[1][..], &whole[1..]].concat(), "version 1"),
        ([&[2, 4][..], &whole[2..]].concat(), "unknown kind 4"),
        ([&[2, 0x84][..], &whole[2..]].concat(), "unknown kind 132"),
    ] {
        front_end.refuses(&bytes, why);
        assert!(at_once(&front_end, 0)["ready"].is_object());
    }
    drop(front_end);
    let ledger = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    assert_eq!(ledger.matches("\"kind\":\"refused\"").count(), 5);
}

/// With every session at a call that hangs there is a channel left to ask over; and a signer that is
/// stopped does not answer, which is said within a second.
#[test]
fn a_busy_signer_answers_and_a_stopped_one_is_reported() {
    let (mut bank, chaos) = bank();
    bank.configure(|settings| settings.token_lines = "timeout = \"20s\"\nsessions = 1".to_owned());
    let config = config(&bank);
    let (signer, sockets) =
        SupervisedSigner::start(launch(&bank, Some(&chaos)), signer::channels(&config)).unwrap();
    let pid = signer.pid().unwrap();
    let key = RemoteKey::connect(&config, sockets, None).unwrap();
    chaos.plan("hang C_Sign 1..");
    std::thread::scope(|scope| {
        let hangs = scope.spawn(|| hsm_mtls::internal::engine::prove(&key));
        until(
            "it is at work",
            || matches!(key.health().unwrap(), SignerHealth::Ready(engine) if engine.sessions_in_use == 1),
        );
        signal("STOP", pid);
        until("it is stopped", || procfs::state(pid) == Some('T'));
        let asked = Instant::now();
        let silent = key.health().unwrap_err();
        assert!(matches!(silent, EngineError::SignerSilent), "{silent}");
        assert!(asked.elapsed() < 2 * AT_ONCE, "{:?}", asked.elapsed());
        drop(signer);
        assert!(hangs.join().unwrap().is_err());
    });
    assert!(matches!(
        key.health(),
        Err(EngineError::SignerSilent | EngineError::SignerGone { .. })
    ));
}

fn signal(name: &str, pid: u32) {
    let sent = std::process::Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}
