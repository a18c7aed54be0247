//! OpenSSL accepts the request, and shows exactly the subject that was asked for.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::bank::{Bank, CLIENT_ID, ORGANIZATION, ORGANIZATION_ID, config_of_child};
use crate::common::token_objects::{import_rsa, session};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl: install `openssl` (make test does)");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    let both = [done.stdout, done.stderr].concat();
    let text = String::from_utf8(both).unwrap();
    assert!(done.status.success(), "{text}");
    text
}

/// A key that existed outside may still be there. The audit is not the first that says so.
#[test]
fn a_key_that_was_imported_is_noted() {
    if config_of_child().is_some() {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        return import_rsa(&session(), "c3", key.serialized_der(), &[]);
    }
    let bank = Bank::new();
    bank.run_test(a_key_that_was_imported_is_noted, &[]);
    let said = "the token says not CKA_LOCAL";
    let run = bank.run(&["csr"]).expect(0);
    assert!(
        run.stderr.contains(said) && run.stdout.ends_with("REQUEST-----\n"),
        "{run:?}"
    );
    let run = bank.run(&["--json", "csr"]).expect(0);
    assert!(
        run.stderr.contains(said) && run.json()["pem"].is_string(),
        "{run:?}"
    );
    let run = bank.run(&["token", "check", "-n", "1"]).expect(0);
    let step = run
        .stdout
        .lines()
        .find(|line| line.contains("key attributes"))
        .unwrap();
    assert!(step.starts_with("  note") && step.contains(said), "{step}");
    let made = Bank::new();
    made.run(&["key", "generate"]).expect(0);
    assert!(made.run(&["csr"]).expect(0).stderr.is_empty());
    let run = made.run(&["token", "check", "-n", "1"]).expect(0);
    assert!(!run.stdout.contains("CKA_LOCAL"), "{run:?}");
}

#[test]
fn openssl_verifies_the_request_and_shows_the_exact_subject() {
    for key_type in ["rsa-2048", "p-256", "p-384", "p-521", "ed25519"] {
        let bank = Bank::new();
        bank.run(&["key", "generate", "--type", key_type]).expect(0);
        let csr = bank.csr();
        let options = "multiline,utf8,-esc_msb,-esc_ctrl,show_type";
        let shown = openssl(
            &["req", "-verify", "-noout", "-subject", "-nameopt", options],
            &csr,
        );
        assert!(shown.contains("verify OK"), "{key_type}: {shown}");
        let attributes: Vec<_> = shown
            .lines()
            .filter_map(|line| {
                line.split_once('=')
                    .map(|(name, value)| (name.trim(), value.trim()))
            })
            .filter(|(name, _)| *name != "subject")
            .collect();
        let (organization, unit, client) = (
            format!("UTF8STRING:{ORGANIZATION}"),
            format!("UTF8STRING:{ORGANIZATION_ID}"),
            format!("UTF8STRING:{CLIENT_ID}"),
        );
        assert_eq!(
            attributes,
            [
                ("countryName", "PRINTABLESTRING:AE"),
                ("organizationName", organization.as_str()),
                ("organizationalUnitName", unit.as_str()),
                ("commonName", client.as_str()),
            ]
        );
        let text = openssl(&["req", "-noout", "-text"], &csr);
        assert!(!text.contains("Subject Alternative Name"), "{text}");
    }
}

#[test]
fn flags_stand_in_for_the_configured_subject() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let run = bank
        .run(&["csr", "--organization", "Other Bank", "--json"])
        .expect(0);
    let subject = run.json()["subject"].as_str().unwrap().to_owned();
    assert_eq!(
        subject,
        format!("C=AE, O=Other Bank, OU={ORGANIZATION_ID}, CN={CLIENT_ID}")
    );
    let refused = bank.run(&["csr", "--common-name", "my-client"]).expect(2);
    assert!(
        refused
            .stderr
            .contains("the subject's CN \"my-client\" is not a UUID"),
        "{refused:?}"
    );
}

#[test]
fn a_folder_that_is_not_there_is_named_and_no_file_of_ours() {
    let bank = Bank::new();
    let missing = bank.path("missing/c3.csr");
    let run = bank
        .run(&["csr", "-o", missing.to_str().unwrap()])
        .expect(2);
    let folder = bank.path("missing");
    let said = format!("the folder {} is not there", folder.display());
    assert!(run.stderr.contains(&said), "{run:?}");
    assert!(!run.stderr.contains(".hsm-mtls-"), "{run:?}");
}
