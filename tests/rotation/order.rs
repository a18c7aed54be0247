//! What is refused: steps that do not come now, certificates that do not belong to this rotation, two commands at once. Each
//! refusal names the next step and changes nothing.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use rcgen::{DistinguishedName, DnType, DnValue};
use time::{Duration, OffsetDateTime};

use crate::common::bank::{BINARY, Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::token_objects;
use crate::common::trust_framework::{Kind, TrustFramework};
use crate::scene::{
    bank, bytes_of, certified, fingerprint_of_everything, id_of_new, labels, refused, rotate,
    start, state, subject_of_certificate, subject_of_request,
};

#[test]
fn each_step_waits_for_the_one_before() {
    let mut bank = bank("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let any = bank.path("c3.pem");
    let install = ["install", any.to_str().unwrap()];
    let later: [&[&str]; 6] = [
        &install,
        &["test"],
        &["switch"],
        &["back"],
        &["retire", "--keep"],
        &["abandon"],
    ];
    for step in later {
        let said = refused(&bank, step, 2);
        assert!(said.contains("no rotation is under way"), "{said}");
        assert!(said.contains("rotate start"), "{said}");
    }
    let request = start(&bank, &[]);
    assert_eq!(start(&bank, &[]), request, "repeated, the same is printed");
    let said = refused(&bank, &["start", "--label", "other"], 2);
    assert!(said.contains("under way already"), "{said}");
    for step in &later[1..5] {
        let said = refused(&bank, step, 2);
        assert!(said.contains("rotate install"), "{said}");
    }
    let chain = certified(&bank, &request);
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    let said = refused(&bank, &["switch"], 2);
    assert!(said.contains("rotate test"), "{said}");
    refused(&bank, &["back"], 2);
    rotate(&bank, &["test"]).expect(0);
    let said = refused(&bank, &["retire", "--keep"], 2);
    assert!(said.contains("rotate switch"), "{said}");
    rotate(&bank, &["switch"]).expect(0);
    rotate(&bank, &["switch"]).expect(0);
    for step in [&install[..], &["test"], &["abandon"]] {
        refused(&bank, step, 2);
    }
    // A new key that nobody has used takes no other's place.
    let said = refused(&bank, &["retire", "--after", "0s", "--destroy", "c3"], 1);
    assert!(
        said.contains("has not signed for a handshake since the switch"),
        "{said}"
    );
    rotate(&bank, &["back"]).expect(0);
    rotate(&bank, &["back"]).expect(2);
    let label = labels(&bank, &[]).pop().unwrap();
    refused(&bank, &["abandon", "--destroy", "c3"], 2);
    rotate(&bank, &["abandon", "--destroy", &label]).expect(0);
    assert_eq!(labels(&bank, &[]), ["c3"]);
    assert_eq!(state(&bank, &[])["under_way"], false);
}

#[test]
fn only_the_certificate_of_the_new_key_and_the_old_subject_is_installed() {
    let mut bank = bank("p-256");
    let request = start(&bank, &[]);
    let install = |bank: &Bank, pem: &str| {
        let file = bank.write("given.pem", pem);
        refused(bank, &["install", file.to_str().unwrap()], 2)
    };
    let old = fs::read_to_string(bank.path("c3.pem")).unwrap();
    let said = install(&bank, &old);
    assert!(said.contains("of the old key"), "{said}");
    assert!(said.contains("hsm-mtls cert install"), "{said}");
    bank.run(&["key", "generate", "--type", "p-256", "--label", "third"])
        .expect(0);
    bank.configure(|settings| settings.key = "pkcs11:object=third".to_owned());
    let csr = bank.csr();
    bank.configure(|settings| settings.key = "pkcs11:object=c3;type=private".to_owned());
    let said = install(&bank, &bank.framework.issue_client(&csr));
    assert!(said.contains("of another key than the new one"), "{said}");
    let other_name = bank.framework.issue_client_with(&request, |params| {
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Another Bank");
    });
    let said = install(&bank, &other_name);
    assert!(
        said.contains("Another Bank") && said.contains("subject"),
        "{said}"
    );
    let now = OffsetDateTime::now_utc();
    let expired = bank.framework.issue_client_with(&request, |params| {
        params.not_before = now - Duration::days(30);
        params.not_after = now - Duration::days(1);
    });
    let said = install(&bank, &expired);
    assert!(said.contains("expired"), "{said}");
    let early = bank.framework.issue_client_with(&request, |params| {
        params.not_before = now + Duration::days(1);
    });
    let said = install(&bank, &early);
    assert!(said.contains("not valid"), "{said}");
    let stranger = TrustFramework::new(Kind::Sandbox);
    install(&bank, &stranger.issue_client(&request));
    // With the right one each of these says so, and the dry run changes nothing.
    let chain = certified(&bank, &request);
    let before = fingerprint_of_everything(&bank);
    rotate(&bank, &["install", "--dry-run", chain.to_str().unwrap()]).expect(0);
    assert_eq!(fingerprint_of_everything(&bank), before);
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    // Issued anew before the switch, it takes the place of the first.
    let chain = certified(&bank, &request);
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    assert_eq!(state(&bank, &[])["stage"], "installed");
}

/// The subject is that of the certificate, byte for byte, and not what the configuration would make of it.
#[test]
fn the_subject_is_that_of_the_certificate_in_use() {
    let bank = bank("p-256");
    let leaf = bank.framework.issue_client_with(&bank.csr(), |params| {
        let mut name = DistinguishedName::new();
        let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
        name.push(DnType::CountryName, printable("AE"));
        name.push(DnType::OrganizationName, printable("BANK, A"));
        name.push(
            DnType::OrganizationalUnitName,
            printable("b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10"),
        );
        name.push(
            DnType::CommonName,
            DnValue::Utf8String("5d1c2e0b".to_owned()),
        );
        params.distinguished_name = name;
    });
    let leaf = bank.write("leaf.pem", &leaf);
    bank.run(&["cert", "install", leaf.to_str().unwrap()])
        .expect(0);
    let request = start(&bank, &[]);
    let subject = subject_of_certificate(&bank.path("c3.pem"));
    assert_eq!(subject_of_request(&request), subject);
    assert_ne!(subject_of_request(&bank.csr()), subject);
    let chain = certified(&bank, &request);
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
}

#[test]
fn an_old_certificate_that_has_expired_is_no_way_back() {
    let mut bank = bank("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let end = OffsetDateTime::now_utc() + Duration::seconds(12);
    let leaf = bank
        .framework
        .issue_client_with(&bank.csr(), |params| params.not_after = end);
    let leaf = bank.write("leaf.pem", &(leaf + &bank.framework.issuing_pem()));
    bank.run(&["cert", "install", leaf.to_str().unwrap()])
        .expect(0);
    let chain = certified(&bank, &start(&bank, &[]));
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    rotate(&bank, &["test"]).expect(0);
    rotate(&bank, &["switch"]).expect(0);
    let over = crate::common::poll::found_within(std::time::Duration::from_secs(30), || {
        (OffsetDateTime::now_utc() > end).then_some(())
    });
    over.unwrap();
    let said = refused(&bank, &["back"], 2);
    assert!(said.contains("has expired"), "{said}");
}

#[test]
fn a_dry_run_of_each_step_changes_nothing() {
    let mut bank = bank("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let dry = |arguments: &[&str]| {
        let before = (
            fingerprint_of_everything(&bank),
            fs::read(bank.path("ledger.jsonl")).unwrap(),
        );
        let run = rotate(&bank, &[arguments, &["--dry-run"]].concat()).expect(0);
        assert!(run.stdout.starts_with("it would "), "{run:?}");
        let after = (
            fingerprint_of_everything(&bank),
            fs::read(bank.path("ledger.jsonl")).unwrap(),
        );
        assert_eq!(before, after, "{arguments:?}");
        run.stdout
    };
    let said = dry(&["start"]);
    assert!(said.contains("c3-20"), "{said}");
    let chain = certified(&bank, &start(&bank, &[]));
    let chain = chain.to_str().unwrap();
    dry(&["install", chain]);
    rotate(&bank, &["install", chain]).expect(0);
    dry(&["test"]);
    rotate(&bank, &["test"]).expect(0);
    let said = dry(&["switch"]);
    assert!(said.contains("certificate = \"c3-20"), "{said}");
    dry(&["abandon"]);
    rotate(&bank, &["switch"]).expect(0);
    dry(&["back"]);
    bank.run(&["verify"]).expect(0);
    dry(&["retire", "--after", "0s", "--destroy", "c3"]);
    rotate(&bank, &["retire", "--after", "0s", "--destroy", "c3"]).expect(0);
}

#[test]
fn two_at_once_are_one_and_a_refusal() {
    let mut bank: Bank = bank("p-256");
    let chaos = Chaos::between(&mut bank, "");
    chaos.plan("delay C_GenerateKeyPair 6000ms");
    let first = Command::new(BINARY.unwrap())
        .arg("--config")
        .arg(bank.config_path())
        .args(["rotate", "start"])
        .envs(chaos.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the key is being made", || {
        chaos.calls("C_GenerateKeyPair") > 0
    });
    let run = chaos.run(&bank, &["rotate", "start"]).expect(2);
    assert!(
        run.stderr.contains("another `hsm-mtls rotate` is at work"),
        "{run:?}"
    );
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success(), "{first:?}");
    let listed = chaos
        .run(&bank, &["key", "list", "--json"])
        .expect(0)
        .json();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
}

/// Label and CKA_ID of a public key prove nothing: one that is of another key is no part of the pair that is destroyed.
#[test]
fn a_public_key_of_another_pair_under_the_same_names_stays() {
    let modulus = vec![0xc5; 256];
    if config_of_child().is_some() {
        let session = token_objects::session();
        let (label, id) = (env::var("LABEL").unwrap(), env::var("ID").unwrap());
        let mut foreign = vec![
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::Token(true),
            Attribute::Label(label.into_bytes()),
            Attribute::Id(bytes_of(&id)),
        ];
        if env::var("STEP").unwrap() == "after" {
            let left = session.find_objects(&foreign).unwrap();
            let read = session.get_attributes(left[0], &[AttributeType::Modulus]);
            assert_eq!(read.unwrap(), [Attribute::Modulus(modulus)]);
            assert_eq!(left.len(), 1);
            return;
        }
        foreign.extend([
            Attribute::KeyType(KeyType::RSA),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::Modulus(modulus),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ]);
        session.create_object(&foreign).unwrap();
        return;
    }
    let bank = bank("rsa-2048");
    start(&bank, &[]);
    let status = state(&bank, &[]);
    let label = status["new"]["label"].as_str().unwrap();
    let id = id_of_new(&bank);
    let in_token = |step: &str| {
        let arguments = [("LABEL", label), ("ID", &*id), ("STEP", step)];
        let arguments = arguments.map(|(name, value)| (name, value.to_owned()));
        bank.run_test(
            a_public_key_of_another_pair_under_the_same_names_stays,
            &arguments,
        );
    };
    in_token("before");
    rotate(&bank, &["abandon", "--destroy", label]).expect(0);
    assert_eq!(labels(&bank, &[]), ["c3"]);
    in_token("after");
}
