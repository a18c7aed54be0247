//! The audit's probes as the module sees them: a module that lies is found out, nothing is changed or fetched, and
//! every object made with `--active` is a session object and is destroyed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::bank::{Bank, Run, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::pkcs11_spy;
use crate::common::softhsm::{MODULE, PIN, SoftHsm};
use crate::common::token_objects;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use serde_json::Value;

/// Calls that make, change or destroy something.
const CHANGES: [&str; 10] = [
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_SetAttributeValue",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_UnwrapKey",
    "C_DeriveKey",
    "C_InitToken",
    "C_SetPIN",
];

fn pkcs11_tool(token: &SoftHsm, arguments: &[&str]) {
    let output = Command::new("pkcs11-tool")
        .args(["--module", MODULE, "--token-label", token.label()])
        .args(["--login", "--pin", PIN])
        .args(arguments)
        .env("SOFTHSM2_CONF", token.conf())
        .output()
        .expect("pkcs11-tool: install `opensc` (make test does)");
    assert!(output.status.success(), "{output:?}");
}

/// A key that can be read and wrapped, and a key to wrap it with.
fn leaky() -> Bank {
    let bank = Bank::new();
    bank.run_test(a_key_that_leaks_is_made, &[]);
    bank
}

#[test]
fn a_key_that_leaks_is_made() {
    if config_of_child().is_none() {
        let bank = leaky();
        let listed = bank.run(&["key", "list", "--json"]).expect(0).json();
        assert_eq!(listed["keys"][0]["attributes"]["extractable"], true);
        return;
    }
    let session = token_objects::session();
    let names = [Attribute::Token(true), Attribute::Label(b"c3".to_vec())];
    let public = [&names[..], &[Attribute::ModulusBits(2048.into())]].concat();
    let leaks = [
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let private = [&names[..], &leaks].concat();
    session
        .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)
        .unwrap();
    let wrapper = [
        Attribute::Token(true),
        Attribute::Label(b"wrapper".to_vec()),
        Attribute::Wrap(true),
        Attribute::ValueLen(32.into()),
    ];
    session
        .generate_key(&Mechanism::AesKeyGen, &wrapper)
        .unwrap();
}

fn judged<'a>(report: &'a Value, rule: &str) -> &'a Value {
    let made = report["subjects"][0]["judgements"].as_array().unwrap();
    made.iter()
        .find(|made| made["rule"] == rule)
        .expect("each rule is judged")
}

fn evidence(report: &Value, rule: &str) -> String {
    let evidence = judged(report, rule)["evidence"].as_array().unwrap();
    let all: Vec<_> = evidence.iter().filter_map(Value::as_str).collect();
    all.join("; ")
}

fn answer(run: &Run) -> String {
    let report = run.json();
    report["subjects"][0]["answer"]["can_leave"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_module_that_lies_is_found_out() {
    let mut bank = leaky();
    let lies = [
        "claim CKA_SENSITIVE true",
        "claim CKA_ALWAYS_SENSITIVE true",
        "claim CKA_EXTRACTABLE false",
        "claim CKA_NEVER_EXTRACTABLE true",
    ];
    let chaos = Chaos::between(&mut bank, &lies.join("\n"));
    let run = chaos.run(&bank, &["audit", "--json"]).expect(1);
    let report = run.json();
    for rule in ["key.sensitive", "key.extractable", "key.never-extractable"] {
        assert_eq!(judged(&report, rule)["verdict"], "claimed", "{rule}");
    }
    for rule in ["key.readable", "key.wrappable"] {
        assert_eq!(judged(&report, rule)["verdict"], "violated", "{rule}");
        assert_eq!(judged(&report, rule)["severity"], "critical", "{rule}");
        let evidence = evidence(&report, rule);
        assert!(evidence.contains("claimed yes, tried no"), "{evidence}");
    }
    assert!(evidence(&report, "key.readable").contains("CKA_PRIVATE_EXPONENT"));
    assert!(evidence(&report, "key.wrappable").contains("bytes was answered"));
    assert_eq!(answer(&run), "yes");

    // Without the lies the same trials say the same, and the claims agree with them.
    chaos.plan("");
    let report = chaos.run(&bank, &["audit", "--json"]).expect(1).json();
    for rule in [
        "key.sensitive",
        "key.extractable",
        "key.readable",
        "key.wrappable",
    ] {
        assert_eq!(judged(&report, rule)["verdict"], "violated", "{rule}");
    }
    let evidence = evidence(&report, "key.readable");
    assert!(
        evidence.ends_with("the module claims CKA_SENSITIVE false"),
        "{evidence}"
    );
}

#[test]
fn a_key_that_is_made_as_it_should_be_is_refused_everything() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let wrapper = [
        "--keygen",
        "--key-type",
        "AES:32",
        "--label",
        "wrapper",
        "--usage-wrap",
    ];
    pkcs11_tool(&bank.token, &wrapper);
    let report = bank.run(&["audit", "--active", "--json"]).expect(1).json();
    for rule in [
        "key.readable",
        "key.wrappable",
        "key.hidden",
        "key.copy-tried",
        "key.change-tried",
        "key.wrap-tried",
    ] {
        let made = judged(&report, rule);
        assert_eq!(made["verdict"], "tried-and-refused", "{made}");
    }
}

/// The objects of the token. What a login writes into its own record is none.
fn objects(bank: &Bank) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = bank.token.files();
    files.retain(|(path, _)| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".object") && name != "token.object"
    });
    files.sort();
    files
}

fn under_spy(bank: &mut Bank, arguments: &[&str]) -> String {
    bank.configure(|settings| settings.module = pkcs11_spy::module());
    let log = bank.path("spy.log");
    let environment: [(&str, &Path); 2] =
        [("PKCS11SPY", MODULE.as_ref()), ("PKCS11SPY_OUTPUT", &log)];
    bank.run_with(arguments, &environment).expect(1);
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(log).unwrap();
    bank.configure(|settings| settings.module = MODULE.into());
    text
}

/// Lines of the log that tell of an attribute, each with whether bytes came with it.
fn told<'a>(log: &'a str, attribute: &str) -> Vec<&'a str> {
    let lines = log.lines().map(str::trim);
    lines
        .filter(|line| line.split_whitespace().next() == Some(attribute))
        .collect()
}

#[test]
fn without_active_nothing_is_changed_and_nothing_is_fetched() {
    // Of a key that would be given out: what a good key refuses anyway would show nothing.
    let mut bank = leaky();
    let before = objects(&bank);
    let log = under_spy(&mut bank, &["audit", "--json"]);
    for call in CHANGES {
        assert_eq!(pkcs11_spy::count(&log, call), 0, "{call} was called");
    }
    assert!(before == objects(&bank), "the token is not as it was");
    assert!(
        pkcs11_spy::count(&log, "C_WrapKey") > 0,
        "the trial was made"
    );
    // Each trial has no place for an answer, and got a length only.
    for component in pkcs11_spy::PRIVATE_COMPONENTS {
        let told = told(&log, component);
        assert!(!told.is_empty(), "{component} was not asked for");
        for line in told {
            // Asked: `CKA_PRIME_1  0000000000000000 / 0`; answered: `... / 128`, and no bytes.
            assert!(line.contains("0000000000000000 / "), "{component}: {line}");
        }
    }
    let wraps = log.split("C_WrapKey").skip(1);
    for wrap in wraps {
        let call: Vec<_> = wrap
            .lines()
            .take_while(|line| !line.starts_with("Returned"))
            .collect();
        let out = call.iter().skip_while(|line| !line.contains("[out]"));
        let bytes = out.filter(|line| line.starts_with("    0000"));
        assert_eq!(bytes.count(), 0, "a wrapped key was returned: {call:?}");
    }
}

#[test]
fn with_active_every_object_is_a_session_object_and_gone_after() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let before = objects(&bank);
    let log = under_spy(&mut bank, &["audit", "--active", "--json"]);
    assert_eq!(pkcs11_spy::count(&log, "C_GenerateKeyPair"), 1);
    assert_eq!(pkcs11_spy::count(&log, "C_GenerateKey"), 1);
    // The copies were refused: what was made is a pair and a wrapping key.
    assert_eq!(pkcs11_spy::count(&log, "C_CopyObject"), 2);
    assert_eq!(pkcs11_spy::count(&log, "C_DestroyObject"), 3);
    assert_eq!(pkcs11_spy::count(&log, "C_CreateObject"), 0);
    let made = ["C_GenerateKeyPair", "C_GenerateKey", "C_CopyObject"];
    let mut templates = 0;
    for (number, line) in log.lines().enumerate() {
        if pkcs11_spy::call(line).is_some_and(|call| made.contains(&call)) {
            let rest = log.lines().skip(number + 1);
            let call = rest.take_while(|line| pkcs11_spy::call(line).is_none());
            let token: Vec<_> = call
                .filter(|line| line.trim().starts_with("CKA_TOKEN"))
                .collect();
            assert!(!token.is_empty(), "CKA_TOKEN is said: {line}");
            assert!(
                token.iter().all(|line| line.trim().ends_with("False")),
                "{token:?}"
            );
            templates += token.len();
        }
    }
    // Two of the pair, one of the wrapping key, two of the copies.
    assert_eq!(templates, 5);
    assert!(before == objects(&bank), "the token is not as it was");
}

#[test]
fn what_was_made_for_trials_is_on_record() {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger/uses.jsonl\"\nfsync = \"each\"\n".to_owned();
    });
    bank.run(&["key", "generate"]).expect(0);
    bank.run(&["audit", "--active", "--json"]).expect(1);
    let text = fs::read_to_string(bank.path("ledger/uses.jsonl")).unwrap();
    let kinds: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record.to_string().contains("session key of an audit"))
        .map(|record| record["kind"].as_str().unwrap().to_owned())
        .collect();
    // CKA_EXTRACTABLE and CKA_SENSITIVE, both in vain.
    assert_eq!(
        kinds,
        [
            "key-generation",
            "key-change",
            "key-change",
            "key-destruction"
        ]
    );
}
