//! What is refused of a Sig4 key and its certificate: one key for both purposes, a kid of another certificate, a key that does
//! not sign by PS256, the other environment, and all that a certificate of C3 is refused for.

use std::fs;

use crate::common::bank::{Bank, Run};
use crate::common::trust_framework::Kind;
use crate::common::{sig4, sig4_onboarding};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, date_time_ymd};

fn bank_with(sections: &str) -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.sections = sections.to_owned());
    bank
}

fn install(bank: &Bank, options: &[&str], pem: &str) -> Run {
    let file = bank.write("given.pem", pem);
    let command = [&["cert", "install"], options, &[file.to_str().unwrap()]];
    bank.run(&command.concat())
}

fn csr_of_sig4(bank: &Bank) -> String {
    bank.run(&["key", "generate", "--sig4"]).expect(0);
    bank.run(&["csr", "--sig4"]).expect(0).stdout
}

#[test]
fn without_the_section_there_is_no_second_key() {
    let bank = Bank::new();
    let commands: [&[&str]; 5] = [
        &["key", "generate", "--sig4"],
        &["csr", "--sig4"],
        &["cert", "install", "--sig4", "/dev/null"],
        &["cert", "show", "--sig4"],
        &["token", "check", "--sig4"],
    ];
    for command in commands {
        let run = bank.run(command).expect(2);
        assert!(run.stderr.contains("there is no [sig4] in "), "{run:?}");
        assert!(run.stderr.contains("hint:"), "{run:?}");
    }
}

#[test]
fn one_key_for_both_is_refused_in_either_direction() {
    // The URIs differ, and name one key: only the public key shows it.
    let one_key = sig4::section("").replace("object=sig4;type=private", "token=lfi;object=c3");
    let mut bank = bank_with(&one_key);
    bank.certify("rsa-2048");
    let csr = bank.run(&["csr", "--sig4"]).expect(0).stdout;
    let leaf = sig4_onboarding::issued(&bank.framework, &csr);
    let run = install(&bank, &["--sig4"], &leaf).expect(2);
    assert!(
        run.stderr.contains("C3 and Sig4 have the same public key"),
        "{run:?}"
    );
    assert!(
        run.stderr.contains("`hsm-mtls key generate --sig4`"),
        "{run:?}"
    );
    assert!(!run.stderr.contains("--sig4 --sig4"), "{run:?}");
    assert!(!bank.path("sig4.pem").exists());
    let report = bank.run(&["token", "check"]).expect(2).stdout;
    assert!(
        report.contains("C3 and Sig4 have the same public key"),
        "{report}"
    );
    // The other way round: Sig4 is there, and C3 comes.
    bank.configure(|settings| settings.sections.clear());
    let c3 = fs::read_to_string(bank.path("c3.pem")).unwrap();
    fs::rename(bank.path("c3.pem"), bank.path("sig4.pem")).unwrap();
    bank.configure(|settings| settings.sections = one_key.clone());
    let run = install(&bank, &[], &c3).expect(2);
    assert!(
        run.stderr.contains("C3 and Sig4 have the same public key"),
        "{run:?}"
    );
    assert!(!bank.path("c3.pem").exists());
    fs::remove_file(bank.path("sig4.pem")).unwrap();
    install(&bank, &[], &c3).expect(0);
}

#[test]
fn one_file_for_both_is_refused_under_another_name_too() {
    let bank = bank_with(&sig4::section("").replace("\"sig4.pem\"", "\"link.pem\""));
    bank.certify("rsa-2048");
    std::os::unix::fs::symlink("c3.pem", bank.path("link.pem")).unwrap();
    let leaf = sig4_onboarding::issued(&bank.framework, &csr_of_sig4(&bank));
    let run = install(&bank, &["--sig4"], &leaf).expect(2);
    let said = "which is also the certificate of [c3]";
    assert!(
        run.stderr.contains("`certificate` of [sig4] names"),
        "{run:?}"
    );
    assert!(run.stderr.contains(said), "{run:?}");
}

#[test]
fn a_kid_of_another_certificate_is_refused() {
    let kid = "A".repeat(43);
    let mut bank = bank_with(&sig4::section(&format!("kid = \"{kid}\"")));
    bank.certify("rsa-2048");
    let leaf = sig4_onboarding::issued(&bank.framework, &csr_of_sig4(&bank));
    let run = install(&bank, &["--sig4"], &leaf).expect(2);
    assert!(
        run.stderr.contains(&kid) && run.stderr.contains("is configured"),
        "{run:?}"
    );
    assert!(!bank.path("sig4.pem").exists());
    // Past `cert install`, the check of the token says it.
    bank.write("sig4.pem", &leaf);
    let report = bank.run(&["token", "check"]).expect(2).stdout;
    assert!(report.contains(&kid), "{report}");
    let own = bank
        .run(&["cert", "show", "--sig4", "--json"])
        .expect(1)
        .json();
    let fault = own["faults"][0].as_str().unwrap();
    assert!(fault.contains(&kid), "{fault}");
    let own = own["certificate"]["kid"].as_str().unwrap().to_owned();
    bank.configure(|settings| settings.sections = settings.sections.replace(&kid, &own));
    bank.run(&["token", "check", "-n", "1"]).expect(0);
    install(&bank, &["--sig4"], &leaf).expect(0);
}

#[test]
fn a_key_that_does_not_sign_by_ps256_is_refused() {
    let bank = bank_with(&sig4::section(""));
    bank.certify("rsa-2048");
    let run = bank
        .run(&["key", "generate", "--sig4", "--type", "p-256"])
        .expect(2);
    assert!(
        run.stderr.contains("PS256, which takes an RSA key"),
        "{run:?}"
    );
    // Made by other means, the request, the certificate and the check are refused.
    bank.run(&["key", "generate", "--type", "p-256", "--label", "sig4"])
        .expect(0);
    let said = "the Sig4 key does not sign by PS256";
    let run = bank.run(&["csr", "--sig4"]).expect(3);
    assert!(
        run.stderr.contains(said) && run.stdout.is_empty(),
        "{run:?}"
    );
    let report = bank.run(&["token", "check", "--json"]).expect(3).json();
    let bad = report["steps"].as_array().unwrap().iter();
    let bad: Vec<_> = bad.filter(|step| step["outcome"] == "bad").collect();
    assert_eq!(bad.len(), 1, "{report:#}");
    assert_eq!(bad[0]["name"], "Sig4 mechanisms");
    assert!(
        bad[0]["detail"].as_str().unwrap().contains(said),
        "{report:#}"
    );
}

#[test]
fn a_certificate_of_the_other_trust_framework_is_refused() {
    let bank = bank_with(&sig4::section(""));
    bank.certify("rsa-2048");
    let csr = csr_of_sig4(&bank);
    let production = Bank::of(Kind::Production);
    let leaf = sig4_onboarding::issued(&production.framework, &csr);
    let run = install(&bank, &["--sig4"], &leaf).expect(2);
    assert!(
        run.stderr.contains("which is not of the preprod anchors"),
        "{run:?}"
    );
    // A namesake of the Issuing CA: its signature is checked.
    let namesake = Bank::new();
    let leaf = sig4_onboarding::issued(&namesake.framework, &csr);
    let run = install(&bank, &["--sig4"], &leaf).expect(2);
    assert!(
        run.stderr
            .contains("the certificate's chain does not verify"),
        "{run:?}"
    );
    assert!(!bank.path("sig4.pem").exists());
}

#[test]
fn dates_purpose_and_key_are_checked_as_for_c3() {
    let bank = bank_with(&sig4::section(""));
    bank.certify("rsa-2048");
    let csr = csr_of_sig4(&bank);
    let edited = |edit: fn(&mut CertificateParams)| {
        bank.framework.issue_client_with(&csr, |params| {
            params.extended_key_usages.clear();
            edit(params);
        })
    };
    let cases = [
        (
            edited(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            "expired on 2020-01-01T00:00:00Z",
        ),
        (
            edited(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            "keyUsage has no digitalSignature",
        ),
        (
            edited(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            "it is a CA certificate",
        ),
        (
            sig4_onboarding::issued(&bank.framework, &bank.csr()),
            "no private key that matches",
        ),
    ];
    for (pem, said) in cases {
        let run = install(&bank, &["--sig4"], &pem).expect(2);
        assert!(run.stderr.contains(said), "{said}: {run:?}");
        assert!(!run.stderr.contains("[c3]"), "{said}: {run:?}");
        assert!(!bank.path("sig4.pem").exists(), "{said}");
    }
    // For clients it may be too; C3 has to be.
    install(&bank, &["--sig4"], &bank.framework.issue_client(&csr)).expect(0);
    let without = sig4_onboarding::issued(&bank.framework, &bank.csr());
    let run = install(&bank, &[], &without).expect(2);
    assert!(run.stderr.contains("no clientAuth"), "{run:?}");
}

#[test]
fn a_subject_of_another_organisation_is_a_note() {
    let bank = bank_with(&sig4::section(""));
    bank.certify("rsa-2048");
    let csr = csr_of_sig4(&bank);
    let leaf = bank.framework.issue_client_with(&csr, |params| {
        params.extended_key_usages.clear();
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "Another Bank");
        name.push(DnType::OrganizationalUnitName, "another id");
        params.distinguished_name = name;
    });
    let run = install(&bank, &["--sig4"], &leaf).expect(0);
    for said in [
        "its O (Another Bank) is not that of C3",
        "its OU (another id) is not that of C3",
    ] {
        assert!(run.stderr.contains(said), "{run:?}");
    }
}

/// What the configuration names for one key is not written over by a command for the other.
#[test]
fn the_files_of_both_keys_are_kept_from_output() {
    let bank = bank_with(&sig4::section(""));
    bank.certify("rsa-2048");
    sig4_onboarding::onboard(&bank);
    for (options, place) in [
        (&["csr"][..], "sig4.pem"),
        (&["csr", "--sig4"][..], "c3.pem"),
        (&["csr", "--sig4"][..], "sig4.pem"),
    ] {
        let path = bank.path(place);
        let before = fs::read(&path).unwrap();
        let output = ["--force", "-o", path.to_str().unwrap()];
        let run = bank.run(&[options, &output].concat()).expect(2);
        let section = place.trim_end_matches(".pem");
        let said = format!("it is the certificate of [{section}]");
        assert!(run.stderr.contains(&said), "{run:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
