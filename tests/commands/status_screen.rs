//! The screen of `status`: one line for monitoring first, then all that there is, at 80 and at 120 columns; and the picture in the docs.

use std::fs;
use std::path::Path;

use crate::common::bank::Bank;
use crate::common::contract::contract;
use crate::common::hub::{Hub, HubOptions};
use crate::common::nginx::Nginx;
use crate::common::proxy::Proxy;
use crate::common::published_keys::key_set;
use crate::jwks_check::{check, ours, publish, with_keystore};
use crate::status::{WEEK, bank_until, checked};
use crate::terminal::{screen, too_long};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// All that a configuration can have, and it is good: but C3's certificate has 43 days left.
struct Scene {
    bank: Bank,
    /// Of the ledger, out of the front end's reach.
    apart: TempDir,
    proxy: Option<Proxy>,
    _hub: Hub,
    _keystore: Nginx,
}

fn scene() -> Scene {
    let (mut bank, keystore) = with_keystore();
    publish(&keystore, &key_set(&[&ours(&bank)]));
    check(&bank, &[]).expect(0);
    let leaf = bank.framework.issue_client_with(&bank.csr(), |params| {
        params.not_before = OffsetDateTime::now_utc() - Duration::days(300);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(43) + Duration::HOUR;
    });
    bank.write("c3.pem", &(leaf + &bank.framework.issuing_pem()));
    bank.configure(|settings| settings.trust_lines = "crls = [\"issuer.crl\"]".to_owned());
    let list = bank.framework.crl_numbered(7, Duration::days(3), &[], WEEK);
    fs::write(bank.path("issuer.crl"), list).unwrap();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let apart = tempfile::tempdir().unwrap();
    let mut sections = String::new();
    bank.configure(|settings| sections = settings.sections.clone());
    let ledger = apart.path().join("ledger.jsonl");
    let sections = sections.replace("ledger.jsonl", ledger.to_str().unwrap());
    let ports = Proxy::configure(&mut bank, "warm_connections = 1", &sections);
    let proxy = Proxy::start(&bank, ports);
    let services = proxy.ready()["upstreams"].as_array().unwrap().clone();
    for service in services {
        proxy.warm(service["name"].as_str().unwrap(), 1);
    }
    Scene {
        bank,
        apart,
        proxy: Some(proxy),
        _hub: hub,
        _keystore: keystore,
    }
}

#[test]
fn the_screen_fits_80_and_120_columns_and_breaks_no_word() {
    let Scene {
        bank,
        proxy: _proxy,
        ..
    } = &scene();
    let piped = bank.run(&["status"]).expect(1).stdout;
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    for columns in [40, 80, 120] {
        let shown = screen(bank, columns, "status");
        let long = too_long(&shown, columns);
        assert!(long.is_empty(), "{columns}: {long:#?}\n{shown}");
        // All is there, and what a person copies is in one piece.
        assert_eq!(words(&shown), words(&piped), "{columns}");
        let lines = shown.lines().count();
        assert!(
            columns < 80 || lines <= 40,
            "{lines} lines at {columns}:\n{shown}"
        );
    }
    assert!(
        piped.starts_with("hsm-mtls WARNING: preprod: c3.certificate: 43 days left"),
        "{piped}"
    );
    assert!(piped.contains("\nnext\n"), "{piped}");
}

#[test]
fn the_brief_form_is_one_line_with_figures() {
    let bank = bank_until(Duration::days(43) + Duration::HOUR);
    let run = bank.run(&["status", "--brief"]).expect(1);
    assert_eq!(run.stdout.lines().count(), 1);
    let (text, figures) = run.stdout.trim_end().split_once(" | ").unwrap();
    assert_eq!(figures, "'preprod.c3.certificate'=43;60:;30:");
    let first = bank.run(&["status"]).expect(1).stdout;
    assert_eq!(first.lines().next(), Some(text));
    let run = bank
        .run(&["status", "--brief", "--warn", "9d", "--crit", "8d"])
        .expect(0);
    assert_eq!(
        run.stdout,
        "hsm-mtls OK: preprod: c3 43 days left | 'preprod.c3.certificate'=43;9:;8:\n"
    );
}

/// The words without what differs from run to run: digits, and the folders of the test.
fn without_what_varies(scene: &Scene, text: &str) -> Vec<String> {
    let config = scene.bank.config_path();
    let text = text
        .replace(config.to_str().unwrap(), "/etc/hsm-mtls/preprod.toml")
        .replace(scene.bank.folder().to_str().unwrap(), "/etc/hsm-mtls")
        .replace(scene.apart.path().to_str().unwrap(), "/var/log/hsm-mtls")
        // The two services of the hub: either may have been the last one.
        .replace("127.0.0.1", "localhost");
    let words = text.split_whitespace().map(|word| {
        let mut plain = String::new();
        for c in word.chars() {
            match c.is_ascii_digit() {
                true if plain.ends_with('0') => {}
                true => plain.push('0'),
                false => plain.push(c),
            }
        }
        plain
    });
    words.collect()
}

/// The picture is of a real run, and goes out of date as soon as a word of it does.
#[test]
fn the_picture_in_the_documentation_is_what_is_printed() {
    let scene = scene();
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/status.md"));
    let page = fs::read_to_string(page).unwrap();
    let picture = page.split("```text\n").nth(1);
    let picture = picture.and_then(|rest| rest.split("```").next());
    let (command, shown) = picture.unwrap().split_once('\n').unwrap();
    assert_eq!(command, "$ hsm-mtls status");
    assert_eq!(too_long(shown, 80), Vec::<&str>::new());
    let printed = screen(&scene.bank, 80, "status");
    let [shown, of_now] = [shown, &printed].map(|text| without_what_varies(&scene, text));
    assert_eq!(shown, of_now, "{printed}");
}

/// Without what [`contract`] does not know to differ from run to run: times, texts with times, ports, and the number of handshakes and with which
/// service the last one was.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(peers) = members.get_mut("last_by_peer") {
                *peers = "[peers and times]".into();
            }
            for (name, member) in members.iter_mut() {
                match name.as_str() {
                    "text" | "revocation" | "kid" | "peer" => *member = "[text]".into(),
                    "in_last_day" => *member = "[number]".into(),
                    _ => without_times(member),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_times),
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') => {
            *text = "[time]".to_owned();
        }
        _ => {}
    }
}

#[test]
fn the_report_is_a_contract() {
    let mut scene = scene();
    // What a proxy says of itself is a contract of its own.
    drop(scene.proxy.take());
    let bank = &scene.bank;
    let mut run = bank.run(&["status", "--json"]).expect(2);
    checked(bank, &run);
    let apart = scene.apart.path().to_str().unwrap();
    run.stdout = run.stdout.replace(apart, "/var/log/hsm-mtls");
    let mut report: Value = serde_json::from_str(&contract(bank, &run)).unwrap();
    without_times(&mut report);
    assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}
