//! Each use of the key is recorded before the token is called, and its outcome after it; a changed record is found.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::softhsm::PIN;
use serde_json::Value;

const LEDGER: &str = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n";

fn bank() -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.sections = LEDGER.to_owned());
    bank.certify("rsa-2048");
    bank
}

fn records(bank: &Bank) -> Vec<Value> {
    let text = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of_kind<'a>(records: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    records.iter().filter(move |record| record["kind"] == kind)
}

/// The outcome of each record that has one.
fn outcomes(records: &[Value]) -> BTreeMap<u64, &Value> {
    of_kind(records, "outcome")
        .map(|outcome| (outcome["of"].as_u64().unwrap(), outcome))
        .collect()
}

#[test]
fn each_signature_has_its_attempt_and_its_outcome() {
    let mut bank = bank();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let report = bank.run(&["verify", "--json"]).expect(0).json();
    let body = "psu-identifier=0001";
    bank.run(&["request", "POST", "hh:/auth", "-d", body]);
    let records = records(&bank);
    let purposes = |wanted: &str| {
        of_kind(&records, "attempt")
            .filter(|attempt| attempt["purpose"] == wanted)
            .collect::<Vec<_>>()
    };
    let labels: Vec<_> = of_kind(&records, "key-generation")
        .map(|generation| generation["label"].as_str().unwrap())
        .collect();
    // A session key shows what the token says of such a key, and is destroyed, before the key is made.
    assert!(
        matches!(labels.as_slice(), [probe, "c3"] if probe.starts_with("hsm-mtls probe ")),
        "{labels:?}"
    );
    assert_eq!(of_kind(&records, "key-destruction").count(), 1);
    assert_eq!(purposes("csr").len(), 1);
    // `cert install` proves the pair, and so do `verify` and `request`.
    assert_eq!(purposes("proof").len(), 3);
    let handshakes = purposes("tls13-client-auth");
    let peers: Vec<_> = handshakes.iter().map(|attempt| &attempt["peer"]).collect();
    let [cm, hh] = ["localhost", "127.0.0.1"].map(|host| format!("{host}:{}", hub.port()));
    assert_eq!(peers, [&cm, &hh, &hh]);
    for (attempt, service) in handshakes
        .iter()
        .zip(report["services"].as_array().unwrap())
    {
        assert_eq!(attempt["interaction_id"], service["interaction_id"]);
        assert_eq!(attempt["scheme"], "rsa_pss_rsae_sha256");
        assert!(attempt["key"].as_str().unwrap().contains("object=c3"));
    }
    let outcomes = outcomes(&records);
    for begun in ["attempt", "login", "key-generation", "key-destruction"] {
        for record in of_kind(&records, begun) {
            let outcome = outcomes[&record["seq"].as_u64().unwrap()];
            assert_eq!(outcome["result"], "good", "{record} {outcome}");
        }
    }
    // Commands that open the token: generate, csr, install, verify, request.
    assert_eq!(of_kind(&records, "login").count(), 5);
    let text = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    for secret in [PIN, body, "/auth"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let verified = bank.run(&["ledger", "verify", "--json"]).expect(0).json();
    assert_eq!(verified["history"]["attempts"], 7);
    assert_eq!(verified["history"]["last"], records.len());
}

#[test]
fn a_signature_that_fails_is_on_record_with_its_code() {
    let mut bank = bank();
    let chaos = Chaos::between(&mut bank, "");
    chaos.plan("fail C_Sign 1 CKR_DEVICE_ERROR");
    chaos.run(&bank, &["csr"]).expect(0);
    let records = records(&bank);
    let failed: Vec<_> = of_kind(&records, "outcome")
        .filter(|outcome| outcome["result"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["ckr"], "CKR_DEVICE_ERROR");
    assert_eq!(failed[0]["function"], "C_Sign");
    assert_eq!(failed[0]["class"], "device");
    assert_eq!(
        outcomes(&records).len(),
        [
            "attempt",
            "login",
            "initialize",
            "key-generation",
            "key-destruction"
        ]
        .map(|kind| of_kind(&records, kind).count())
        .iter()
        .sum::<usize>()
    );
}

#[test]
fn nothing_is_signed_that_cannot_be_recorded() {
    let mut bank = bank();
    let chaos = Chaos::between(&mut bank, "");
    let ledger = bank.path("ledger.jsonl");
    let good = fs::read(&ledger).unwrap();
    let refused = |what: &str| {
        chaos.forget_calls();
        let run = chaos.run(&bank, &["csr"]).expect(2);
        assert!(run.stderr.contains("ledger"), "{what}: {}", run.stderr);
        assert_eq!(chaos.calls("C_Sign"), 0, "{what}");
        assert_eq!(chaos.calls("C_Login"), 0, "{what}");
    };
    fs::write(&ledger, "something else\n").unwrap();
    refused("a file of somebody else");
    fs::write(&ledger, &good).unwrap();
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o666)).unwrap();
    refused("everybody may write");
    fs::remove_file(&ledger).unwrap();
    fs::create_dir(&ledger).unwrap();
    refused("a folder");
}

#[test]
fn a_changed_record_is_found() {
    let bank = bank();
    let head = bank.run(&["ledger", "verify", "--json"]).expect(0).json();
    let head = head["history"]["head"].as_str().unwrap().to_owned();
    let ledger = bank.path("ledger.jsonl");
    let good = fs::read_to_string(&ledger).unwrap();
    let expect = ["ledger", "verify", "--json", "--expect-head", &head];
    bank.run(&expect).expect(0);
    // What is written later does not harm.
    bank.run(&["csr"]).expect(0);
    bank.run(&expect).expect(0);
    let mut short: Vec<_> = good.lines().collect();
    short.pop();
    fs::write(&ledger, short.join("\n") + "\n").unwrap();
    bank.run(&["ledger", "verify"]).expect(0);
    let cut = bank.run(&expect).expect(1).json();
    assert_eq!(cut["sequence"], good.lines().count(), "{cut}");
    fs::write(
        &ledger,
        good.replacen("\"purpose\":\"csr\"", "\"purpose\":\"proof\"", 1),
    )
    .unwrap();
    let changed = bank.run(&["ledger", "verify", "--json"]).expect(1).json();
    let at = good
        .lines()
        .position(|line| line.contains("\"csr\""))
        .unwrap();
    // The next one no longer carries its hash.
    assert_eq!(changed["sequence"], at + 2, "{changed}");
}

#[test]
fn show_prints_purpose_time_and_peer() {
    let mut bank = bank();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.run(&["verify"]).expect(0);
    let show = |arguments: &[&str]| {
        let all = [&["ledger", "show"], arguments].concat();
        let shown = bank.run(&all).expect(0).stdout;
        shown.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let handshakes = show(&["--purpose", "tls13-client-auth"]);
    assert_eq!(handshakes.len(), 2, "{handshakes:?}");
    assert!(handshakes[0].contains("good"), "{handshakes:?}");
    assert_eq!(show(&["--peer", "localhost"]), [handshakes[0].as_str()]);
    let port = format!("127.0.0.1:{}", hub.port());
    assert_eq!(show(&["--peer", &port]), [handshakes[1].as_str()]);
    let all = show(&[]);
    let records = records(&bank);
    let time = |of: usize| records[of]["time"].as_str().unwrap();
    assert_eq!(show(&["--since", &time(0)[..10]]), all);
    assert_eq!(show(&["--until", time(0)]), [""; 0]);
    let second = &time(records.len() - 1)[..19];
    assert!(show(&["--until", second]).len() == all.len());
    // With --json the lines as they are, an attempt with its outcome.
    let lines = show(&["--json", "--purpose", "csr"]);
    let kinds: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        [&kinds[0]["kind"], &kinds[1]["kind"]],
        ["attempt", "outcome"]
    );
    let counts = bank
        .run(&["--json", "ledger", "show", "--counts"])
        .expect(0)
        .json();
    let proofs = counts["counts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["what"] == "proof");
    assert_eq!(proofs.unwrap()["count"], 2);
    assert!(show(&["--counts"]).iter().any(|row| row.contains("proof")));
    bank.run(&["ledger", "show", "--since", "yesterday"])
        .expect(2);
}

#[test]
fn show_follows_new_records() {
    let bank = bank();
    let mut following = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
        .arg("--config")
        .arg(bank.config_path())
        .args(["ledger", "show", "--follow", "--purpose", "csr"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    bank.run(&["csr"]).expect(0);
    let second = lines.next().unwrap().unwrap();
    following.kill().unwrap();
    following.wait().unwrap();
    assert!(first.contains("csr") && second.contains("csr") && first != second);
}

#[test]
fn the_chain_head_is_exported() {
    let mut bank = bank();
    let socket = bank.path("syslog");
    let syslog = UnixDatagram::bind(&socket).unwrap();
    syslog
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let told = bank.path("told");
    let program = bank.write(
        "tell",
        &format!("#!/bin/sh\necho \"$@\" >> {}\n", told.display()),
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for (head, file) in [
        (format!("{{ syslog = \"{}\" }}", socket.display()), None),
        (
            format!("{{ command = [\"{}\", \"--to\"] }}", program.display()),
            Some(&told),
        ),
    ] {
        bank.configure(|settings| settings.sections = format!("{LEDGER}head = {head}\n"));
        bank.run(&["csr"]).expect(0);
        let text = match file {
            Some(file) => fs::read_to_string(file).unwrap(),
            None => {
                let mut bytes = [0; 512];
                let length = syslog.recv(&mut bytes).unwrap();
                String::from_utf8(bytes[..length].to_vec()).unwrap()
            }
        };
        let head = text.trim().rsplit(['=', ' ']).next().unwrap();
        bank.run(&["ledger", "verify", "--expect-head", head])
            .expect(0);
        let history = bank.run(&["ledger", "verify", "--json"]).expect(0).json();
        assert_eq!(history["history"]["head"], head, "{text}");
    }
}
