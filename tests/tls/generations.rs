//! CAs of two generations: side by side both are trusted, and with the old one alone the sign says what is missing.

use serde_json::Value;

use crate::common::bank::{Bank, Run};
use crate::common::hub::{Hub, HubOptions};
use crate::common::trust_framework::{Kind, TrustFramework};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

fn next_generation() -> TrustFramework {
    TrustFramework::of_generation(Kind::Sandbox, 2)
}

fn failed_step(run: &Run) -> Value {
    let steps = run.json()["services"][0]["steps"].clone();
    let failed = steps
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["outcome"] == "bad");
    failed.cloned().unwrap_or_else(|| panic!("{steps:#}"))
}

#[test]
fn the_hub_and_our_certificate_may_be_of_either_generation() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let next = next_generation();
    let both = bank.framework.bundle_pem() + &next.bundle_pem();
    bank.write("anchors.pem", &both);
    let csr = bank.csr();
    for (ours, issuing) in [
        (
            bank.framework.issue_client(&csr),
            bank.framework.issuing_der().clone(),
        ),
        (next.issue_client(&csr), next.issuing_der().clone()),
    ] {
        // The leaf alone: the bundle has the CA that issued it.
        let leaf = bank.write("issued.pem", &ours);
        bank.run(&["cert", "install", leaf.to_str().unwrap()])
            .expect(0);
        for server in [
            bank.framework.issue_server(&NAMES),
            next.issue_server(&NAMES),
        ] {
            let hub = Hub::start_in_thread(HubOptions::new(server, both.clone()));
            bank.hub_at(hub.port());
            let report = bank.run(&["verify", "--json"]).expect(0).json();
            let sent = report["certificate"]["sent_with"].as_array().unwrap();
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &issuing);
            let digits: String = hash
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(
                sent,
                &[Value::from(format!("sha256:{digits}"))],
                "{report:#}"
            );
        }
    }
}

#[test]
fn a_hub_of_a_generation_that_is_not_held_is_told_from_a_strange_one() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let next = next_generation();
    let hub = Hub::start_in_thread(HubOptions::new(
        next.issue_server(&NAMES),
        bank.framework.bundle_pem(),
    ));
    bank.hub_at(hub.port());
    let failed = failed_step(&bank.run(&["verify", "--json"]).expect(5));
    let detail = failed["detail"].as_str().unwrap();
    assert!(detail.contains("Root CA - G2"), "{failed:#}");
    assert!(detail.contains("another generation only"), "{failed:#}");
    assert!(
        failed["hint"]
            .as_str()
            .unwrap()
            .contains("hsm-mtls trust update"),
        "{failed:#}"
    );
    let request = bank.run(&["request", "GET", "cm:/consents/1"]).expect(5);
    assert!(request.stderr.contains("another generation"), "{request:?}");

    // The same with a CA that is of nobody's acquaintance.
    let other = TrustFramework::new(Kind::Production);
    let hub = Hub::start_in_thread(HubOptions::new(
        other.issue_server(&NAMES),
        bank.framework.bundle_pem(),
    ));
    bank.hub_at(hub.port());
    let failed = failed_step(&bank.run(&["verify", "--json"]).expect(5));
    assert!(
        !failed["detail"].as_str().unwrap().contains("generation"),
        "{failed:#}"
    );
}

#[test]
fn a_certificate_of_ours_of_a_generation_that_is_not_held_is_refused_with_the_reason() {
    let bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let next = next_generation();
    let leaf = bank.write("issued.pem", &next.issue_client(&bank.csr()));
    let run = bank
        .run(&["cert", "install", leaf.to_str().unwrap()])
        .expect(2);
    assert!(run.stderr.contains("another generation only"), "{run:?}");
    assert!(run.stderr.contains("hsm-mtls trust update"), "{run:?}");
}
