//! `token check --load`: an operator measures the signatures of an HSM, and which of them it refuses.

use std::process::{Command, Stdio};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::poll::until;
use serde_json::Value;

fn bank() -> Bank {
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.configure(|settings| settings.token_lines = "sessions = 4".to_owned());
    bank
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap().iter();
    steps.into_iter().find(|step| step["name"] == name).unwrap()
}

#[test]
fn each_signature_is_counted_and_timed() {
    let mut bank = bank();
    let chaos = Chaos::between(&mut bank, "delay C_Sign 20ms");
    let arguments = ["token", "check", "--json", "-n", "1", "--load", "40"];
    let run = chaos.run(&bank, &[&arguments[..], &["--concurrency", "8"]].concat());
    let report = run.expect(0).json();
    let load = &report["load"];
    assert_eq!(load["signatures"], 40);
    assert_eq!(load["results"]["good"]["count"], 40, "{load:#}");
    let millis = |name: &str| load["results"]["good"][name].as_f64().unwrap();
    assert!(millis("min_ms") >= 20.0, "{load:#}");
    // Eight callers, four sessions: half of them wait for a whole signature more.
    assert!(millis("p50_ms") >= 35.0, "{load:#}");
    assert!(millis("min_ms") <= millis("p50_ms") && millis("p99_ms") <= millis("max_ms"));
    assert!(load["per_second"].as_f64().unwrap() <= 4.0 * 50.0);
    // The proof, one measured, and the load: nothing was signed twice.
    assert_eq!(chaos.calls("C_Sign"), 1 + 1 + 40);
}

#[test]
fn what_fails_is_shown_by_class_and_ends_with_the_tokens_exit_code() {
    let mut bank = bank();
    let chaos = Chaos::between(
        &mut bank,
        "fail C_SignInit 23.. CKR_KEY_FUNCTION_NOT_PERMITTED",
    );
    let arguments = ["token", "check", "-n", "1", "--load", "30"];
    let run = chaos.run(&bank, &arguments).expect(3);
    let row = |name: &str| {
        let line = run
            .stdout
            .lines()
            .find(|line| line.trim().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{run:?}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!((row("good "), row("refused ")), ("20".into(), "10".into()));
    assert!(run.stdout.contains("20 of 30 signed"), "{run:?}");
    assert!(
        run.stdout.contains("CKR_KEY_FUNCTION_NOT_PERMITTED"),
        "{run:?}"
    );
    assert!(run.stdout.contains("hint:"), "{run:?}");
}

/// A key that wants the PIN for each signature: a refusal ends the measurement, not the token.
#[test]
fn a_refused_pin_stops_it() {
    let mut bank = bank();
    let chaos = Chaos::between(
        &mut bank,
        "always-authenticate\nfail C_Login 4.. CKR_PIN_INCORRECT\nwithout CKF_USER_PIN_COUNT_LOW",
    );
    let arguments = ["token", "check", "--json", "-n", "1", "--load", "1000"];
    let report = chaos.run(&bank, &arguments).expect(4).json();
    // The login, the proof's, the measured one's, and the one that was refused.
    assert_eq!(chaos.calls("C_Login"), 4);
    let asked = report["load"]["asked"].as_u64().unwrap();
    assert!(asked < 100, "{asked}");
    assert_eq!(step(&report, "load")["outcome"], "bad");
}

#[test]
fn without_a_token_there_is_nothing_to_put_a_load_on() {
    let mut bank = bank();
    bank.configure(|settings| settings.token_uri = "pkcs11:token=other".to_owned());
    let arguments = ["token", "check", "--json", "--load", "10"];
    let report = bank.run(&arguments).expect(3).json();
    assert_eq!(step(&report, "load")["outcome"], "not-reached");
    assert!(report["load"].is_null());
    for wrong in [["--load", "0"], ["--concurrency", "4"], ["--load", "-1"]] {
        bank.run(&[&["token", "check"][..], &wrong].concat())
            .expect(2);
    }
}

#[test]
fn a_bar_has_room_and_a_rate_without_fractions() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, "delay C_Sign 5ms");
    let environment = chaos.environment();
    let variables = environment
        .iter()
        .map(|(name, value)| format!("{name}='{}'", value.display()));
    let variables = variables.collect::<Vec<_>>().join(" ");
    for columns in [40, 80] {
        let command = format!(
            "stty cols {columns} rows 50; exec env {variables} '{}' --config '{}' token check -n 1 --load 400",
            env!("CARGO_BIN_EXE_hsm-mtls"),
            bank.config_path().display()
        );
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let bars: Vec<_> = text
            .split(['\r', '\u{1b}'])
            .filter(|part| part.contains("/400"))
            .collect();
        assert!(!bars.is_empty(), "{text}");
        for bar in bars {
            let rate = bar
                .split_whitespace()
                .find(|word| word.ends_with("/s"))
                .unwrap();
            assert!(rate.trim_end_matches("/s").parse::<u64>().is_ok(), "{bar}");
            assert!(bar.contains("load [") && bar.contains(" left"), "{bar}");
        }
    }
}

/// Whoever measured for a minute, and has seen enough, sees what was measured.
#[test]
fn an_interrupted_load_shows_its_figures() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, "delay C_Sign 5ms");
    for json in [false, true] {
        chaos.forget_calls();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"));
        command.arg("--config").arg(bank.config_path());
        command.args(json.then_some("--json"));
        let child = command
            .args(["token", "check", "-n", "1", "--load", "1000000"])
            .envs(chaos.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("it is at work", || chaos.calls("C_Sign") > 40);
        let sent = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(130), "{shown}");
        if json {
            let report: Value = serde_json::from_str(&shown).unwrap();
            let load = &report["load"];
            assert_eq!(load["interrupted"], true);
            assert!(
                load["results"]["good"]["count"].as_u64().unwrap() >= 30,
                "{load}"
            );
            assert!(load["asked"].as_u64().unwrap() < 1_000_000, "{load}");
        } else {
            assert!(
                shown.contains("interrupted: ") && shown.contains(" of 1000000 signed"),
                "{shown}"
            );
            assert!(
                shown.lines().any(|line| line.trim().starts_with("good ")),
                "{shown}"
            );
        }
    }
}
