//! `status`: the states of certificates, CAs, lists and the key set, the exit codes of monitoring plugins, and the report's schema.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::common::bank::{BINARY, Bank, Run};
use crate::common::json_schema::validate;
use crate::common::published_keys::bank_with_sig4;
use crate::common::trust_framework::{Kind, TrustFramework};

const SCHEMA: &str = "status.schema.json";
pub(super) const WEEK: Duration = Duration::days(7);

/// The report, held against the schema.
pub(super) fn checked(bank: &Bank, run: &Run) -> Value {
    let valid = validate(bank, SCHEMA, "status.json", &run.stdout);
    assert!(valid.status.success(), "{valid:?}\n{}", run.stdout);
    run.json()
}

/// Runs `status --json`, which has to end with this code.
pub(super) fn status(bank: &Bank, arguments: &[&str], code: i32) -> Value {
    let run = bank.run(&[&["status", "--json"], arguments].concat());
    let report = checked(bank, &run);
    assert_eq!(run.code, code, "{report:#}");
    report
}

/// The first item of this name in the first environment: its state and its text.
pub(super) fn item<'a>(report: &'a Value, about: &str) -> (&'a str, &'a str) {
    item_of(&report["environments"][0], about)
}

pub(super) fn item_of<'a>(environment: &'a Value, about: &str) -> (&'a str, &'a str) {
    let items = environment["items"].as_array().unwrap();
    let found = items.iter().find(|item| item["about"] == about);
    let found = found.unwrap_or_else(|| panic!("no {about}: {environment:#}"));
    (
        found["state"].as_str().unwrap(),
        found["text"].as_str().unwrap(),
    )
}

/// The first thing to do, of those with this text.
pub(super) fn next<'a>(report: &'a Value, text: &str) -> &'a Value {
    let next = report["environments"][0]["next"].as_array().unwrap();
    let mut with_text = next
        .iter()
        .filter(|next| next["text"].as_str().unwrap().contains(text));
    with_text
        .next()
        .unwrap_or_else(|| panic!("no {text:?}: {report:#}"))
}

/// A bank whose C3 certificate ends after this time.
pub(super) fn bank_until(left: Duration) -> Bank {
    let bank = Bank::new();
    bank.certify("p-256");
    let leaf = bank.framework.issue_client_with(&bank.csr(), |params| {
        params.not_before = OffsetDateTime::now_utc() - Duration::days(300);
        params.not_after = OffsetDateTime::now_utc() + left;
    });
    bank.write("c3.pem", &(leaf + &bank.framework.issuing_pem()));
    bank
}

#[test]
fn the_days_that_are_left_decide_by_two_thresholds() {
    const MINUTE: Duration = Duration::MINUTE;
    let bank = bank_until(Duration::days(43) + MINUTE);
    let report = status(&bank, &[], 1);
    let (state, text) = item(&report, "c3.certificate");
    assert_eq!(
        (state, report["state"].as_str()),
        ("warning", Some("warning"))
    );
    assert!(text.starts_with("43 days left, until 2"), "{text}");
    let rotate = next(&report, "rotate C3");
    assert_eq!(rotate["command"], "hsm-mtls rotate start");
    assert_eq!(rotate["days_left"], 43);
    assert!(text.contains(rotate["by"].as_str().unwrap()), "{text}");
    assert!(
        report["summary"]
            .as_str()
            .unwrap()
            .starts_with("preprod: c3.certificate: 43 days left")
    );
    // Fewer than: a threshold of as many days is none yet.
    status(&bank, &["--warn", "43d"], 0);
    status(&bank, &["--warn", "44d"], 1);
    status(&bank, &["--crit", "43d"], 1);
    status(&bank, &["--crit", "44d"], 2);

    let bank = bank_until(Duration::days(12));
    assert_eq!(item(&status(&bank, &[], 2), "c3.certificate").0, "critical");
    let bank = bank_until(-Duration::days(2));
    let report = status(&bank, &["--warn", "0d", "--crit", "0d"], 2);
    let (state, text) = item(&report, "c3.certificate");
    assert!(state == "critical" && text.starts_with("ended "), "{text}");
    // A year is none to worry about, and nobody has anything to do before its end.
    let bank = Bank::new();
    bank.certify("p-256");
    let report = status(&bank, &[], 0);
    assert_eq!(report["state"], "ok");
    assert!(
        report["summary"]
            .as_str()
            .unwrap()
            .starts_with("preprod: c3 39")
    );
    assert_eq!(
        report["environments"][0]["next"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_certificate_that_is_not_there_or_has_no_chain_is_critical() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let report = status(&bank, &[], 2);
    assert!(
        item(&report, "c3.certificate").1.contains("c3.pem"),
        "{report:#}"
    );
    assert_eq!(next(&report, "install")["command"], "hsm-mtls cert install");
    let other = TrustFramework::of_generation(Kind::Sandbox, 2);
    bank.write("c3.pem", &other.issue_client(&bank.csr()));
    let report = status(&bank, &[], 2);
    let (state, text) = item(&report, "c3.chain");
    assert!(state == "critical" && text.contains("G2"), "{text}");
    assert_eq!(
        report["environments"][0]["pairs"][0]["chain"]["complete"],
        false
    );
    // Anchors of nobody: the rest is shown all the same.
    bank.configure(|settings| settings.trust_lines = format!("pins = [\"{}\"]", "0".repeat(64)));
    let report = status(&bank, &[], 2);
    assert_eq!(item(&report, "anchor").0, "critical");
    assert_eq!(item(&report, "token").0, "ok");
}

#[test]
fn both_pairs_are_shown_and_a_kid_that_is_not_ours_is_critical() {
    let bank = bank_with_sig4("kid = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"");
    let report = status(&bank, &[], 2);
    let roles: Vec<_> = report["environments"][0]["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| &pair["role"])
        .collect();
    assert_eq!(roles, ["c3", "sig4"]);
    assert_eq!(item(&report, "sig4.kid").0, "critical");
    assert_eq!(
        next(&report, "rotate Sig4")["command"],
        "hsm-mtls rotate start --sig4"
    );
}

#[test]
fn several_environments_are_several_blocks_and_one_that_cannot_be_read_is_one_of_them() {
    let preprod = bank_until(Duration::days(43));
    let production = Bank::of(Kind::Production);
    production.certify("p-256");
    let files = [&preprod, &production].map(|bank| bank.config_path().display().to_string());
    let report = status(&preprod, &[&files[0], &files[1]], 1);
    let environments = report["environments"].as_array().unwrap();
    let states: Vec<_> = environments
        .iter()
        .map(|one| (&one["environment"], &one["state"]))
        .collect();
    assert_eq!(
        states,
        [
            (&json!("preprod"), &json!("warning")),
            (&json!("production"), &json!("ok"))
        ]
    );
    for environment in environments {
        assert_eq!(item_of(environment, "token").0, "ok", "{environment:#}");
    }
    // The thresholds are for each.
    status(
        &preprod,
        &["--warn", "10d", "--crit", "5d", &files[0], &files[1]],
        0,
    );
    let text = preprod
        .run(&["status", &files[0], &files[1]])
        .expect(1)
        .stdout;
    assert!(
        text.contains("\npreprod (") && text.contains("\nproduction ("),
        "{text}"
    );

    let wrong = preprod
        .write("wrong.toml", "environment = \"elsewhere\"\n")
        .display()
        .to_string();
    let report = status(&preprod, &[&wrong, &files[1]], 3);
    assert_eq!(report["environments"][0]["environment"], Value::Null);
    assert_eq!(item(&report, "configuration").0, "unknown");
    assert_eq!(
        item_of(&report["environments"][1], "c3.certificate").0,
        "ok"
    );
    // What is known to be wrong comes before what is not known.
    status(&preprod, &[&wrong, &files[0]], 1);
}

/// Runs the command without a configuration of its own.
fn bare(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(BINARY.unwrap())
        .args(arguments)
        .env_remove("HSM_MTLS_CONFIG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// 2 would be an outage to a monitor.
#[test]
fn what_cannot_be_used_is_unknown_and_not_critical() {
    let bank = Bank::new();
    let config = bank.config_path();
    let config = config.to_str().unwrap();
    for arguments in [
        &["status"][..],
        &["status", "--warn", "60"],
        &["status", "--nonsense"],
        &["--config", config, "status", "--warn", "1d", "--crit", "2d"],
        &["--config", config, "status", "--brief", "--json"],
        &["--json", "status", "--crit", "soon"],
    ] {
        let (code, stdout, stderr) = bare(arguments);
        assert!(
            code == 3 && stdout.is_empty() && !stderr.is_empty(),
            "{arguments:?}: {code} {stdout} {stderr}"
        );
    }
    let (_, _, stderr) = bare(&["--json", "status", "--crit", "soon"]);
    assert_eq!(serde_json::from_str::<Value>(&stderr).unwrap()["exit"], 3);
    // The other commands have codes of their own.
    assert_eq!(bare(&["rotate", "status", "--nonsense"]).0, 2);
    assert_eq!(bare(&["trust", "show"]).0, 2);

    let (code, stdout, _) = bare(&["--config", "/nowhere/at.toml", "status"]);
    assert!(
        code == 3 && stdout.starts_with("hsm-mtls UNKNOWN: /nowhere/at.toml: configuration: "),
        "{stdout}"
    );
    let report = bank.run(&["status", "--json", "/nowhere/at.toml"]);
    assert_eq!(report.code, 3);
    assert_eq!(checked(&bank, &report)["state"], "unknown");
    // A result that nobody gets.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(BINARY.unwrap());
    command.args(["--config", config, "status"]).stdout(full);
    assert_eq!(command.output().unwrap().status.code(), Some(3));
    // Whoever else may write the file chooses the module.
    fs::set_permissions(bank.config_path(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(item(&status(&bank, &[], 3), "configuration").0, "unknown");
}
