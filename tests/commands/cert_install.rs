//! `cert install` takes a certificate only if it fits in every way; otherwise the old one stays.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::common::bank::Bank;
use crate::common::trust_framework::Kind;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};

fn install(bank: &Bank, pem: &str) -> crate::common::bank::Run {
    let file = bank.write("given.pem", pem);
    bank.run(&["cert", "install", file.to_str().unwrap()])
}

#[test]
fn what_does_not_fit_is_refused_and_the_old_one_stays() {
    let bank = Bank::new();
    bank.certify("rsa-2048");
    let old = fs::read(bank.path("c3.pem")).unwrap();
    let csr = bank.csr();
    let edited = |edit: fn(&mut CertificateParams)| bank.framework.issue_client_with(&csr, edit);
    let stranger = Bank::new();
    stranger.run(&["key", "generate"]).expect(0);
    let cases = [
        (
            edited(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            "expired on 2020-01-01T00:00:00Z",
        ),
        (
            edited(|params| {
                params.not_before = date_time_ymd(2090, 1, 1);
                params.not_after = date_time_ymd(2091, 1, 1);
            }),
            "is not valid before 2090-01-01T00:00:00Z",
        ),
        (
            edited(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "extendedKeyUsage has no clientAuth",
        ),
        (
            edited(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            "it is a CA certificate",
        ),
        (
            bank.framework.issue_client(&stranger.csr()),
            "no private key that matches",
        ),
        (
            stranger.framework.issue_client(&csr),
            "the certificate's chain does not verify",
        ),
        ("no PEM here".to_owned(), "holds no PEM certificate"),
        (
            "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n".to_owned(),
            "holds a private key",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nMC4CAQ==\n-----END CERTIFICATE-----\n".to_owned(),
            "holds a certificate that cannot be used",
        ),
    ];
    for (pem, said) in cases {
        let run = install(&bank, &pem).expect(2);
        assert!(run.stderr.contains(said), "{said}: {run:?}");
        assert!(run.stderr.contains("\nhint:"), "{run:?}");
        assert_eq!(fs::read(bank.path("c3.pem")).unwrap(), old, "{said}");
    }
    let folder = fs::read_dir(bank.path("")).unwrap().filter_map(Result::ok);
    let left: Vec<_> = folder
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().contains(".new-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_root_that_is_not_pinned_is_refused() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let pin = "00".repeat(32);
    bank.configure(|settings| settings.trust_lines = format!("pins = [\"{pin}\"]"));
    let leaf = bank.framework.issue_client(&bank.csr());
    let run = install(&bank, &leaf).expect(2);
    assert!(run.stderr.contains("is not among the pins"), "{run:?}");
    bank.configure(|settings| settings.trust_lines.clear());
    install(&bank, &leaf).expect(0);
}

#[test]
fn what_is_installed_is_shown_with_its_thumbprint_and_days() {
    let bank = Bank::new();
    bank.certify("rsa-2048");
    let shown = bank.run(&["cert", "show", "--json"]).expect(0).json()["certificate"].clone();
    let installed = fs::read_to_string(bank.path("c3.pem")).unwrap();
    assert_eq!(
        installed.matches("BEGIN CERTIFICATE").count(),
        2,
        "leaf and Issuing CA"
    );
    let jwks = shown["jwks_url"].as_str().unwrap();
    assert_eq!(
        jwks,
        format!(
            "https://keystore.sandbox.directory.openfinance.ae/{}/{}/application.jwks",
            crate::common::bank::ORGANIZATION_ID,
            crate::common::bank::CLIENT_ID
        )
    );
    assert_eq!(shown["x5t_s256"].as_str().unwrap().len(), 43);
    bank.run(&["cert", "show", "--min-days", "300"]).expect(0);
    bank.run(&["cert", "show", "--min-days", "500"]).expect(1);
}

#[test]
fn a_certificate_in_the_token_is_not_replaced_in_place() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.certificate = "pkcs11:object=cert-1;type=cert".to_owned());
    bank.run(&["key", "generate"]).expect(0);
    let (first, second) = (bank.issue(), bank.issue());
    assert_ne!(first, second);
    install(&bank, &first).expect(0);
    install(&bank, &first).expect(0);
    let refused = install(&bank, &second).expect(2);
    assert!(
        refused
            .stderr
            .contains("holds another certificate at that place"),
        "{refused:?}"
    );
    let fingerprint = |bank: &Bank| {
        bank.run(&["cert", "show", "--json"]).expect(0).json()["certificate"]["fingerprint"].clone()
    };
    let old = fingerprint(&bank);
    bank.configure(|settings| settings.certificate = "pkcs11:object=cert-2;type=cert".to_owned());
    install(&bank, &second).expect(0);
    assert_ne!(fingerprint(&bank), old);
    bank.run(&["token", "check", "-n", "1"]).expect(0);
}

/// What `cert install` has replaced, oldest first.
fn kept(bank: &Bank) -> Vec<String> {
    let entries = fs::read_dir(bank.folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("c3.pem.replaced-"))
        .collect();
    names.sort();
    names
        .iter()
        .map(|name| fs::read_to_string(bank.path(name)).unwrap())
        .collect()
}

/// Files of two renewals are soon mixed up: nothing of either is lost.
#[test]
fn the_certificate_before_is_kept_beside_and_a_shorter_one_is_said() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let csr = bank.csr();
    let until = |year| {
        bank.framework
            .issue_client_with(&csr, |params| params.not_after = date_time_ymd(year, 1, 1))
    };
    let (long, short, longest) = (until(2040), until(2039), until(2041));
    let run = install(&bank, &long).expect(0);
    assert!(run.stderr.is_empty() && kept(&bank).is_empty(), "{run:?}");
    let place = bank.path("c3.pem");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o640)).unwrap();
    let installed = fs::read_to_string(&place).unwrap();
    let run = install(&bank, &short).expect(0);
    let said = "it ends sooner (2039-01-01T00:00:00Z) than the one that it replaces (2040-01-01T00:00:00Z)";
    let named = run.stderr.contains("the one before is kept in ")
        && run.stderr.contains("c3.pem.replaced-");
    assert!(run.stderr.contains(said) && named, "{run:?}");
    assert_eq!(kept(&bank), std::slice::from_ref(&installed));
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o640);
    // The same once more changes nothing; a longer one is only kept.
    install(&bank, &short).expect(0);
    assert_eq!(kept(&bank).len(), 1);
    let run = install(&bank, &longest).expect(0);
    assert!(!run.stderr.contains("sooner"), "{run:?}");
    // As often as it goes within a second, none takes the place of another.
    for pem in [&long, &short, &longest, &long] {
        install(&bank, pem).expect(0);
    }
    let all = kept(&bank);
    assert_eq!(all.len(), 6, "{all:?}");
    assert_eq!(all.iter().filter(|pem| **pem == installed).count(), 2);
    // What is there and is no certificate is kept as well.
    fs::write(&place, "a request").unwrap();
    install(&bank, &long).expect(0);
    assert!(kept(&bank).contains(&"a request".to_owned()));
}

#[test]
fn a_certificate_takes_the_place_of_nothing_else() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let leaf = bank.issue();
    let anchors = fs::read(bank.path("anchors.pem")).unwrap();
    std::os::unix::fs::symlink("anchors.pem", bank.path("link.pem")).unwrap();
    for place in ["anchors.pem", "state/../anchors.pem", "link.pem"] {
        bank.configure(|settings| settings.certificate = place.to_owned());
        let run = install(&bank, &leaf).expect(2);
        assert!(
            run.stderr.contains("which is also `anchors` of [trust]"),
            "{run:?}"
        );
    }
    bank.configure(|settings| settings.certificate = "state".to_owned());
    install(&bank, &leaf).expect(2);
    assert_eq!(fs::read(bank.path("anchors.pem")).unwrap(), anchors);
}

/// Of a configuration that wants another environment's: what is there is said, not what is wanted.
#[test]
fn what_is_shown_is_named_after_its_issuer() {
    let production = Bank::of(Kind::Production);
    production.certify("p-256");
    let shown = production.run(&["cert", "show"]).expect(0).stdout;
    assert!(
        shown.starts_with("C3 of the production environment\n"),
        "{shown}"
    );
    let preprod = Bank::new();
    fs::copy(production.path("c3.pem"), preprod.path("c3.pem")).unwrap();
    let run = preprod.run(&["cert", "show"]).expect(1);
    let title = "C3 of the production environment; the configuration is of preprod\n";
    assert!(run.stdout.starts_with(title), "{run:?}");
    assert!(
        run.stdout
            .contains("https://keystore.directory.openfinance.ae/"),
        "{run:?}"
    );
}

/// The name of the Issuing CA is public; its key is not.
#[test]
fn a_namesake_of_the_issuing_ca_does_not_get_past_the_start() {
    let bank = Bank::new();
    let namesake = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    // Straight into the configured place, past `cert install`.
    bank.write("c3.pem", &namesake.framework.issue_client(&bank.csr()));
    let run = bank.run(&["token", "check"]).expect(2);
    assert!(run.stdout.contains("but did not sign it"), "{run:?}");
    bank.run(&["verify"]).expect(2);
}

#[test]
fn anchors_of_the_other_environment_are_refused() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let leaf = bank.issue();
    bank.configure(|settings| settings.environment = "production");
    let run = install(&bank, &leaf).expect(2);
    assert!(
        run.stderr
            .contains("which is not of the production environment"),
        "{run:?}"
    );
}

/// SoftHSM 2.6.1 crashes where an EC key is asked for a signature of RSA: it must not come to that.
#[test]
fn a_certificate_of_another_type_of_key_is_refused_without_a_signature() {
    let bank = Bank::new();
    bank.certify("p-256");
    let stranger = Bank::new();
    stranger.run(&["key", "generate"]).expect(0);
    let leaf = bank.framework.issue_client(&stranger.csr());
    let chain = bank.write("c3.pem", &leaf);
    let install = ["cert", "install", chain.to_str().unwrap()];
    for command in [&install[..], &["token", "check"], &["verify"]] {
        let run = bank.run(command).expect(2);
        let said = run.stdout + &run.stderr;
        assert!(said.contains("no private key that matches"), "{said}");
    }
}
