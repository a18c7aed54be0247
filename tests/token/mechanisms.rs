//! Tokens with fewer mechanisms than SoftHSM has: a missing one is replaced, or reported.

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use rustls::version::{TLS12, TLS13};
use serde_json::Value;

fn established_with(bank: &mut Bank, version: &'static rustls::SupportedProtocolVersion) -> i32 {
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.versions = vec![version];
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    bank.run(&["verify"]).code
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap()
}

#[test]
fn a_token_without_raw_mechanisms_hashes_itself() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.token.only_mechanisms(&[
        "CKM_SHA256_RSA_PKCS",
        "CKM_SHA256_RSA_PKCS_PSS",
        "CKM_SHA384_RSA_PKCS_PSS",
    ]);
    let listed = bank
        .run(&["token", "check", "--json", "-n", "1"])
        .expect(0)
        .json();
    assert_eq!(
        step(&listed, "mechanisms")["detail"],
        "rsa_pss_rsae_sha256, rsa_pss_rsae_sha384, rsa_pkcs1_sha256"
    );
    assert_eq!(established_with(&mut bank, &TLS13), 0);
    assert_eq!(established_with(&mut bank, &TLS12), 0);
}

#[test]
fn a_token_without_pss_offers_tls_1_2_only_and_says_so() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.token.only_mechanisms(&["CKM_RSA_PKCS", "CKM_ECDSA"]);
    let check = bank.run(&["token", "check", "-n", "1"]).expect(0);
    assert!(
        check.stdout.contains("no RSA-PSS, so TLS 1.2 only"),
        "{check:?}"
    );
    assert_eq!(established_with(&mut bank, &TLS12), 0);
    assert_eq!(established_with(&mut bank, &TLS13), 5);
}

#[test]
fn a_token_that_cannot_sign_with_the_key_is_named_before_any_handshake() {
    let bank = Bank::new();
    bank.certify("p-256");
    bank.token.only_mechanisms(&["CKM_RSA_PKCS", "CKM_EDDSA"]);
    let run = bank.run(&["verify"]).expect(3);
    assert!(
        run.stderr
            .contains("the token has no mechanism for the P-256 key"),
        "{run:?}"
    );
}
