//! `verify --evidence`: a record for the onboarding ticket that a person and a machine can read, of
//! what went well and of what did not; nothing is overwritten for it.

use std::fs;
use std::path::PathBuf;

use crate::common::bank::Bank;
use crate::common::error_report;
use crate::common::hub::{Hub, HubOptions};
use crate::common::misbehaving::answer::Answer;
use crate::common::misbehaving::{Behaviour, MisbehavingHub};
use hsm_mtls::internal::config::trust::Fingerprint;
use insta::assert_snapshot;
use serde_json::Value;

fn certified() -> (Bank, PathBuf) {
    let bank = Bank::new();
    bank.certify("rsa-2048");
    let file = bank.path("evidence.json");
    (bank, file)
}

fn verify(bank: &Bank, file: &std::path::Path, code: i32) -> (Value, String) {
    let run = bank
        .run(&["verify", "--evidence", file.to_str().unwrap()])
        .expect(code);
    let text = fs::read(file).unwrap();
    let hash = Fingerprint::of(&text).to_string();
    assert!(
        run.stderr.contains(&hash),
        "the hash is told, for the ticket: {run:?}"
    );
    (serde_json::from_slice(&text).unwrap(), run.stdout)
}

/// The sentences, with points in time and interaction ids taken out.
fn statement(bank: &Bank, evidence: &Value) -> String {
    let sentences = evidence["statement"].as_array().unwrap().iter();
    let text: Vec<_> = sentences.map(|text| text.as_str().unwrap()).collect();
    let text = error_report::plain(bank, &text.join("\n"));
    let words = text.split_inclusive([' ', '\n']).map(|word| {
        let bare = word.trim().trim_end_matches(['.', ',']);
        let time = bare.len() == 20 && bare.ends_with('Z');
        let id = bare.len() == 36 && bare.matches('-').count() == 4;
        if time {
            word.replace(bare, "<time>")
        } else if id {
            word.replace(bare, "<id>")
        } else {
            word.to_owned()
        }
    });
    words.collect()
}

#[test]
fn of_both_services_established() {
    let (mut bank, file) = certified();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let (evidence, shown) = verify(&bank, &file, 0);
    assert_snapshot!(statement(&bank, &evidence));
    let report = &evidence["report"];
    assert_eq!(report["established"], true);
    // The fingerprints are of what went over the wire.
    let presented = hub.connections()[0].client_certificate.clone().unwrap();
    let fingerprint = |der: &[u8]| Value::from(Fingerprint::of(der).to_string());
    assert_eq!(
        report["certificate"]["fingerprint"],
        fingerprint(&presented)
    );
    assert_eq!(
        report["certificate"]["sent_with"][0],
        fingerprint(bank.framework.issuing_der())
    );
    let module = fs::read(fs::canonicalize(crate::common::softhsm::MODULE).unwrap()).unwrap();
    assert_eq!(report["holder"]["module_fingerprint"], fingerprint(&module));
    for (service, seen) in report["services"]
        .as_array()
        .unwrap()
        .iter()
        .zip(hub.seen())
    {
        let id = service["interaction_id"].as_str().unwrap();
        assert_eq!(seen.headers["x-fapi-interaction-id"], id);
        assert!(shown.contains(id), "{shown}");
        assert!(service["server_certificate"]["fingerprint"].is_string());
    }
}

#[test]
fn of_a_hub_that_refuses() {
    let (mut bank, file) = certified();
    let version = &rustls::version::TLS13;
    let behaviour = Behaviour::Answer(Answer::NotEstablished);
    let hub = MisbehavingHub::start(&bank.framework, version, behaviour);
    bank.hub_at(hub.port());
    let (evidence, _) = verify(&bank, &file, 1);
    assert_snapshot!(statement(&bank, &evidence));
    assert_eq!(evidence["report"]["established"], false);
}

#[test]
fn of_a_token_that_is_not_there() {
    let (mut bank, file) = certified();
    bank.configure(|settings| settings.token_uri = "pkcs11:token=other".to_owned());
    let (evidence, shown) = verify(&bank, &file, 3);
    assert!(shown.is_empty());
    assert_snapshot!(statement(&bank, &evidence));
    assert_eq!(evidence["report"], Value::Null);
    assert_eq!(evidence["failure"]["exit"], 3);
    assert!(!evidence["failure"]["hint"].as_str().unwrap().is_empty());
}

#[test]
fn nothing_is_overwritten_and_nothing_sent_without_a_place_for_it() {
    let (mut bank, _) = certified();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let certificate = bank.path("c3.pem");
    let before = fs::read(&certificate).unwrap();
    for place in [
        certificate.clone(),
        bank.path("no/such/folder/evidence.json"),
    ] {
        let run = bank
            .run(&["verify", "--evidence", place.to_str().unwrap()])
            .expect(2);
        assert!(
            run.stderr.contains("the evidence cannot be kept in")
                && run.stderr.contains("name a file that does not exist yet"),
            "{run:?}"
        );
    }
    assert_eq!(fs::read(&certificate).unwrap(), before);
    assert!(hub.connections().is_empty());
}
