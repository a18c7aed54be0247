//! Each single thing that is wrong with the machine, and with what was recorded on it, is found by `audit`,
//! and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::audit::{Audited, SECTIONS, audit, bank, certified, mode};
use crate::common::bank::Settings;
use crate::common::ledger_file::{long_files, record, short_files};
use crate::common::softhsm::PIN;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::ledger::{
    Attempt, Entry, FileLedger, Ledger, Outcome, OutcomeResult, Process, RefusedRequest,
};
use hsm_mtls_cli::audit::rule::Rule;
use hsm_mtls_cli::audit::rules;

/// What is changed in the configuration.
type Change = fn(&mut Settings);

/// A file or folder of the bank, the mode that is wrong, the name of the golden file.
const MODES: &[(&str, u32, &str)] = &[
    ("bank.toml", 0o664, "config_group_writable"),
    ("bank.toml", 0o646, "config_world_writable"),
    ("anchors.pem", 0o664, "anchors_group_writable"),
    ("c3.pem", 0o646, "certificate_world_writable"),
    ("ledger.jsonl", 0o644, "ledger_world_readable"),
    ("ledger.jsonl", 0o660, "ledger_group_writable"),
    ("state", 0o770, "state_group_writable"),
    ("state", 0o1777, "state_sticky"),
];

#[test]
fn what_others_can_change_or_read_is_found() {
    let mut bank = certified();
    mode(&bank.path("c3.pem"), 0o644);
    audit(&bank, &[]).golden("host_as_it_should_be", &["host.hardening"]);
    for (name, bits, golden) in MODES {
        let path = bank.path(name);
        let good = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap()) & 0o7777;
        mode(&path, *bits);
        audit(&bank, &[]).golden(&format!("host_{golden}"), &[]);
        mode(&path, good);
    }
    // A ledger in a folder that its group may write to: the product keeps none there.
    let folder = bank.path("records");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o770);
    let elsewhere = SECTIONS.replace("ledger.jsonl", "records/ledger.jsonl");
    bank.configure(|settings| settings.sections = elsewhere);
    audit(&bank, &[]).golden("host_ledger_folder_before_the_first_record", &[]);
    mode(&folder, 0o750);
    audit(&bank, &[]).golden("host_ledger_folder_as_it_should_be", &[]);
    mode(&folder, 0o770);
    audit(&bank, &[]).golden("host_ledger_folder_group_writable", &[]);
    // A file that was closed before is evidence as much as the one that is written to.
    mode(&folder, 0o750);
    rotate(&folder.join("ledger.jsonl"));
    audit(&bank, &[]).golden("host_ledger_closed_file_as_it_should_be", &[]);
    let all = fs::read_dir(&folder).unwrap();
    let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    let closed = all.iter().find(|path| !path.ends_with("ledger.jsonl"));
    mode(closed.unwrap(), 0o644);
    audit(&bank, &[]).golden("host_ledger_closed_file_world_readable", &[]);
}

/// What another command would refuse the configuration for is a finding, whichever path it is.
#[test]
fn each_path_that_others_can_change_is_found() {
    let mut bank = bank();
    for name in [
        "work/vendor.cfg",
        "tell",
        "log/access.jsonl",
        "attestation",
        "caller",
    ] {
        mode(&bank.write(name, "0123456789abcdef0123"), 0o600);
    }
    let program = bank.path("tell");
    bank.configure(|settings| {
        settings.token_lines = "working_dir = \"work\"".to_owned();
        settings.sections = format!(
            "[ledger]\nfile = \"ledger.jsonl\"\nhead = {{ command = [\"{}\"] }}\n\
             [proxy]\naccess_log = \"log/access.jsonl\"\n[[proxy.listener]]\nunix = \"run/hub.sock\"\n\
             [[proxy.listener]]\ntcp = \"127.0.0.1:8480\"\ncallers = {{ token_file = \"caller\" }}\n\
             [audit]\nattestation = \"attestation\"\n",
            program.display()
        );
    });
    fs::create_dir(bank.path("run")).unwrap();
    for (name, rule) in [
        ("work", "host.configuration"),
        ("work/vendor.cfg", "host.configuration"),
        ("log", "host.configuration"),
        ("log/access.jsonl", "host.configuration"),
        ("attestation", "host.configuration"),
        ("tell", "host.ledger"),
        ("run", "host.callers"),
        ("caller", "host.callers"),
    ] {
        let path = bank.path(name);
        let good = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap()) & 0o7777;
        mode(&path, good | 0o002);
        let said = audit(&bank, &[]).said(rule);
        let told = format!("{} (root:root, mode {:04o})", path.display(), good | 0o002);
        assert!(
            said.starts_with("violated") && said.contains(&told),
            "{name}: {said}"
        );
        mode(&path, good);
    }
    let beside = |settings: &mut Settings| {
        settings.sections = settings.sections.replace("log/access", "state/access");
    };
    bank.configure(beside);
    let said = audit(&bank, &[]).said("host.configuration");
    assert!(said.contains("because `access_log` is there"), "{said}");
}

/// A record that begins a new file.
fn rotate(file: &Path) {
    let ledger = FileLedger::open(&short_files(file.to_owned())).unwrap();
    record(&ledger).unwrap();
}

#[test]
fn where_the_pin_comes_from_is_judged() {
    let mut bank = bank();
    bank.run(&["key", "generate"]).expect(0);
    let pin_file = bank.token.pin_file();
    mode(&pin_file, 0o644);
    let audited = audit(&bank, &[]);
    audited.golden("pin_file_world_readable", &["token.login"]);
    // The PIN was not sent, so nothing is said of the key.
    let of_one_key = |rule: &&Rule| rule.category() == "key" && rule.id != "key.apart";
    for rule in rules::all().filter(of_one_key) {
        let said = audited.said(rule.id);
        assert!(
            said.starts_with("not-answerable: the audit got no further: no PIN from"),
            "{said}"
        );
    }
    mode(&pin_file, 0o600);

    bank.configure(|settings| settings.pin = "{ env = \"THE_PIN\" }".to_owned());
    let arguments = ["audit", "--json", "--profile", "production"];
    let run = bank.run_with(&arguments, &[("THE_PIN", Path::new(PIN))]);
    Audited::of(run).golden("pin_from_env", &["host.pin"]);

    bank.configure(|settings| settings.pin = "{ credential = \"hsm-pin\" }".to_owned());
    let credentials = bank.path("credentials");
    fs::create_dir(&credentials).unwrap();
    mode(&credentials, 0o700);
    let credential = credentials.join("hsm-pin");
    fs::write(&credential, PIN).unwrap();
    for (bits, golden) in [
        (0o440, "pin_from_credential"),
        (0o444, "pin_from_credential_world_readable"),
    ] {
        mode(&credential, bits);
        let folder: [(&str, &Path); 1] = [("CREDENTIALS_DIRECTORY", &credentials)];
        Audited::of(bank.run_with(&arguments, &folder)).golden(golden, &[]);
    }

    // The shell is in order; the script that it runs is not.
    let script = bank.write("pin.sh", &format!("cat '{}'\n", pin_file.display()));
    bank.configure(|settings| {
        settings.pin = format!("{{ command = [\"/bin/sh\", \"{}\"] }}", script.display());
    });
    mode(&script, 0o755);
    audit(&bank, &[]).golden("pin_from_command", &[]);
    mode(&script, 0o777);
    audit(&bank, &[]).golden("pin_from_command_world_writable", &[]);
}

fn listener(text: &str) -> String {
    format!("{SECTIONS}\n[proxy]\n[[proxy.listener]]\n{text}\n")
}

#[test]
fn who_can_call_is_judged() {
    let mut bank = bank();
    bank.run(&["key", "generate"]).expect(0);
    let token_file = bank.write("caller-token", &"0123456789abcdef".repeat(4));
    for (text, bits, golden) in [
        ("unix = \"proxy.sock\"", 0o600, "own"),
        (
            "unix = \"proxy.sock\"\nmode = \"0660\"\ncallers = { uids = [1000] }",
            0o600,
            "uids",
        ),
        (
            "unix = \"proxy.sock\"\nmode = \"0660\"\ncallers = \"socket-mode\"",
            0o600,
            "socket_mode_0660",
        ),
        (
            "unix = \"proxy.sock\"\nmode = \"0666\"\ncallers = \"socket-mode\"",
            0o600,
            "socket_mode_0666",
        ),
        (
            "tcp = \"127.0.0.1:8480\"\ncallers = \"allow-any-local-process\"",
            0o600,
            "any_local_process",
        ),
        (
            "tcp = \"127.0.0.1:8480\"\ncallers = { token_file = \"caller-token\" }",
            0o640,
            "token_of_owner_and_group",
        ),
        (
            "tcp = \"127.0.0.1:8480\"\ncallers = { token_file = \"caller-token\" }",
            0o644,
            "token_world_readable",
        ),
        (
            "tcp = \"127.0.0.1:8480\"\ncallers = { token_file = \"caller-token\" }",
            0o620,
            "token_group_writable",
        ),
    ] {
        mode(&token_file, bits);
        bank.configure(|settings| settings.sections = listener(text));
        audit(&bank, &[]).golden(&format!("callers_{golden}"), &[]);
    }
}

/// A ledger in which somebody used the key for something else.
fn attempt(file: PathBuf, key: Fingerprint, purpose: &str, peer: Option<&str>) {
    let ledger = FileLedger::open(&long_files(file)).unwrap();
    let of = ledger
        .record(&Entry::Attempt(Attempt {
            purpose,
            key: "pkcs11:token=lfi;object=c3;type=private",
            spki: key,
            scheme: "rsa_pss_rsae_sha256",
            message: Fingerprint([9; 32]),
            peer,
            interaction_id: None,
            jti: None,
            audience: None,
            expires: None,
            process: Process::current(),
        }))
        .unwrap();
    ledger
        .record(&Entry::Outcome(Outcome {
            of,
            result: OutcomeResult::Good,
            class: None,
            ckr: None,
            function: None,
            spki: None,
            duration: std::time::Duration::from_millis(3),
        }))
        .unwrap();
}

/// A signer that was asked for what it does not sign.
fn refusal(file: PathBuf) {
    let ledger = FileLedger::open(&long_files(file)).unwrap();
    let refused = RefusedRequest {
        purpose: Some("tls13-client-auth"),
        why: "the message is no CertificateVerify",
        peer: None,
        interaction_id: None,
        left_out: 0,
        process: Process::current(),
    };
    ledger.record(&Entry::Refused(refused)).unwrap();
}

#[test]
fn what_the_ledger_tells_is_judged() {
    let mut bank = bank();
    bank.run(&["key", "generate"]).expect(0);
    let file = bank.path("ledger.jsonl");
    let good = fs::read(&file).unwrap();
    let report = bank.run(&["audit", "--json"]).expect(1).json();
    let key = report["subjects"][0]["keys"][0]["public_key"].clone();
    let key: Fingerprint = serde_json::from_value(key).unwrap();
    fs::write(&file, &good).unwrap();
    for (purpose, peer, golden) in [
        ("tls13-client-auth", Some("localhost:1"), "own_peer"),
        ("jwt", None, "unknown_purpose"),
        (
            "tls13-client-auth",
            Some("attacker.example:443"),
            "unknown_peer",
        ),
    ] {
        attempt(file.clone(), key, purpose, peer);
        audit(&bank, &[]).golden(&format!("ledger_{golden}"), &["ledger.purposes"]);
        fs::write(&file, &good).unwrap();
    }
    // What another key on the same record was used for is not this one's.
    attempt(file.clone(), Fingerprint([7; 32]), "jwt", None);
    audit(&bank, &[]).golden("ledger_of_another_key", &["ledger.purposes"]);
    fs::write(&file, &good).unwrap();
    refusal(file.clone());
    audit(&bank, &[]).golden("ledger_refusal", &["ledger.refusals"]);
    fs::write(&file, &good).unwrap();

    let tampered = String::from_utf8(good.clone()).unwrap();
    let tampered = tampered.replacen("\"result\":\"good\"", "\"result\":\"fine\"", 1);
    assert_ne!(tampered.as_bytes(), good);
    fs::write(&file, tampered).unwrap();
    audit(&bank, &[]).golden("ledger_tampered", &[]);
    fs::write(&file, &good).unwrap();

    let changes: [(&str, Change); 2] = [
        ("ledger_none", |settings| settings.sections = String::new()),
        ("ledger_without_head", |settings| {
            let (kept, _) = SECTIONS.split_once("head = ").unwrap();
            settings.sections = kept.to_owned();
        }),
    ];
    for (golden, change) in changes {
        bank.configure(change);
        audit(&bank, &[]).golden(golden, &[]);
    }
}
