//! `jwks check` against an nginx that serves the key set as a keystore does, and against sets that are wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::bank::{Bank, CLIENT_ID, ORGANIZATION_ID, Run};
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::published_keys::{
    bank_with_sig4, bank_with_sig4_at, certificate, failed, jwk, key_set, kid, outcome, set_sig4,
};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `jwks check` with the bank's Trust Framework in the place of the machine's public roots.
pub(super) fn check(bank: &Bank, arguments: &[&str]) -> Run {
    let arguments = [&["jwks", "check", "--json"], arguments].concat();
    bank.run_with(&arguments, &[("SSL_CERT_FILE", &bank.path("anchors.pem"))])
}

fn keystore(bank: &Bank, verify_client: bool) -> Nginx {
    Nginx::start(&NginxOptions {
        verify_client,
        ..NginxOptions::of(&bank.framework, &["localhost"])
    })
}

fn path_of(name: &str) -> String {
    format!("{ORGANIZATION_ID}/{name}/application.jwks")
}

/// A bank whose keystore is an nginx, with the set of its application.
pub(super) fn with_keystore() -> (Bank, Nginx) {
    let mut bank = bank_with_sig4("");
    let keystore = keystore(&bank, false);
    let url = format!(
        "https://localhost:{}/files/{}",
        keystore.port(),
        path_of(CLIENT_ID)
    );
    set_sig4(&mut bank, "sig4.pem", &format!("jwks = \"{url}\""));
    (bank, keystore)
}

/// The set of the application, unchanged for an hour.
pub(super) fn publish(keystore: &Nginx, set: &str) {
    keystore.serve_file(&path_of(CLIENT_ID), set, HOUR);
}

pub(super) fn ours(bank: &Bank) -> Value {
    jwk(bank, &certificate(bank))
}

/// The only file of the state folder that remembers a publication.
fn record(bank: &Bank) -> PathBuf {
    let files = fs::read_dir(bank.path("state")).unwrap();
    let mut found = files.map(|entry| entry.unwrap().path()).filter(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("jwks-")
    });
    let record = found.next().unwrap();
    assert_eq!(found.next(), None);
    record
}

#[test]
fn a_set_that_has_been_published_for_long_passes() {
    let (bank, keystore) = with_keystore();
    publish(&keystore, &key_set(&[&ours(&bank)]));
    keystore.serve_file(&path_of("inactive"), &key_set(&[]), HOUR);
    let report = check(&bank, &[]).expect(0).json();
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["kid"], kid(&certificate(&bank)));
    for step in [
        "fetch",
        "set",
        "kid",
        "key",
        "x5c",
        "use and alg",
        "published",
        "retired keys",
    ] {
        assert_eq!(outcome(&report, step), "good", "{report:#}");
    }
    // nginx says nothing about caches here.
    assert_eq!(outcome(&report, "caches"), "note", "{report:#}");
    let seconds = report["published_for_seconds"].as_u64().unwrap();
    // The file is an hour old; the certificate, which no key set had before it began, ten minutes.
    assert!((600..900).contains(&seconds), "{report:#}");
    assert!(report["answer"]["etag"].is_string(), "{report:#}");
    let names: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "answer",
            "first_seen",
            "kid",
            "passed",
            "published_for_seconds",
            "schema",
            "source",
            "steps"
        ]
    );
    // In words too.
    let shown = bank.run_with(
        &["jwks", "check"],
        &[("SSL_CERT_FILE", &bank.path("anchors.pem"))],
    );
    let shown = shown.expect(0).stdout;
    assert!(shown.contains("the hub finds our key"), "{shown}");
}

#[test]
fn a_retired_key_is_said() {
    let (bank, keystore) = with_keystore();
    let set = key_set(&[&ours(&bank)]);
    publish(&keystore, &set);
    // There is no set of retired keys: only a note.
    let report = check(&bank, &[]).expect(0).json();
    assert_eq!(outcome(&report, "retired keys"), "note", "{report:#}");
    keystore.serve_file(&path_of("inactive"), &set, HOUR);
    let report = check(&bank, &[]).expect(0).json().to_string();
    assert!(report.contains("our kid is among them"), "{report}");
}

#[test]
fn ten_minutes_are_counted_from_the_first_time_that_the_key_was_seen() {
    let (bank, keystore) = with_keystore();
    let (name, set) = (path_of(CLIENT_ID), key_set(&[&ours(&bank)]));
    keystore.serve_file(&name, &set, Duration::ZERO);
    let report = check(&bank, &[]).expect(1).json();
    assert_eq!(failed(&report), ["published"], "{report:#}");
    let mode = fs::metadata(record(&bank)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Eleven minutes later.
    let mut content: Value = serde_json::from_slice(&fs::read(record(&bank)).unwrap()).unwrap();
    let first_seen = content["first_seen"].as_u64().unwrap();
    content["first_seen"] = json!(first_seen - 660);
    fs::write(record(&bank), content.to_string()).unwrap();
    let report = check(&bank, &[]).expect(0).json();
    assert!(report["published_for_seconds"].as_u64().unwrap() >= 660);
    // It disappears and comes back with an old date, which is not believed.
    keystore.serve_file(&name, &key_set(&[]), HOUR);
    let report = check(&bank, &[]).expect(1).json();
    assert_eq!(failed(&report), ["kid"], "{report:#}");
    keystore.serve_file(&name, &set, HOUR);
    let report = check(&bank, &[]).expect(1).json();
    assert_eq!(failed(&report), ["published"], "{report:#}");
    assert!(report["published_for_seconds"].as_u64().unwrap() < 600);
}

#[test]
fn no_client_certificate_is_offered_even_where_it_is_asked_for() {
    let bank = bank_with_sig4("");
    let keystore = keystore(&bank, true);
    keystore.serve_file("a.jwks", &key_set(&[&ours(&bank)]), HOUR);
    let url = format!("https://localhost:{}/files/a.jwks", keystore.port());
    // nginx answers 400 to a client without a certificate.
    let report = check(&bank, &["--url", &url]).expect(5).json();
    assert_eq!(failed(&report), ["fetch"], "{report:#}");
    let accesses = keystore.wait_for_accesses(1);
    assert_eq!(accesses[0].verify, "NONE");
    assert_eq!(accesses[0].fingerprint, "-");
    assert_eq!(accesses[0].status, 400);
}

#[test]
fn each_wrong_set_is_a_finding() {
    let bank = bank_with_sig4("");
    let (ours, other) = (ours(&bank), jwk(&bank, &bank.framework.issuing_pem()));
    let changed = |name: &str, value: &Value| {
        let mut changed = ours.clone();
        changed[name] = value.clone();
        key_set(&[&changed])
    };
    let judged = |set: &str| {
        let file = bank.write("set.jwks", set);
        check(&bank, &["--file", file.to_str().unwrap()])
    };
    let report = judged(&key_set(&[&ours, &other])).expect(0).json();
    assert_eq!(outcome(&report, "other keys"), "note", "{report:#}");
    for (set, step) in [
        (key_set(&[]), "kid"),
        // What was published before our certificate.
        (key_set(&[&other]), "kid"),
        (key_set(&[&ours, &ours]), "kid"),
        (changed("n", &other["n"]), "key"),
        (changed("x5c", &other["x5c"]), "x5c"),
        (changed("x5t#S256", &other["x5t#S256"]), "x5c"),
        (changed("use", &json!("enc")), "use and alg"),
        (changed("alg", &json!("RS256")), "use and alg"),
        (changed("d", &json!("AQAB")), "other keys"),
        (r#"{"keys":[],"keys":[]}"#.to_owned(), "set"),
        ("<html></html>".to_owned(), "set"),
        (key_set(&vec![&other; 101]), "set"),
        (" ".repeat(257 << 10), "set"),
    ] {
        let report = judged(&set).expect(1).json();
        assert_eq!(failed(&report), [step], "{report:#}");
        assert_eq!(report["passed"], false);
    }
    check(&bank, &["--file", "/nowhere/set.jwks"]).expect(2);
}

#[test]
fn the_certificate_in_the_token_is_judged_too() {
    let bank = bank_with_sig4_at("pkcs11:object=sig4", "");
    let leaf = fs::read_to_string(bank.path("issued.pem")).unwrap();
    let file = bank.write("set.jwks", &key_set(&[&jwk(&bank, &leaf)]));
    let report = check(&bank, &["--file", file.to_str().unwrap()]);
    assert_eq!(report.expect(0).json()["kid"], kid(&leaf));
}

#[test]
fn the_configured_kid_is_that_of_the_certificate() {
    let mut bank = bank_with_sig4("");
    let file = bank.write("set.jwks", &key_set(&[&ours(&bank)]));
    let arguments = ["--file", file.to_str().unwrap()];
    let good = kid(&certificate(&bank));
    for (configured, code) in [(good, 0), (kid(&bank.framework.issuing_pem()), 2)] {
        set_sig4(&mut bank, "sig4.pem", &format!("kid = \"{configured}\""));
        check(&bank, &arguments).expect(code);
    }
}

#[test]
fn without_sig4_there_is_nothing_to_check() {
    let bank = Bank::new();
    let run = check(&bank, &[]).expect(2);
    assert!(run.stderr.contains("[sig4]"), "{}", run.stderr);
}

#[test]
fn the_url_follows_from_the_certificate_where_none_is_configured() {
    let bank = bank_with_sig4("");
    // Without roots nothing is sent to a server.
    let nowhere = bank.path("no-roots");
    let variables = [("SSL_CERT_FILE", &*nowhere), ("SSL_CERT_DIR", &nowhere)];
    let run = bank.run_with(&["jwks", "check", "--json"], &variables);
    let report = run.expect(5).json();
    let derived = format!(
        "https://keystore.sandbox.directory.openfinance.ae/{ORGANIZATION_ID}/{CLIENT_ID}/application.jwks"
    );
    assert_eq!(report["source"], derived);
    let detail = report["steps"][0]["detail"].to_string();
    assert!(detail.contains("no public roots"), "{detail}");
}

#[test]
fn the_key_of_a_replaced_certificate_is_looked_for() {
    let (mut bank, keystore) = with_keystore();
    let old = ours(&bank);
    // The certificate is renewed for the same key, as `cert install` leaves it beside the old one.
    let sections = bank_sections(&mut bank, "sig4");
    let renewed = bank.write("renewed.pem", &bank.issue());
    bank.run(&["cert", "install", renewed.to_str().unwrap()])
        .expect(0);
    bank_sections(&mut bank, "c3");
    bank.configure(|settings| settings.sections = sections);
    let new = ours(&bank);
    assert_ne!(old["kid"], new["kid"]);
    publish(&keystore, &key_set(&[&new, &old]));
    let report = check(&bank, &[]).expect(1).json();
    assert_eq!(outcome(&report, "replaced keys"), "note", "{report:#}");
    // Two entries with one key: the same key under another kid.
    assert_eq!(failed(&report), ["other keys"], "{report:#}");
    publish(&keystore, &key_set(&[&new]));
    keystore.serve_file(&path_of("inactive"), &key_set(&[&old]), HOUR);
    let report = check(&bank, &[]).expect(0).json();
    assert_eq!(outcome(&report, "replaced keys"), "good", "{report:#}");
    let text = report.to_string();
    assert!(text.contains("and 1 of the 1 before ours"), "{text}");
}

/// Puts the key and certificate with this name into `[c3]`, takes the further sections away, and returns them.
fn bank_sections(bank: &mut Bank, name: &str) -> String {
    let mut sections = String::new();
    bank.configure(|settings| {
        settings.key = format!("pkcs11:object={name};type=private");
        settings.certificate = format!("{name}.pem");
        sections = std::mem::take(&mut settings.sections);
    });
    sections
}
