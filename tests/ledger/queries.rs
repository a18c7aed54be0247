//! `ledger show` with a filter that nothing can match, and a `[ledger]` section of few fields: what is missing is
//! said, because an empty answer reads as "the key was never used".

use std::fs;

use crate::common::bank::{Bank, Run};
use serde_json::Value;

/// What is said beside the result.
fn notes(run: &Run) -> String {
    let object: Value =
        serde_json::from_str(&run.stderr).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    object["notes"].to_string()
}

fn certified() -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses/ledger.jsonl\"\n".to_owned();
    });
    bank.certify("p-256");
    bank
}

#[test]
fn a_filter_that_nothing_can_match_is_reported() {
    let bank = certified();
    bank.run(&["ledger", "show", "--purpose", "proof"])
        .expect(0);
    for (question, said) in [
        (
            &["--purpose", "tls"][..],
            "[possible values: tls13-client-auth, tls12-client-auth, csr, proof, self-test, jwt]",
        ),
        (&["--purpose", ""], "[possible values: "),
        (
            &["--since", "2026-11-25", "--until", "2026-11-24"],
            "no record is of both",
        ),
        (
            &["--since", "2026-11-24T10", "--until", "2026-11-24T09"],
            "no record is of both",
        ),
        (&["--since", "2999-01-01"], "is in the future"),
        (&["--since", "2026-02-30"], "there is no such time"),
        (&["--until", "2026-11-24T25"], "there is no such time"),
        (&["--until", "yesterday"], "write a day as 2026-11-24"),
        (&["--until", "2020-01-01", "--follow"], "is over"),
        (&["--follow", "--counts"], "leave out one of them"),
    ] {
        let run = bank
            .run(&[&["ledger", "show"], question].concat())
            .expect(2);
        assert!(run.stderr.contains(said), "{question:?}: {run:?}");
    }
    for (question, said) in [
        (
            &["--purpose", "tls12-client-auth"][..],
            "records were looked at",
        ),
        (&["--peer", "elsewhere.example"], "none is for a peer"),
        (&["--until", "2020-01-01"], "no use of the key matches"),
        (
            &["--since", "2020-01-01", "--until", "2020-01-02", "--counts"],
            "no use of the key matches",
        ),
    ] {
        let run = bank
            .run(&[&["ledger", "show"], question].concat())
            .expect(0);
        assert!(
            run.stderr.contains(said) && run.stderr.starts_with("note:"),
            "{question:?}: {run:?}"
        );
        let run = bank
            .run(&[&["--json", "ledger", "show"], question].concat())
            .expect(0);
        assert!(notes(&run).contains(said), "{run:?}");
    }
    // The same day twice is that day.
    let today = fs::read_to_string(bank.path("uses/ledger.jsonl")).unwrap();
    let today: Value = serde_json::from_str(today.lines().next().unwrap()).unwrap();
    let today = &today["time"].as_str().unwrap()[..10];
    let run = bank
        .run(&["ledger", "show", "--since", today, "--until", today])
        .expect(0);
    assert!(!run.stdout.is_empty() && run.stderr.is_empty(), "{run:?}");
}

#[test]
fn a_ledger_is_named_by_its_file_alone_and_what_is_missing_is_said_as_it_is_written() {
    let mut bank = Bank::new();
    let whole = fs::read_to_string(bank.config_path()).unwrap();
    bank.configure(|settings| settings.sections = "[ledger]\nfile = \"uses.jsonl\"\n".to_owned());
    bank.run(&["config", "check"]).expect(0);
    for (section, said) in [
        (
            "[ledger]\n",
            "write file = \"/var/log/hsm-mtls/ledger.jsonl\"",
        ),
        (
            "[ledger]\nfsync = \"each\"\n",
            "write file = \"/var/log/hsm-mtls/ledger.jsonl\"",
        ),
        (
            "[ledger]\nfile = \"l\"\nfsync = \"always\"\n",
            "`fsync` is \"interval\"",
        ),
        (
            "[ledger]\nfile = \"l\"\nfsync = true\n",
            "`fsync` is \"interval\"",
        ),
    ] {
        bank.configure(|settings| settings.sections = section.to_owned());
        let run = bank.run(&["config", "check"]).expect(2);
        assert!(run.stderr.contains(said), "{section}: {run:?}");
    }
    for field in [
        "environment",
        "lfi_code",
        "module",
        "uri",
        "pin",
        "key",
        "certificate",
        "mode",
        "anchors",
        "organization",
        "organizational_unit",
        "common_name",
    ] {
        let kept = whole
            .lines()
            .filter(|line| !line.starts_with(&format!("{field} = ")));
        bank.write("bank.toml", &kept.collect::<Vec<_>>().join("\n"));
        let run = bank.run(&["config", "check"]).expect(2);
        let (missing, written) = (
            format!("missing field `{field}`"),
            format!("hint:  write {field} = "),
        );
        let told = run.stderr.contains(&missing) && run.stderr.contains(&written);
        assert!(told, "{field}: {run:?}");
    }
}
