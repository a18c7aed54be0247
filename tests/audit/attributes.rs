//! What the audit reports of a key, attribute by attribute, beside what two other programs read of the
//! same key: OpenSC's pkcs11-tool and GnuTLS' p11tool.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use crate::common::bank::Bank;
use crate::common::softhsm::{MODULE, PIN};
use serde_json::Value;

/// The attributes that pkcs11-tool tells of a private key, and its word for each.
const PKCS11_TOOL: [(&str, &str); 9] = [
    ("CKA_SENSITIVE", "sensitive"),
    ("CKA_ALWAYS_SENSITIVE", "always sensitive"),
    ("CKA_EXTRACTABLE", "extractable"),
    ("CKA_NEVER_EXTRACTABLE", "never extractable"),
    ("CKA_LOCAL", "local"),
    ("CKA_SIGN", "sign"),
    ("CKA_DECRYPT", "decrypt"),
    ("CKA_UNWRAP", "unwrap"),
    ("CKA_DERIVE", "derive"),
];

/// The same of p11tool, which says the names.
const P11TOOL: [&str; 4] = [
    "CKA_PRIVATE",
    "CKA_SENSITIVE",
    "CKA_EXTRACTABLE",
    "CKA_NEVER_EXTRACTABLE",
];

fn pkcs11_tool(bank: &Bank, arguments: &[&str]) -> String {
    let output = Command::new("pkcs11-tool")
        .args(["--module", MODULE, "--token-label", bank.token.label()])
        .args(["--login", "--pin", PIN])
        .args(arguments)
        .env("SOFTHSM2_CONF", bank.token.conf())
        .output();
    text(output.expect("pkcs11-tool: install `opensc` (make test does)"))
}

fn p11tool(bank: &Bank, label: &str) -> String {
    let uri = format!(
        "pkcs11:token={};object={label};type=private",
        bank.token.label()
    );
    let output = Command::new("p11tool")
        .args(["--provider", MODULE, "--login", "--info", &uri])
        .env("SOFTHSM2_CONF", bank.token.conf())
        .env("GNUTLS_PIN", PIN)
        .output();
    text(output.expect("p11tool: install `gnutls-bin` (make test does)"))
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the audit says that the module claims.
fn claims(bank: &mut Bank, label: &str) -> BTreeSet<String> {
    bank.configure(|settings| settings.key = format!("pkcs11:object={label};type=private"));
    let report = bank.run(&["audit", "--json"]).expect(1).json();
    let facts = report["subjects"][0]["facts"].as_array().unwrap();
    let about = |facts: &&Value| facts["about"] == "The key, as the module claims it";
    let facts = facts.iter().find(about).unwrap();
    let rows = facts["rows"].as_array().unwrap();
    assert!(rows.len() > 20, "{rows:?}");
    let set = rows.iter().filter(|row| row[1] == "true");
    set.map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

/// The words behind `Usage:` and `Access:` of the private key with this label.
fn words(listed: &str, label: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut ours = false;
    for line in listed.lines().map(str::trim) {
        if let Some(found) = line.strip_prefix("label:") {
            ours = found.trim() == label;
        }
        let said = line
            .strip_prefix("Usage:")
            .or_else(|| line.strip_prefix("Access:"));
        if let (true, Some(said)) = (ours, said) {
            words.extend(said.split(',').map(|word| word.trim().to_owned()));
        }
    }
    assert!(!words.is_empty(), "{listed}");
    words
}

#[test]
fn two_other_programs_read_the_same() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--label", "ours"]).expect(0);
    let rsa = ["--keypairgen", "--key-type", "rsa:2048"];
    let made = [
        ("plain", &rsa[..], &[][..]),
        (
            "loose",
            &rsa,
            &["--extractable", "--usage-decrypt", "--usage-sign"],
        ),
        (
            "curve",
            &["--keypairgen", "--key-type", "EC:prime256v1"],
            &["--usage-derive"],
        ),
    ];
    for (label, kind, more) in made {
        pkcs11_tool(&bank, &[kind, &["--label", label], more].concat());
    }
    let listed = pkcs11_tool(&bank, &["--list-objects", "--type", "privkey"]);
    let mut seen: BTreeSet<(&str, bool)> = BTreeSet::new();
    for label in ["ours", "plain", "loose", "curve"] {
        let claims = claims(&mut bank, label);
        let words = words(&listed, label);
        for (attribute, word) in PKCS11_TOOL {
            let ours = claims.contains(attribute);
            assert_eq!(ours, words.contains(word), "{label} {attribute}: {words:?}");
            seen.insert((attribute, ours));
        }
        let said = p11tool(&bank, label);
        let flags = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("Flags:"));
        let flags: BTreeSet<_> = flags.unwrap().split(';').map(str::trim).collect();
        for attribute in P11TOOL {
            let ours = claims.contains(attribute);
            assert_eq!(
                ours,
                flags.contains(attribute),
                "{label} {attribute}: {flags:?}"
            );
        }
    }
    // Each was seen both ways, where it can be: a comparison of what never differs shows little.
    for attribute in [
        "CKA_EXTRACTABLE",
        "CKA_NEVER_EXTRACTABLE",
        "CKA_DECRYPT",
        "CKA_DERIVE",
    ] {
        assert!(
            seen.contains(&(attribute, true)),
            "{attribute} was never set"
        );
        assert!(
            seen.contains(&(attribute, false)),
            "{attribute} was always set"
        );
    }
}
