//! The whole way of the Sig4 key by the commands of C3's: `--sig4` makes it, requests and installs its certificate and shows it,
//! and `token check` has it sign.

use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::pem::decode_vec;
use serde_json::Value;

use crate::common::bank::{Bank, CLIENT_ID, ORGANIZATION_ID};
use crate::common::{sig4, sig4_onboarding};

/// The steps of Sig4 in a plain `token check`, with the key in the token of C3.
const STEPS: [&str; 7] = [
    "Sig4 key",
    "Sig4 key attributes",
    "Sig4 mechanisms",
    "Sig4 certificate",
    "Sig4 pair",
    "Sig4 PS256",
    "two keys",
];

fn bank_with(sections: &str) -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.sections = sections.to_owned());
    bank
}

fn steps(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = report["steps"].as_array().unwrap().iter();
    steps
        .map(|step| (text(&step["name"]), text(&step["outcome"])))
        .collect()
}

fn detail(report: &Value, name: &str) -> String {
    let steps = report["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == name).unwrap();
    step["detail"].as_str().unwrap().to_owned()
}

/// The `kid` as the scheme defines it, made here from the PEM.
fn kid_of(pem: &str) -> String {
    let (_, der) = decode_vec(pem.as_bytes()).unwrap();
    URL_SAFE_NO_PAD.encode(digest(&SHA256, &der))
}

#[test]
fn the_whole_way_in_the_token_of_c3() {
    let ledger = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"each\"\n";
    let bank = bank_with(&(sig4::section("") + ledger));
    bank.certify("rsa-2048");
    // As far as it goes before there is a key, and before there is a certificate.
    let report = bank.run(&["token", "check", "--json"]).expect(2).json();
    let failed = steps(&report);
    let of_key = ("Sig4 key".to_owned(), "bad".to_owned());
    assert!(failed.contains(&of_key), "{report:#}");
    let all = report["steps"].as_array().unwrap();
    let step = all.iter().find(|step| step["name"] == "Sig4 key").unwrap();
    let hint = step["hint"].as_str().unwrap();
    assert!(hint.contains("`key` of [sig4]"), "{hint}");
    let made = bank.run(&["key", "generate", "--sig4", "--json"]).expect(0);
    let uri = made.json()["key"]["uri"].as_str().unwrap().to_owned();
    assert!(uri.contains("object=sig4"), "{uri}");
    let report = bank.run(&["token", "check", "--json"]).expect(0).json();
    let said = detail(&report, "Sig4 certificate");
    assert!(said.contains("`hsm-mtls csr --sig4`"), "{said}");

    let request = bank.run(&["csr", "--sig4", "--json"]).expect(0).json();
    let subject = request["subject"].as_str().unwrap();
    assert!(subject.contains(CLIENT_ID) && subject.contains(ORGANIZATION_ID));
    let leaf = sig4_onboarding::issued(&bank.framework, request["pem"].as_str().unwrap());
    let c3 = fs::read_to_string(bank.path("c3.pem")).unwrap();
    let file = bank.write("issued-sig4.pem", &leaf);
    let install = ["cert", "install", "--sig4", file.to_str().unwrap()];
    let run = bank.run(&install).expect(0);
    assert!(run.stderr.is_empty(), "{run:?}");
    assert!(run.stdout.contains("sig4.pem"), "{run:?}");
    let unchanged = fs::read_to_string(bank.path("c3.pem")).unwrap();
    assert_eq!(unchanged, c3, "the file of C3 is not touched");

    let shown = bank.run(&["cert", "show", "--sig4"]).expect(0).stdout;
    assert!(
        shown.starts_with("Sig4 of the preprod environment\n"),
        "{shown}"
    );
    let kid = kid_of(&leaf);
    assert!(
        shown.contains("kid (x5t#S256)") && shown.contains(&kid),
        "{shown}"
    );
    let json = bank
        .run(&["cert", "show", "--sig4", "--json"])
        .expect(0)
        .json();
    assert_eq!(json["certificate"]["kid"], *kid);
    let c3_shown = bank.run(&["cert", "show", "--json"]).expect(0).json();
    assert_ne!(c3_shown["certificate"]["x5t_s256"], *kid);

    let report = bank
        .run(&["token", "check", "--json", "-n", "3"])
        .expect(0)
        .json();
    let passed = steps(&report);
    assert!(
        passed.iter().all(|(_, outcome)| outcome == "good"),
        "{report:#}"
    );
    let names: Vec<_> = passed.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.ends_with(&[&STEPS[..], &["signer process"]].concat()),
        "{names:?}"
    );
    assert!(detail(&report, "Sig4 PS256").starts_with("3 verified; min "));
    assert!(detail(&report, "Sig4 certificate").ends_with(&kid));

    let alone = bank
        .run(&["token", "check", "--sig4", "--json", "-n", "2"])
        .expect(0)
        .json();
    let names: Vec<_> = steps(&alone).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.last().unwrap(), "PS256", "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("Sig4")),
        "{names:?}"
    );
    // What --sig4 signed is on record with the Sig4 key.
    let ledger = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    let attempt = ledger.lines().rfind(|line| line.contains("self-test"));
    assert!(attempt.unwrap().contains("object=sig4"), "{attempt:?}");
}

#[test]
fn the_whole_way_on_a_token_of_its_own() {
    let mut bank = Bank::new();
    bank.token.initialize("signing-token");
    let sections = sig4_onboarding::section_on_token(&bank, "signing-token");
    bank.configure(|settings| settings.sections = sections);
    bank.certify("rsa-2048");
    sig4_onboarding::onboard(&bank);
    let keys = bank.run(&["key", "list", "--json"]).expect(0).json();
    let uris = keys["keys"].to_string();
    assert!(
        !uris.contains("object=sig4"),
        "it is not in the token of C3: {uris}"
    );
    let report = bank
        .run(&["token", "check", "--json", "-n", "2"])
        .expect(0)
        .json();
    let names: Vec<_> = steps(&report).into_iter().map(|(name, _)| name).collect();
    let own = ["Sig4 module", "Sig4 profile", "Sig4 token", "Sig4 login"];
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let last = [&own[..], &STEPS, &["signer process"]].concat();
    assert!(names.ends_with(&last), "{names:?}");
    assert!(detail(&report, "Sig4 token").contains("token=signing-token"));
    let outcomes = steps(&report);
    assert!(
        outcomes
            .iter()
            .all(|(name, outcome)| outcome == "good" || name == "ledger"),
        "{report:#}"
    );
    // What is said of the first token by these is said of the second with the option.
    let accept = ["pin", "accept-count-low", "--once", "--sig4", "--json"];
    let accepted = bank.run(&accept).expect(0).json();
    let token = accepted["token"].as_str().unwrap();
    assert!(token.contains("token=signing-token"), "{token}");
    let listed = bank.run(&["token", "list", "--sig4", "--json"]);
    let listed = listed.expect(0).json()["tokens"].clone();
    let mut configured = listed.as_array().unwrap().iter();
    let configured = configured.find(|token| token["configured"] == true);
    let uri = configured.unwrap()["uri"].as_str().unwrap();
    assert!(uri.contains("token=signing-token"), "{listed}");

    // The second token goes away: the steps of C3 pass, and the one that fails is named.
    bank.configure(|settings| {
        settings.sections = settings
            .sections
            .replace("token=signing-token", "token=gone");
    });
    let report = bank
        .run(&["token", "check", "--json", "-n", "2"])
        .expect(3)
        .json();
    let outcomes = steps(&report);
    let outcome_of = |wanted: &str| {
        let found = outcomes.iter().find(|(name, _)| name == wanted).unwrap();
        found.1.clone()
    };
    assert_eq!(outcome_of("signatures"), "good");
    assert_eq!(outcome_of("Sig4 token"), "bad");
    assert_eq!(outcome_of("Sig4 PS256"), "not-reached");
    assert_eq!(outcome_of("signer process"), "not-reached");
}

#[test]
fn a_certificate_in_the_token_serves_sig4_as_well() {
    let section = sig4::section("").replace("sig4.pem", "pkcs11:object=sig4;type=cert");
    let bank = bank_with(&section);
    bank.certify("rsa-2048");
    sig4_onboarding::onboard(&bank);
    let shown = bank
        .run(&["cert", "show", "--sig4", "--json"])
        .expect(0)
        .json();
    assert_eq!(shown["certificate"]["kid"].as_str().unwrap().len(), 43);
    bank.run(&["token", "check", "-n", "1"]).expect(0);
}

#[test]
fn the_configured_jwks_is_shown_and_the_kid_compared() {
    let url = "https://keystore.example/jwks/application.jwks";
    let bank = bank_with(&sig4::section(&format!("jwks = \"{url}\"")));
    bank.certify("rsa-2048");
    sig4_onboarding::onboard(&bank);
    let shown = bank.run(&["cert", "show", "--sig4"]).expect(0).stdout;
    assert!(
        shown.contains("JWKS (configured)") && shown.contains(url),
        "{shown}"
    );
    let json = bank
        .run(&["cert", "show", "--sig4", "--json"])
        .expect(0)
        .json();
    assert_eq!(json["certificate"]["jwks_url"], url);
}
