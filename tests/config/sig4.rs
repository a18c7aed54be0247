//! `config check` says of `[sig4]` what the tokens of JWT Auth will be, and of a second `[[token]]` what it says of the first;
//! a key of one environment is found as the key of either purpose in another.

use std::process::Command;

use crate::common::bank::{Bank, CLIENT_ID, ORGANIZATION_ID};
use crate::common::contract::contract;
use crate::common::trust_framework::Kind;
use crate::common::{sig4, sig4_onboarding};
use insta::assert_snapshot;
use serde_json::{Value, json};

const PROXY: &str = "[proxy]\njwt = \"cm\"\n[[proxy.listener]]\nunix = \"hub.sock\"\n";

/// The lines of a text whose first word or words are these, as the value behind them.
fn value(text: &str, name: &str) -> String {
    let prefix = format!("  {name}  ");
    let line = text.lines().find(|line| line.starts_with(&prefix));
    let line = line.unwrap_or_else(|| panic!("no line `{name}`:\n{text}"));
    line[prefix.len()..].trim().to_owned()
}

#[test]
fn the_section_is_told_to_people_and_programs() {
    let mut bank = Bank::new();
    let kid = "k".repeat(43);
    let lines = format!(
        "lifetime = \"15s\"\nscheme = \"JWS\"\nkid = \"{kid}\"\nmax_clock_skew = \"2s\"\nper_second = 7\nburst = 9\n\
         jwks = \"https://keystore.example/application.jwks\"\nnot_before = true"
    );
    bank.configure(|settings| settings.sections = sig4::section(&lines) + PROXY);
    let text = bank.run(&["config", "check"]).expect(0).stdout;
    for (name, expected) in [
        ("Sig4 key", sig4::KEY),
        ("audience", sig4::AUDIENCE),
        ("lifetime of a JWT", "15s"),
        ("Authorization", "JWS TOKEN"),
        ("kid", &kid),
        (
            "JWKS",
            "https://keystore.example/application.jwks (configured)",
        ),
        ("clock of the hub", "may differ by 2s"),
        ("nbf", "as iat"),
        (
            "JWT Auth",
            "each request to Consent Manager carries a token",
        ),
    ] {
        assert_eq!(value(&text, name), expected, "{name}: {text}");
    }
    let certificate = value(&text, "Sig4 certificate");
    assert!(
        certificate.ends_with("sig4.pem (not there)"),
        "{certificate}"
    );
    assert!(value(&text, "JWTs").ends_with("9 at once"), "{text}");
    let run = bank.run(&["config", "check", "--json"]).expect(0);
    let section = run.json()["configurations"][0]["sig4"].clone();
    assert_eq!(section["kid"], json!(kid));
    assert_eq!(run.json()["configurations"][0]["proxy"]["jwt"], "cm");
    assert_snapshot!("for_programs", contract(&bank, &run));
}

#[test]
fn what_is_left_out_is_derived() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.sections = sig4::section(""));
    let text = bank.run(&["config", "check"]).expect(0).stdout;
    let derived = format!("/{ORGANIZATION_ID}/{CLIENT_ID}/application.jwks (derived)");
    assert!(value(&text, "JWKS").ends_with(&derived), "{text}");
    assert_eq!(value(&text, "lifetime of a JWT"), "30s");
    assert_eq!(value(&text, "Authorization"), "Bearer TOKEN");
    assert!(!text.contains("Sig4 token"), "{text}");
    let json = bank.run(&["config", "check", "--json"]).expect(0).json();
    let section = &json["configurations"][0]["sig4"];
    assert_eq!(section["token"], Value::Null);
    assert_eq!(section["jwks_origin"], "derived");
}

#[test]
fn the_second_token_is_told_as_the_first() {
    let mut bank = Bank::new();
    let sections = sig4_onboarding::section_on_token(&bank, "signing-token");
    bank.configure(|settings| settings.sections = sections);
    let text = bank.run(&["config", "check"]).expect(0).stdout;
    assert_eq!(value(&text, "Sig4 token"), "pkcs11:token=signing-token");
    let pin = value(&text, "Sig4 PIN from");
    assert!(pin.starts_with("file ") && pin.ends_with("/pin"), "{pin}");
    let json = bank.run(&["config", "check", "--json"]).expect(0).json();
    let token = &json["configurations"][0]["sig4"]["token"];
    assert_eq!(token["name"], "signing");
    assert_eq!(token["token"], "pkcs11:token=signing-token");
}

/// The key of C3 in one environment is that of Sig4 in the other, in a token of its own.
#[test]
fn a_key_of_either_purpose_is_of_one_environment() {
    let (mut preprod, mut production) = (Bank::of(Kind::Sandbox), Bank::of(Kind::Production));
    preprod.token.initialize("signing-token");
    let sections = sig4_onboarding::section_on_token(&preprod, "signing-token");
    preprod.configure(|settings| settings.sections = sections);
    production.configure(|settings| settings.sections = sig4::section(""));
    for bank in [&preprod, &production] {
        bank.run(&["key", "generate"]).expect(0);
        bank.run(&["key", "generate", "--sig4"]).expect(0);
    }
    let check = || {
        let files = [&preprod, &production].map(|bank| bank.config_path().display().to_string());
        preprod.run(&["config", "check", &files[0], &files[1]])
    };
    let apart = check().expect(0).stdout;
    assert_eq!(apart.matches("2 in ").count(), 2, "{apart}");

    let pem = preprod.path("exported.pem");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-out"])
        .arg(&pem)
        .status()
        .expect("openssl");
    assert!(made.success());
    production.token.import(&pem, "c3-old", "02");
    check().expect(0);
    import_into(&preprod, "signing-token", &pem);
    let shared = check().expect(2).stdout;
    for part in [
        "is in two environments",
        "token=signing-token",
        "object=sig4-old",
        "object=c3-old",
    ] {
        assert!(shared.contains(part), "{part}: {shared}");
    }
}

/// Puts a key that was made outside into a token beside the bank's.
fn import_into(bank: &Bank, label: &str, pem: &std::path::Path) {
    let done = Command::new("softhsm2-util")
        .args(["--token", label, "--label", "sig4-old", "--id", "01"])
        .args(["--pin", crate::common::softhsm::PIN, "--import"])
        .arg(pem)
        .env("SOFTHSM2_CONF", bank.token.conf())
        .output()
        .expect("softhsm2-util");
    assert!(done.status.success(), "{done:?}");
}
