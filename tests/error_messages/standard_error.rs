//! Standard error holds one JSON object or nothing with `--json`; for people it holds each failure once.

use std::process::{Command, Stdio};

use crate::common::bank::{BINARY, Bank, Run};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use serde_json::Value;

/// The one object; none where nothing was said.
fn object(run: &Run) -> Option<Value> {
    match run.stderr.trim() {
        "" => None,
        text => {
            let object: Value = serde_json::from_str(text)
                .unwrap_or_else(|error| panic!("no single object: {error}: {run:?}"));
            assert!(object.is_object() && object["schema"] == 0, "{object}");
            Some(object)
        }
    }
}

fn certified() -> Bank {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses/ledger.jsonl\"\n".to_owned();
    });
    bank.certify("p-256");
    bank
}

/// Every command, with what its configuration is made to lack.
#[test]
fn with_json_a_failure_is_one_object_whatever_was_logged() {
    let mut bank = certified();
    let commands: [&[&str]; 9] = [
        &["key", "list"],
        &["key", "generate"],
        &["csr"],
        &["cert", "install", "issued.pem"],
        &["verify"],
        &["request", "GET", "cm:/consents/1"],
        &["ledger", "verify"],
        &["config", "check", "none.toml"],
        &["audit", "bank.toml", "none.toml"],
    ];
    bank.configure(|settings| {
        settings.token_uri = "pkcs11:token=nowhere".to_owned();
        settings.sections = String::new();
    });
    for command in commands {
        for format in [
            &[][..],
            &["--log-format", "text"],
            &["--log-format", "json"],
        ] {
            let arguments = [&["--json"], format, command].concat();
            let run = bank.run(&arguments);
            let object = object(&run).unwrap_or_else(|| panic!("{arguments:?}: {run:?}"));
            assert_eq!(object["exit"], run.code, "{arguments:?}: {object}");
            assert!(
                object["error"].is_string() && object["hint"].is_string(),
                "{object}"
            );
        }
    }
}

/// The signer process and the engine log what they could not do: the command ends with the same.
#[test]
fn a_failure_is_said_once() {
    let mut bank = certified();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let chaos = Chaos::between(
        &mut bank,
        "fail C_SignInit 1.. CKR_KEY_FUNCTION_NOT_PERMITTED",
    );
    let told = "CKR_KEY_FUNCTION_NOT_PERMITTED";
    for command in [
        &["request", "GET", "cm:/consents/1"][..],
        &["verify"],
        &["csr"],
    ] {
        let run = chaos.run(&bank, command).expect(3);
        assert_eq!(
            run.stderr.matches(told).count(),
            1,
            "{command:?}: {}",
            run.stderr
        );
        assert!(
            run.stderr.starts_with("error: "),
            "{command:?}: {}",
            run.stderr
        );
        let run = chaos.run(&bank, &[&["--json"], command].concat()).expect(3);
        assert!(
            object(&run).unwrap()["error"]
                .as_str()
                .unwrap()
                .contains(told),
            "{run:?}"
        );
        // Whoever asks for logs has them.
        let run = chaos.run(&bank, &[&["-v"], command].concat()).expect(3);
        assert!(
            run.stderr.matches(told).count() > 1,
            "{command:?}: {}",
            run.stderr
        );
    }
}

#[test]
fn a_command_line_that_cannot_be_understood_is_an_object_too() {
    let bank = Bank::new();
    for (wrong, said) in [
        (&["--json", "sing"][..], "unrecognized subcommand 'sing'"),
        (
            &["token", "chek", "--json"],
            "unrecognized subcommand 'chek'",
        ),
        (&["token", "--json"], "a command is missing"),
        (&["--json"], "a command is missing"),
        (
            &["csr", "--json", "--contry", "AE"],
            "unexpected argument '--contry' found",
        ),
        (
            &["request", "--json"],
            "required arguments were not provided: <METHOD> <URL>",
        ),
        (
            &["token", "check", "-n", "0", "--json"],
            "invalid value '0' for '--signatures",
        ),
        (
            &["token", "check", "--json", "--concurrency", "4"],
            "required arguments were not provided: --load",
        ),
        (
            &["--json", "--log-format", "xml", "csr"],
            "invalid value 'xml'",
        ),
        (
            &["--json", "cert", "show", "--min-days=-1"],
            "invalid value '-1'",
        ),
        (&["--json", "key", "generate", "--label", ""], "--label"),
        (
            &["ledger", "show", "--purpose", "tls", "--json"],
            "invalid value 'tls' for '--purpose",
        ),
    ] {
        let run = bank.run(wrong).expect(2);
        let object = object(&run).unwrap();
        let error = object["error"].as_str().unwrap();
        assert!(
            error.contains(said) && !error.contains('\n'),
            "{wrong:?}: {object}"
        );
        assert!(!error.contains("error:") && object["exit"] == 2, "{object}");
        assert!(!object["hint"].as_str().unwrap().is_empty(), "{object}");
        assert!(run.stdout.is_empty(), "{run:?}");
        // For people as before.
        let wrong: Vec<_> = wrong
            .iter()
            .copied()
            .filter(|word| *word != "--json")
            .collect();
        let run = bank.run(&wrong).expect(2);
        let framed = run.stderr.starts_with("error: ") || run.stderr.contains("Usage: ");
        assert!(framed, "{run:?}");
    }
    // What is asked for is no failure; what stands behind -- is a value.
    let help = bank.run(&["--json", "token", "--help"]).expect(0);
    assert!(
        help.stdout.contains("Usage: ") && help.stderr.is_empty(),
        "{help:?}"
    );
    let run = bank.run(&["token", "chek", "--", "--json"]).expect(2);
    assert!(run.stderr.starts_with("error: "), "{run:?}");
}

#[test]
fn what_is_not_for_people_is_not_suggested() {
    let bank = Bank::new();
    for typed in [
        "sign",
        "signe",
        "signr",
        "sigenr",
        "front",
        "front-en",
        "frontend",
        "FrontEnd",
        "front_end",
    ] {
        for form in [&[typed][..], &["help", typed], &["--json", typed]] {
            let run = bank.run(form).expect(2);
            for hidden in ["'signer'", "'front-end'"] {
                assert!(!run.stderr.contains(hidden), "{form:?}: {}", run.stderr);
            }
        }
    }
    assert!(bank.run(&["verfy"]).expect(2).stderr.contains("'verify'"));
}

/// What is to be known beside a result is part of the one object.
#[test]
fn notes_are_kept_for_the_end() {
    let mut bank = certified();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let file = bank.path("evidence.json").display().to_string();
    let run = bank
        .run(&["--json", "verify", "--evidence", &file])
        .expect(0);
    run.json();
    let notes = object(&run).unwrap()["notes"].clone();
    assert!(
        notes[0].as_str().unwrap().contains("evidence is in"),
        "{notes}"
    );
    assert!(object(&bank.run(&["--json", "config", "check"]).expect(0)).is_none());
    // Of several configurations each is audited by a process of its own.
    let other = Bank::new();
    let (first, second) = (bank.config_path(), other.config_path());
    let both = [
        "--json",
        "audit",
        first.to_str().unwrap(),
        second.to_str().unwrap(),
    ];
    object(&bank.run(&both));
}

/// A command that was started without a configuration, or with a broken one, as well.
#[test]
fn without_a_configuration_it_is_one_object_too() {
    for arguments in [
        &["--json", "csr"][..],
        &["--json", "--config", "/nowhere.toml", "proxy"],
    ] {
        let output = Command::new(BINARY.unwrap())
            .args(arguments)
            .env_remove("HSM_MTLS_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let told: Value =
            serde_json::from_str(&stderr).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        assert_eq!(told["exit"], 2);
    }
}
