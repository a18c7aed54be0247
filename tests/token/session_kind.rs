//! Modules that have no read-only sessions, or do not sign in them, and what `session` of `[[token]]` says about it.

use crate::common::chaos::Chaos;
use crate::common::ledger_records::records;
use serde_json::Value;

#[test]
fn a_module_without_read_only_sessions_does_everything() {
    for plan in [
        "read-only-sessions not-opened CKR_FUNCTION_FAILED",
        "read-only-sessions sign-not CKR_SESSION_READ_ONLY",
    ] {
        let (bank, chaos, _hub) = Chaos::certified(plan);
        for command in [
            &["token", "check", "-n", "5"][..],
            &["key", "list"],
            &["csr"],
            &["verify"],
            &["request", "GET", "cm:/consents/1"],
        ] {
            chaos.run(&bank, command).expect(0);
        }
        chaos.forget_calls();
        chaos.run(&bank, &["csr"]).expect(0);
        assert_eq!(chaos.calls("C_Login"), 1, "{plan}");
    }
}

#[test]
fn what_is_configured_is_not_changed() {
    let (mut bank, chaos, _hub) =
        Chaos::certified("read-only-sessions not-opened CKR_FUNCTION_FAILED");
    bank.configure(|settings| settings.token_lines = "session = \"read-only\"".to_owned());
    chaos.run(&bank, &["csr"]).expect(3);
    bank.configure(|settings| settings.token_lines = "session = \"read-write\"".to_owned());
    chaos.forget_calls();
    chaos.run(&bank, &["csr"]).expect(0);
    let opened = chaos.calls("C_OpenSession");
    bank.configure(|settings| settings.token_lines = "session = \"auto\"".to_owned());
    chaos.forget_calls();
    chaos.run(&bank, &["csr"]).expect(0);
    assert!(
        chaos.calls("C_OpenSession") > opened,
        "auto tries read-only first"
    );
}

/// A fault of the moment makes no session read-write for good.
#[test]
fn one_refusal_teaches_nothing() {
    let (bank, chaos, _hub) = Chaos::certified("fail C_OpenSession 1 CKR_FUNCTION_FAILED");
    let run = chaos.run(&bank, &["-v", "csr"]).expect(0);
    assert!(!run.stderr.contains("read-write ones are used"), "{run:?}");
    chaos.plan("read-only-sessions not-opened CKR_FUNCTION_FAILED");
    let run = chaos.run(&bank, &["-v", "csr"]).expect(0);
    assert!(run.stderr.contains("read-write ones are used"), "{run:?}");
}

/// The attempt that was made in a read-only session failed, and the ledger says by which return value.
#[test]
fn a_signature_that_is_refused_as_read_only_is_on_record_with_its_return_value() {
    let (mut bank, chaos, _hub) =
        Chaos::certified("read-only-sessions sign-not CKR_SESSION_READ_ONLY");
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\n".to_owned();
    });
    chaos.run(&bank, &["token", "check", "-n", "3"]).expect(0);
    let all = records(&bank.path("ledger.jsonl"));
    let failed: Vec<&Value> = all
        .iter()
        .filter(|record| record["class"] == "session")
        .collect();
    assert!(!failed.is_empty(), "{all:#?}");
    for record in failed {
        assert_eq!(
            (&record["ckr"], &record["function"]),
            (&"CKR_SESSION_READ_ONLY".into(), &"C_SignInit".into()),
            "{record:#}"
        );
    }
}
