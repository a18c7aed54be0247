//! With `[sig4]`, `audit` judges both keys: each has a result of its own, what they have in common is judged once, and one key
//! for both purposes is a finding.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::common::audit::{Audited, SECTIONS, certified, of};
use crate::common::bank::Bank;
use crate::common::json_schema::validate;
use crate::common::trust_framework::Kind;
use crate::common::{sig4, sig4_onboarding};

fn with_sections(bank: &mut Bank, sections: &str) {
    bank.configure(|settings| settings.sections = SECTIONS.to_owned() + sections);
}

fn audit(bank: &Bank, further: &[&str], code: i32) -> Value {
    let command = [&["audit", "--json"], further].concat();
    let run = bank.run(&command).expect(code);
    let valid = validate(bank, "audit.schema.json", "report.json", &run.stdout);
    assert!(valid.status.success(), "{valid:?}");
    Audited::of(run).report
}

fn subject<'a>(report: &'a Value, role: &str) -> &'a Value {
    let subjects = report["subjects"].as_array().unwrap();
    let of_role = subjects.iter().find(|subject| subject["role"] == role);
    of_role.unwrap_or_else(|| panic!("no {role}: {report:#}"))
}

/// The verdict on a rule, and what it rests on.
fn said(report: &Value, role: &str, rule: &str) -> String {
    let judged = subject(report, role)["judgements"].as_array().unwrap();
    let judged = judged.iter().find(|judged| judged["rule"] == rule).unwrap();
    format!(
        "{}: {}",
        judged["verdict"].as_str().unwrap(),
        judged["evidence"]
    )
}

#[test]
fn both_keys_are_judged_and_what_they_share_once() {
    let mut bank = certified();
    let alone = audit(&bank, &[], 1);
    assert_eq!(alone["subjects"].as_array().unwrap().len(), 1);
    assert!(alone["subjects"][0].get("role").is_none());
    let rules = alone["rules"].as_array().unwrap();
    assert!(!rules.iter().any(|rule| rule["id"] == "key.apart"));

    with_sections(&mut bank, &sig4::section(""));
    sig4_onboarding::onboard(&bank);
    let report = audit(&bank, &[], 1);
    assert_eq!(report["subjects"].as_array().unwrap().len(), 2);
    assert!(
        subject(&report, "C3")["key"]
            .as_str()
            .unwrap()
            .contains("object=c3")
    );
    assert!(
        subject(&report, "Sig4")["key"]
            .as_str()
            .unwrap()
            .contains("object=sig4")
    );
    for (role, rule, verdict) in [
        ("C3", "certificate.purpose", "seen: [\"clientAuth"),
        ("Sig4", "certificate.purpose", "seen: [\"digitalSignature"),
        ("Sig4", "certificate.pair", "seen"),
        ("Sig4", "key.apart", "seen"),
        ("Sig4", "key.signs", "seen"),
        ("Sig4", "key.extractable", "claimed"),
        ("Sig4", "key.readable", "tried-and-refused"),
        ("Sig4", "key.hidden", "tried-and-refused"),
        ("Sig4", "key.usage", "claimed"),
        ("Sig4", "ledger.purposes", "seen: [\"csr 1, proof"),
        ("C3", "host.configuration", "seen"),
        (
            "Sig4",
            "host.configuration",
            "not-answerable: [\"judged with C3",
        ),
        (
            "Sig4",
            "token.hardware",
            "not-answerable: [\"judged with C3",
        ),
    ] {
        let said = said(&report, role, rule);
        assert!(said.starts_with(verdict), "{role}, {rule}: {said}");
    }
    // A token that is a program is one for both keys, and counts as one finding.
    for role in ["C3", "Sig4"] {
        let answer = &subject(&report, role)["answer"];
        assert_eq!(answer["can_leave"], "no-hsm", "{role}: {answer:#}");
    }
    let grave = |report: &Value| report["findings"].as_u64().unwrap();
    assert_eq!(grave(&report), grave(&alone), "{report:#}");
    let said = report["environments"][0]["evidence"].to_string();
    assert!(said.contains("one configuration was given"), "{said}");

    let text = bank.run(&["audit"]).expect(1).stdout;
    let config = bank.config_path();
    for role in ["C3", "Sig4"] {
        let heading = format!("{role} of {} (production", config.display());
        assert!(text.contains(&heading), "{text}");
    }
    assert!(!text.contains("Several environments"), "{text}");
    let page = bank.path("report.html");
    bank.run(&["audit", "--html", page.to_str().unwrap()])
        .expect(1);
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains("Sig4 of ") && page.contains("key.apart"),
        "{page}"
    );
}

#[test]
fn one_key_for_both_is_a_finding() {
    let mut bank = certified();
    let one_key = sig4::section("").replace("object=sig4;type=private", "token=lfi;object=c3");
    with_sections(&mut bank, &one_key);
    sig4::issue(&bank);
    let report = audit(&bank, &[], 1);
    let said = said(&report, "Sig4", "key.apart");
    assert!(said.starts_with("violated: "), "{said}");
}

/// It is named in the result of its own key, and not in that of the other.
#[test]
fn a_copy_of_the_second_key_in_a_file_is_found() {
    let mut bank = certified();
    with_sections(&mut bank, &sig4::section(""));
    let pem = bank.path("keys/exported.pem");
    fs::create_dir(bank.path("keys")).unwrap();
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-out"])
        .arg(&pem)
        .status()
        .expect("openssl");
    assert!(made.success());
    bank.token.import(&pem, "sig4", "07");
    let folder = bank.path("keys");
    let report = audit(&bank, &["--search", folder.to_str().unwrap()], 1);
    let of_sig4 = said(&report, "Sig4", "host.key-files");
    assert!(
        of_sig4.starts_with("violated") && of_sig4.contains("exported.pem"),
        "{of_sig4}"
    );
    let of_c3 = said(&report, "C3", "host.key-files");
    assert!(of_c3.starts_with("seen"), "{of_c3}");
    assert!(said(&report, "Sig4", "key.local").starts_with("violated"));
    assert_eq!(
        subject(&report, "Sig4")["answer"]["can_leave"],
        "may-have-left"
    );
    // No certificate of Sig4 is there yet, and that of C3 is judged all the same.
    assert!(said(&report, "Sig4", "certificate.chain").starts_with("not-answerable"));
    assert!(said(&report, "C3", "certificate.chain").starts_with("seen"));
}

#[test]
fn a_token_of_its_own_is_judged_with_its_key() {
    let mut bank = certified();
    bank.token.initialize("signing-token");
    let section = sig4_onboarding::section_on_token(&bank, "signing-token");
    with_sections(&mut bank, &section);
    sig4_onboarding::onboard(&bank);
    let report = audit(&bank, &[], 1);
    let token = subject(&report, "Sig4")["token"].as_str().unwrap();
    assert!(token.starts_with("signing-token"), "{token}");
    assert!(said(&report, "Sig4", "token.hardware").starts_with("violated"));
    assert!(said(&report, "Sig4", "key.apart").starts_with("seen"));
    // It went away: C3 is judged, and the hint is about the second.
    bank.configure(|settings| {
        settings.sections = settings
            .sections
            .replace("token=signing-token", "token=gone");
    });
    let report = audit(&bank, &[], 3);
    assert_eq!(subject(&report, "C3")["stopped"], Value::Null);
    assert_eq!(subject(&report, "Sig4")["stopped"]["exit"], 3);
    assert!(said(&report, "Sig4", "key.apart").starts_with("not-answerable"));
}

/// The key of C3 in one environment is that of Sig4 in the other.
#[test]
fn environments_share_neither_key() {
    let (mut preprod, mut production) =
        (of(Bank::of(Kind::Sandbox)), of(Bank::of(Kind::Production)));
    let pem = preprod.path("exported.pem");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-out"])
        .arg(&pem)
        .status()
        .expect("openssl");
    assert!(made.success());
    preprod.token.import(&pem, "c3", "01");
    preprod
        .run(&["key", "generate", "--label", "sig4"])
        .expect(0);
    production.run(&["key", "generate"]).expect(0);
    production.token.import(&pem, "sig4", "02");
    for bank in [&mut preprod, &mut production] {
        with_sections(bank, &sig4::section(""));
    }
    let files = [&preprod, &production].map(|bank| bank.config_path().display().to_string());
    let run = preprod.run(&["audit", "--json", &files[0], &files[1]]);
    let report = Audited::of(run).report;
    assert_eq!(report["subjects"].as_array().unwrap().len(), 4);
    let all = report["environments"].as_array().unwrap();
    let keys = all
        .iter()
        .find(|judged| judged["rule"] == "environments.keys")
        .unwrap();
    assert_eq!(keys["verdict"], "violated");
    let evidence = keys["evidence"].as_array().unwrap();
    assert_eq!(evidence.len(), 1, "said once: {keys:#}");
    let evidence = evidence[0].as_str().unwrap();
    assert!(
        evidence.contains("object=c3") && evidence.contains("object=sig4"),
        "{evidence}"
    );
}
