//! A module that hangs before the first signature: an error in time that names the step, from command and library.

use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

/// Where it hangs, the step of `token check` that fails, what is said.
const HANGS: [(&str, &str, &str); 5] = [
    (
        "C_Initialize 1",
        "module",
        "loading the module (C_Initialize)",
    ),
    (
        "C_GetSlotList 1",
        "token",
        "the search for the token (C_GetSlotList, C_GetTokenInfo)",
    ),
    (
        "C_OpenSession 1",
        "login",
        "the opening of a session (C_OpenSession)",
    ),
    ("C_Login 1", "login", "the login (C_Login)"),
    (
        "C_FindObjectsInit 1",
        "key",
        "the search for the key (C_FindObjects)",
    ),
];

fn bank(lines: &str) -> Bank {
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.configure(|settings| settings.token_lines = lines.to_owned());
    bank
}

#[test]
fn each_step_has_a_deadline_and_is_named() {
    let mut bank = bank("start_timeout = \"1s\"");
    let chaos = Chaos::between(&mut bank, "");
    for (call, step, said) in HANGS {
        // A login that hung is on record, and held back for a while.
        let _ = std::fs::remove_dir_all(bank.path("state"));
        chaos.plan(&format!("hang {call}"));
        let code = if call == "C_Login 1" { 4 } else { 3 };
        let started = Instant::now();
        let run = chaos.run(&bank, &["token", "check", "--json"]).expect(code);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{call}: {took:?}");
        let report = run.json();
        let steps = report["steps"].as_array().unwrap();
        let failed: Vec<_> = steps
            .iter()
            .filter(|step| step["outcome"] == "bad")
            .collect();
        assert_eq!(failed.len(), 1, "{report:#}");
        assert_eq!(failed[0]["name"], step, "{call}");
        let expected = format!("{said} did not come to an end within 1 s");
        assert_eq!(failed[0]["detail"], expected.as_str(), "{call}");
        assert!(
            failed[0]["hint"]
                .as_str()
                .unwrap()
                .contains("start_timeout")
        );
        // Other commands end the same way.
        let _ = std::fs::remove_dir_all(bank.path("state"));
        let run = chaos.run(&bank, &["verify"]).expect(code);
        assert!(
            run.stdout.contains(&expected) || run.stderr.contains(&expected),
            "{run:?}"
        );
    }
}

/// Logins that hang may each have cost a try: they are on record, and the PIN is not sent each time
/// that a restart policy starts the program.
#[test]
fn logins_that_hang_are_on_record() {
    let mut bank = bank("start_timeout = \"1s\"");
    let chaos = Chaos::between(&mut bank, "hang C_Login 1");
    let held_back = (0..8).any(|_| {
        let run = chaos.run(&bank, &["key", "list"]);
        run.stderr.contains("no PIN was sent")
    });
    assert!(held_back);
    // Each later start has to wait longer; after six, for a person.
    let sent = chaos.calls("C_Login");
    assert!((2..=6).contains(&sent), "{sent} logins");
}

#[test]
fn an_application_continues_after_a_start_that_hangs() {
    let Some(config) = config_of_child() else {
        let mut bank = bank("start_timeout = \"1s\"");
        let chaos = Chaos::between(&mut bank, "hang C_FindObjectsInit 1");
        chaos.run_test(
            &bank,
            an_application_continues_after_a_start_that_hangs,
            &[],
        );
        return;
    };
    let error = Identity::open(&config, Attendance::Unattended).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the search for the key (C_FindObjects) did not"),
        "{error}"
    );
    // The thread that hangs is inside for ever; who comes next is not kept out.
    Chaos::of_child().plan("");
    Identity::open(&config, Attendance::Unattended).unwrap();
}
