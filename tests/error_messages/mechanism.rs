//! Token, key and server have no signature algorithm in common: the message for each case.

use crate::common::bank::Bank;
use crate::common::error_report;
use crate::common::hub::{Hub, HubOptions};
use insta::assert_snapshot;
use rustls::SignatureScheme;
use rustls::version::{TLS12, TLS13};

fn check(bank: &Bank) -> String {
    error_report::of(bank, &bank.run(&["token", "check", "--json"]))
}

fn hub(bank: &mut Bank, change: impl FnOnce(&mut HubOptions)) -> Hub {
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    change(&mut options);
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    hub
}

fn call(bank: &Bank) -> String {
    error_report::of(
        bank,
        &bank.run(&["request", "GET", "cm:/consents/1", "--json"]),
    )
}

#[test]
fn rsa_without_pss_and_a_server_of_tls_1_3() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.token.only_mechanisms(&["CKM_RSA_PKCS"]);
    let hub = hub(&mut bank, |options| options.versions = vec![&TLS13]);
    assert_snapshot!(call(&bank), @r#"
    exit 5
    the server does not speak TLS 1.2, and TLS 1.3 was not offered: it needs RSA-PSS, which the token does not do with this key
    hint: switch CKM_RSA_PKCS_PSS on in the token's policy, or update its firmware; else the hub has to allow TLS 1.2
    "#);
    assert!(hub.seen().is_empty());
    let run = bank.run(&["token", "check", "--json", "-n", "1"]).expect(0);
    let steps = error_report::steps(&bank, &run);
    let mechanisms = steps.lines().find(|line| line.contains(" mechanisms: "));
    assert_snapshot!(mechanisms.unwrap(), @r#"
    note mechanisms: rsa_pkcs1_sha256, rsa_pkcs1_sha384, rsa_pkcs1_sha512: no RSA-PSS, so TLS 1.2 only
    "#);
}

#[test]
fn an_ec_key_and_a_server_that_takes_rsa_only() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut said = Vec::new();
    for version in [&TLS13, &TLS12] {
        let hub = hub(&mut bank, |options| {
            options.versions = vec![version];
            options.client_schemes = Some(vec![SignatureScheme::RSA_PSS_SHA256]);
        });
        said.push(call(&bank));
        assert!(hub.seen().is_empty(), "nothing was sent anonymously");
    }
    assert_snapshot!(said[0], @r#"
    exit 5
    the server accepts no signature that the token can make: it takes rsa_pss_rsae_sha256, the key can ecdsa_secp256r1_sha256
    hint: the server does not take signatures of this type of key: the scheme's keys are RSA 2048 (`hsm-mtls key generate`); ask the hub's operator before you change it
    "#);
    assert_eq!(said[0], said[1]);
}

#[test]
fn the_token_does_not_sign_with_keys_of_this_type() {
    let bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    bank.token.only_mechanisms(&["CKM_RSA_PKCS", "CKM_EDDSA"]);
    assert_snapshot!(check(&bank), @r#"
    exit 3
    step mechanisms
    the token has no mechanism for the P-256 key pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private; it signs with CKM_RSA_PKCS, CKM_EDDSA
    hint: have CKM_ECDSA switched on in the token's policy, or use a key of a type that the token signs with, or another token
    "#);
}

#[test]
fn the_token_does_not_sign_at_all() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    bank.token.only_mechanisms(&["CKM_RSA_PKCS_KEY_PAIR_GEN"]);
    assert_snapshot!(check(&bank), @r#"
    exit 3
    step mechanisms
    the token has no mechanism for the RSA-2048 key pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private; it signs with nothing
    hint: have CKM_RSA_PKCS_PSS switched on in the token's policy, or use a key of a type that the token signs with, or another token
    "#);
}

#[test]
fn the_token_makes_no_keys_of_this_type() {
    let bank = Bank::new();
    bank.token.only_mechanisms(&["CKM_RSA_PKCS"]);
    let run = bank.run(&["key", "generate", "--json"]);
    assert_snapshot!(error_report::of(&bank, &run), @r#"
    exit 3
    the token says that it does not generate RSA-2048 key pairs
    hint: the scheme accepts RSA-2048 only: have its generation switched on in the token's policy, or make the key with the vendor's tool and write its URI into `key` of [c3]; any other --type is for trials
    "#);
}
