//! Each single thing that is wrong with a certificate is found by `audit`, and nothing else. The
//! certificates are a Trust Framework's of our own, put in the place of the installed one by hand:
//! `cert install` takes none of the worst.

use crate::common::audit::{audit, certified};
use crate::common::bank::Bank;
use crate::common::trust_framework::{Kind, TrustFramework};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};

type Edit = fn(&mut CertificateParams);

/// From so many days ago until so many days from now.
fn valid(params: &mut CertificateParams, before: i64, after: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(before);
    // An hour more, so that a slow test has whole days left too.
    params.not_after = now + Duration::days(after) + Duration::hours(1);
}

const CASES: &[(&str, Edit, &[&str])] = &[
    ("as_it_should_be", |_| {}, &["certificate.purpose"]),
    (
        "of_400_days",
        |p| valid(p, 0, 400),
        &["certificate.lifetime"],
    ),
    (
        "of_13_months_at_the_most",
        |p| valid(p, 100, 298),
        &["certificate.lifetime"],
    ),
    ("expired", |p| valid(p, 100, -2), &["certificate.renewal"]),
    ("not_yet_valid", |p| valid(p, -2, 300), &[]),
    (
        "5_days_left",
        |p| valid(p, 300, 5),
        &["certificate.renewal"],
    ),
    (
        "10_days_left",
        |p| valid(p, 300, 10),
        &["certificate.renewal"],
    ),
    (
        "20_days_left",
        |p| valid(p, 300, 20),
        &["certificate.renewal"],
    ),
    (
        "45_days_left",
        |p| valid(p, 300, 45),
        &["certificate.renewal"],
    ),
    (
        "61_days_left",
        |p| valid(p, 300, 61),
        &["certificate.renewal"],
    ),
    (
        "for_servers",
        |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        &[],
    ),
    (
        "without_a_purpose",
        |p| p.extended_key_usages.clear(),
        &["certificate.purpose"],
    ),
    (
        "without_digital_signature",
        |p| p.key_usages = vec![rcgen::KeyUsagePurpose::KeyEncipherment],
        &["certificate.purpose"],
    ),
    (
        "of_a_ca",
        |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        &[],
    ),
    (
        "subject_without_uuids",
        |p| {
            let name = &mut p.distinguished_name;
            name.push(DnType::CountryName, "AE");
            name.push(DnType::OrganizationName, "Bank");
            name.push(DnType::OrganizationalUnitName, "Cards");
            name.push(DnType::CommonName, "api.bank.ae");
        },
        &["certificate.subject"],
    ),
];

fn install(bank: &Bank, pem: &str) {
    bank.write("c3.pem", pem);
}

#[test]
fn what_is_wrong_with_a_certificate_is_found_and_nothing_else() {
    let bank = certified();
    let csr = bank.csr();
    for (name, edit, shown) in CASES {
        let leaf = bank.framework.issue_client_with(&csr, edit);
        install(&bank, &(leaf + &bank.framework.issuing_pem()));
        audit(&bank, &[]).golden(&format!("certificate_{name}"), shown);
    }
}

#[test]
fn a_certificate_that_is_somebody_elses_is_found() {
    let mut bank = certified();
    let sandbox = TrustFramework::new(Kind::Sandbox);
    let wrong = sandbox.issue_client(&bank.csr()) + &sandbox.issuing_pem();
    let good = std::fs::read_to_string(bank.path("c3.pem")).unwrap();
    install(&bank, &wrong);
    audit(&bank, &[]).golden("certificate_of_the_sandbox", &[]);

    // A CA that nobody knows, whose names are the production's.
    let forged = TrustFramework::new(Kind::Production);
    install(
        &bank,
        &(forged.issue_client(&bank.csr()) + &forged.issuing_pem()),
    );
    audit(&bank, &[]).golden("certificate_of_a_ca_of_the_same_name", &[]);

    bank.run(&["key", "generate", "--label", "other"]).expect(0);
    bank.configure(|settings| settings.key = "pkcs11:object=other;type=private".to_owned());
    std::fs::remove_file(bank.path("c3.pem")).unwrap();
    let other = bank.issue() + &bank.framework.issuing_pem();
    bank.configure(|settings| settings.key = "pkcs11:object=c3;type=private".to_owned());
    install(&bank, &other);
    audit(&bank, &[]).golden("certificate_of_another_key", &[]);

    install(&bank, &good[..good.len() / 3]);
    audit(&bank, &[]).golden("certificate_that_is_cut_off", &[]);
}

#[test]
fn a_revoked_certificate_is_found_whatever_other_lists_say() {
    let mut bank = certified();
    let leaf = std::fs::read(bank.path("c3.pem")).unwrap();
    let leaf = CertificateDer::from_pem_slice(&leaf).unwrap();
    let week = Duration::days(7);
    let other = TrustFramework::new(Kind::Production);
    let own = &bank.framework;
    let clean = own.crl(&[], week);
    let names_it = own.crl(&[&leaf], week);
    let outdated = own.crl(&[], -week);
    let others = other.crl(&[&leaf], week);
    for (name, text) in [
        ("clean.crl", clean.clone()),
        ("revoked.crl", names_it.clone()),
        ("outdated.crl", outdated),
        ("outdated-revoked.crl", own.crl(&[&leaf], -week)),
        ("others.crl", others),
        ("both.crl", clean + &names_it),
        ("garbage.crl", "no list".to_owned()),
    ] {
        bank.write(name, &text);
    }
    for (name, files) in [
        ("clean", "\"clean.crl\""),
        ("revoked", "\"revoked.crl\""),
        (
            "revoked_by_the_second_file",
            "\"clean.crl\", \"revoked.crl\"",
        ),
        ("revoked_by_the_second_list_of_a_file", "\"both.crl\""),
        ("revoked_by_an_outdated_list", "\"outdated-revoked.crl\""),
        ("outdated", "\"outdated.crl\""),
        ("of_another_issuer", "\"others.crl\""),
        ("garbage", "\"garbage.crl\""),
        (
            "clean_beside_garbage",
            "\"garbage.crl\", \"others.crl\", \"clean.crl\"",
        ),
    ] {
        bank.configure(|settings| settings.trust_lines = format!("crls = [{files}]"));
        let audited = audit(&bank, &[]);
        audited.golden(&format!("crl_{name}"), &[]);
        let said = audited.said("certificate.revoked");
        let verdict = match name {
            "clean" | "clean_beside_garbage" => "seen: ",
            name if name.starts_with("revoked") => "violated: ",
            _ => "not-answerable: ",
        };
        assert!(said.starts_with(verdict), "{name}: {said}");
    }
}
