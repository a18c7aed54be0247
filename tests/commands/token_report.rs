//! `token check --report`: what this token is and does, with each of its quirks, for somebody who has no such token.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::common::bank::{Bank, Run};
use crate::common::chaos::Chaos;
use crate::common::softhsm::PIN;

/// Runs `token check --report`, and returns the report too.
fn check(chaos: &Chaos, bank: &Bank, more: &[&str]) -> (Run, Value) {
    let arguments = ["token", "check", "--report", "report.json", "--force"];
    let path = bank.path("report.json");
    let path = path.to_str().unwrap();
    let arguments: Vec<_> = arguments
        .map(|argument| {
            if argument == "report.json" {
                path
            } else {
                argument
            }
        })
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    let run = chaos.run(bank, &arguments);
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    (run, serde_json::from_str(&text).unwrap())
}

fn quirks(report: &Value) -> Vec<&str> {
    let quirks = report["quirks"].as_array().into_iter().flatten();
    quirks.map(|quirk| quirk.as_str().unwrap()).collect()
}

fn serial(chaos: &Chaos, bank: &Bank) -> String {
    let listed = chaos
        .run(bank, &["token", "list", "--json"])
        .expect(0)
        .json();
    let uri = listed["tokens"][0]["uri"].as_str().unwrap();
    let serial = uri.split(';').find_map(|part| part.strip_prefix("serial="));
    serial.unwrap().to_owned()
}

#[test]
fn it_tells_the_token_and_neither_pin_nor_serial_number() {
    let (bank, chaos, _hub) = Chaos::certified("");
    let list = || {
        chaos
            .run(&bank, &["key", "list", "--json"])
            .expect(0)
            .json()
    };
    let keys_before = list();
    let (run, report) = check(&chaos, &bank, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(report["good"], true);
    assert_eq!(report["process"], Value::Null);
    for (section, field, expected) in [
        ("module", "manufacturer", "SoftHSM"),
        ("profile", "name", "softhsm"),
        ("profile", "told_by", "library-info"),
        ("token", "model", "SoftHSM v2"),
        ("key", "algorithm", "P-256"),
    ] {
        assert_eq!(
            report[section][field], expected,
            "{section}: {}",
            report[section]
        );
    }
    assert_eq!(report["key"]["attributes"]["sensitive"], true);
    assert_eq!(report["behaviour"]["login_per_session"], false);
    let flags = report["token"]["flags"].as_array().unwrap();
    assert!(flags.contains(&"CKF_LOGIN_REQUIRED".into()), "{flags:?}");
    let mechanisms = report["mechanisms"].as_array().unwrap();
    let ecdsa = mechanisms
        .iter()
        .find(|of| of["name"] == "CKM_ECDSA")
        .unwrap();
    assert!(
        ecdsa["flags"]
            .as_array()
            .unwrap()
            .contains(&"CKF_SIGN".into()),
        "{ecdsa}"
    );
    let signatures = report["signatures"].as_array().unwrap();
    assert_eq!(signatures[0]["scheme"], "ecdsa_secp256r1_sha256");
    assert_eq!(signatures[0]["mechanism"], "CKM_ECDSA");
    assert!(signatures[0]["median_ms"].as_f64().unwrap() > 0.0);
    for (trial, mechanism) in ["CKM_RSA_PKCS_KEY_PAIR_GEN", "CKM_EC_KEY_PAIR_GEN"]
        .into_iter()
        .enumerate()
    {
        let trial = &report["key_generation"][trial];
        assert_eq!(trial["mechanism"], mechanism);
        assert_eq!(trial["refused"], Value::Array(Vec::new()));
        assert_eq!(trial["claims"]["extractable"], false, "{trial}");
    }
    let steps = report["steps"].as_array().unwrap();
    assert!(
        steps.iter().all(|step| step["outcome"] != "bad"),
        "{steps:#?}"
    );

    let text = fs::read_to_string(bank.path("report.json")).unwrap();
    let serial = serial(&chaos, &bank);
    // SoftHSM's slot description ends with half of the serial number.
    for secret in [PIN, &serial, &serial[serial.len() - 7..]] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let mode = fs::metadata(bank.path("report.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_, report) = check(&chaos, &bank, &["--with-serial"]);
    assert_eq!(report["token"]["serial"], serial.as_str());
    // Nothing of the trials is left in the token.
    assert_eq!(list(), keys_before);
}

#[test]
fn a_file_that_is_there_is_kept_and_the_token_not_asked() {
    let (bank, chaos, _hub) = Chaos::certified("");
    let kept = bank.write("kept.json", "mine");
    let path = kept.to_str().unwrap();
    for (target, says) in [(path, "--force"), ("-", "standard output")] {
        chaos.forget_calls();
        let run = chaos
            .run(&bank, &["token", "check", "--report", target])
            .expect(2);
        assert!(run.stderr.contains(says), "{run:?}");
        assert_eq!(chaos.calls("C_Initialize"), 0, "{target}");
    }
    assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
}

#[test]
fn it_is_written_where_the_module_ends_or_stops_its_process() {
    let (mut bank, chaos, _hub) = Chaos::certified("");
    bank.configure(|settings| settings.token_lines = "start_timeout = \"3s\"".to_owned());
    for (plan, code, process, reached, missing) in [
        ("crash C_Sign 1", 3, "SIGABRT", "key", "signatures"),
        ("crash C_GetSlotList 1", 3, "SIGABRT", "profile", "token"),
        ("hang C_FindObjectsInit 1", 3, "", "token", "key"),
    ] {
        chaos.plan(plan);
        let (run, report) = check(&chaos, &bank, &[]);
        assert_eq!(run.code, code, "{plan}: {run:?}");
        assert_eq!(report["exit_code"], code, "{plan}");
        assert_eq!(report["good"], false, "{plan}");
        let told = report["process"].as_str().unwrap_or_default();
        assert!(told.contains(process), "{plan}: {told}");
        assert_ne!(report[reached], Value::Null, "{plan}: {report:#}");
        assert_eq!(report[missing], Value::Null, "{plan}: {report:#}");
        let steps = report["steps"].as_array().unwrap();
        assert!(
            steps.iter().any(|step| step["outcome"] == "bad"),
            "{plan}: {steps:#?}"
        );
        chaos.plan("");
    }
}

#[test]
fn each_quirk_is_told() {
    for (plan, quirk) in [
        (
            "read-only-sessions not-opened CKR_FUNCTION_FAILED",
            "sessions are read-write",
        ),
        ("login-per-session", "a login is for its session only"),
        (
            "refuse-attribute private CKA_COPYABLE CKR_TEMPLATE_INCONSISTENT",
            "C_GenerateKeyPair refuses CKA_COPYABLE",
        ),
        (
            "require-attribute private CKA_KEY_TYPE CKR_TEMPLATE_INCOMPLETE",
            "C_GenerateKeyPair wants CKA_CLASS and CKA_KEY_TYPE",
        ),
        (
            "claim CKA_DECRYPT true",
            "a new key that is to sign only says CKA_DECRYPT",
        ),
        ("silent CKA_COPYABLE", "it does not report CKA_COPYABLE"),
        (
            "without CKF_LOGIN_REQUIRED",
            "CKF_LOGIN_REQUIRED is not set",
        ),
    ] {
        let (mut bank, chaos, _hub) = Chaos::certified("");
        bank.configure(|settings| settings.token_lines = "login = \"always\"".to_owned());
        chaos.plan(plan);
        let (run, report) = check(&chaos, &bank, &["-n", "2"]);
        let quirks = quirks(&report);
        assert!(
            quirks.iter().any(|told| told.contains(quirk)),
            "{plan}: {quirks:?} {run:?}"
        );
    }
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let chaos = Chaos::between(&mut bank, "refuse CKM_RSA_PKCS_PSS");
    let (_, report) = check(&chaos, &bank, &["-n", "2"]);
    let quirk = "it lists CKM_RSA_PKCS_PSS and refuses it; CKM_SHA256_RSA_PKCS_PSS is used";
    assert!(quirks(&report).contains(&quirk), "{report:#}");
    let (bank, chaos, _hub) = Chaos::certified("");
    chaos.plan("no-session-keys CKR_ATTRIBUTE_VALUE_INVALID");
    let (_, report) = check(&chaos, &bank, &["-n", "2"]);
    for trial in report["key_generation"].as_array().unwrap() {
        let why = "the token makes no session keys of this kind";
        assert_eq!(trial["not_tried"], why);
        let refusal = trial["refusal"].as_str().unwrap();
        assert!(refusal.contains("CKR_ATTRIBUTE_VALUE_INVALID"), "{refusal}");
    }
}

/// Serial numbers that many tokens have: mostly zeros. Other numbers of the report are none of it.
#[test]
fn a_serial_number_of_zeros_leaves_numbers_as_they_are() {
    let (bank, chaos, _hub) = Chaos::certified("");
    for serial in ["0000000000000001", "1000000000000000"] {
        chaos.plan(&format!("serial {serial}\nmax-sessions 1000000"));
        let (run, report) = check(&chaos, &bank, &["-n", "1"]);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(report["token"]["max_sessions"], 1_000_000);
        let text = report.to_string();
        assert!(text.contains("0x00000130"), "{serial}: {report:#}");
        assert!(!text.contains(serial), "{serial}: {report:#}");
    }
}
