//! `trust show`, and `verify` of a certificate of ours that is revoked.

use std::fs;

use rcgen::CrlDistributionPoint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use time::Duration;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::published_keys::bank_with_sig4;
use crate::common::trust_framework::{Kind, TrustFramework};

const WEEK: Duration = Duration::days(7);

fn leaf(bank: &Bank, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&fs::read(bank.path(name)).unwrap()).unwrap()
}

fn show(bank: &Bank, code: i32) -> Value {
    bank.run(&["trust", "show", "--json"]).expect(code).json()
}

#[test]
fn anchors_lists_and_our_certificates_are_shown() {
    let mut bank = bank_with_sig4("");
    let shown = show(&bank, 0);
    let anchors = shown["anchors"]["certificates"].as_array().unwrap();
    let roles: Vec<_> = anchors
        .iter()
        .map(|one| {
            (
                one["role"].as_str().unwrap(),
                &one["generation"],
                &one["pinned"],
            )
        })
        .collect();
    assert_eq!(
        roles,
        [
            ("issuing", &1.into(), &Value::Null),
            ("root", &1.into(), &Value::Null)
        ]
    );
    assert_eq!(shown["crls"], serde_json::json!([]));
    assert_eq!(shown["own"][0]["revoked"], Value::Null);
    let text = bank.run(&["trust", "show"]).expect(0).stdout;
    assert!(
        text.contains("http://crl.sandbox.pki.openfinance.ae/issuer.crl"),
        "{text}"
    );

    let next = TrustFramework::of_generation(Kind::Sandbox, 2);
    bank.write(
        "anchors.pem",
        &(bank.framework.bundle_pem() + &next.bundle_pem()),
    );
    fs::write(
        bank.path("list.crl"),
        bank.framework
            .crl_numbered(70000, 3 * Duration::DAY, &[], WEEK),
    )
    .unwrap();
    let pin = anchors[1]["fingerprint"].as_str().unwrap();
    bank.configure(|settings| settings.trust_lines = "crls = [\"list.crl\"]".to_owned());
    let shown = show(&bank, 0);
    let list = &shown["crls"][0]["lists"][0];
    assert_eq!(
        (&list["number"], &list["age_days"], &list["entries"]),
        (&"70000".into(), &3.into(), &0.into())
    );
    assert_eq!(
        shown["anchors"]["certificates"].as_array().unwrap().len(),
        4
    );
    for (number, key) in ["C3", "Sig4"].iter().enumerate() {
        let own = &shown["own"][number];
        assert_eq!(
            (&own["key"], &own["revoked"]),
            (&(*key).into(), &false.into()),
            "{shown:#}"
        );
    }
    // With a pin for one of two roots, the other is refused, as by every command.
    bank.configure(|settings| settings.trust_lines = format!("pins = [\"{pin}\"]"));
    assert!(
        bank.run(&["trust", "show"])
            .expect(2)
            .stderr
            .contains("is not among the pins")
    );
}

#[test]
fn what_is_wrong_with_a_list_is_a_fault() {
    let mut bank = Bank::new();
    let other = TrustFramework::new(Kind::Production);
    for (name, content) in [
        ("outdated.crl", bank.framework.crl(&[], -WEEK)),
        ("others.crl", other.crl(&[], WEEK)),
        ("garbage.crl", "no list".to_owned()),
    ] {
        bank.write(name, &content);
    }
    for (name, words) in [
        ("outdated", "a newer list is due"),
        ("others", "no CA of `anchors` has signed it"),
        ("garbage", "it holds no CRL"),
        ("missing", "it is not there"),
    ] {
        bank.configure(|settings| settings.trust_lines = format!("crls = [\"{name}.crl\"]"));
        let shown = show(&bank, 1);
        let fault = shown["faults"][0].as_str().unwrap();
        assert!(fault.contains(words), "{words}: {fault}");
        bank.run(&["trust", "show"]).expect(1);
    }
}

/// Some CAs split their lists, and each certificate names the one that it would be on.
#[test]
fn a_list_of_another_place_says_nothing_of_our_certificate() {
    const OURS: &str = "http://crl.example/1.crl";
    let mut bank = Bank::new();
    bank.certify("p-256");
    let leaf = bank.framework.issue_client_with(&bank.csr(), |params| {
        params.crl_distribution_points = vec![CrlDistributionPoint {
            uris: vec![OURS.to_owned()],
        }];
    });
    bank.write("c3.pem", &leaf);
    bank.configure(|settings| settings.trust_lines = "crls = [\"list.crl\"]".to_owned());
    for (url, revoked) in [
        (OURS, Value::from(false)),
        ("http://crl.example/2.crl", Value::Null),
    ] {
        bank.write("list.crl", &bank.framework.crl_published_at(url));
        let shown = show(&bank, 0);
        assert_eq!(shown["own"][0]["revoked"], revoked, "{url}: {shown:#}");
        assert_eq!(shown["own"][0]["crl_urls"][0], OURS);
    }
    let text = bank.run(&["trust", "show"]).expect(0).stdout;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains(&format!("it names a CRL at {OURS}, which")),
        "{text}"
    );
}

#[test]
fn our_own_revocation_is_said_by_show_and_by_verify() {
    let mut bank = bank_with_sig4("");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.trust_lines = "crls = [\"list.crl\"]".to_owned());
    for (key, file) in [("C3", "c3.pem"), ("Sig4", "sig4.pem")] {
        bank.write("list.crl", &bank.framework.crl(&[&leaf(&bank, file)], WEEK));
        let shown = show(&bank, 1);
        let faults = shown["faults"].as_array().unwrap();
        assert_eq!(faults.len(), 1, "{shown:#}");
        let fault = faults[0].as_str().unwrap();
        assert!(
            fault.starts_with(&format!("our {key} certificate is REVOKED")),
            "{fault}"
        );
        assert!(fault.contains("(keyCompromise)"), "{fault}");

        let run = bank.run(&["verify"]);
        assert_ne!(run.code, 0);
        let flat = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat.contains(&format!(
                "our {key} certificate is REVOKED: its issuer revoked it"
            )),
            "{flat}"
        );
        let report = bank.run(&["verify", "--json"]).json();
        let part = match key {
            "C3" => &report["certificate"],
            _ => &report["sig4"],
        };
        assert_eq!(part["revocation"]["revoked"], true, "{report:#}");
    }
    bank.write("list.crl", &bank.framework.crl(&[], WEEK));
    let report = bank.run(&["verify", "--json"]).json();
    assert_eq!(report["established"], true, "{report:#}");
    assert_eq!(report["certificate"]["revocation"]["revoked"], false);
}
