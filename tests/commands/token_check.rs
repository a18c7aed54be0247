//! `token check` names the step that fails, what to do about it, and ends accordingly.

use crate::common::bank::Bank;
use serde_json::Value;

fn outcomes(report: &Value) -> Vec<(String, String)> {
    let steps = report["steps"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    steps
        .map(|step| (text(&step["name"]), text(&step["outcome"])))
        .collect()
}

#[test]
fn a_token_that_is_ready_passes_each_step() {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"each\"".to_owned();
    });
    bank.certify("rsa-2048");
    let report = bank
        .run(&["token", "check", "--json", "-n", "50"])
        .expect(0)
        .json();
    assert!(
        outcomes(&report)
            .iter()
            .all(|(_, outcome)| outcome == "good"),
        "{report:#}"
    );
    let names: Vec<_> = outcomes(&report)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "module",
            "profile",
            "ledger",
            "token",
            "login",
            "key",
            "key attributes",
            "mechanisms",
            "certificate",
            "pair",
            "signatures",
            "signer process"
        ]
    );
    let process = report["steps"][11]["detail"].as_str().unwrap();
    for part in [
        "not dumpable",
        "no core file",
        "no new privileges",
        "only the needed descriptors",
        "memory locked",
    ] {
        let (in_force, _) = process.split_once("; not: ").unwrap();
        assert!(in_force.contains(part), "{process}");
    }
    let signatures = report["steps"][10]["detail"].as_str().unwrap();
    assert!(
        signatures.starts_with("50 verified; min ") && signatures.contains("p99"),
        "{signatures}"
    );
}

#[test]
fn the_step_that_fails_is_named_with_a_hint() {
    let failing =
        |change: &dyn Fn(&mut crate::common::bank::Settings), code: i32, step: &str, said: &str| {
            let mut bank = Bank::new();
            bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
            bank.configure(change);
            let report = bank.run(&["token", "check", "--json"]).expect(code).json();
            let failed: Vec<_> = report["steps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|step| step["outcome"] == "bad")
                .collect();
            assert_eq!(failed.len(), 1, "{report:#}");
            assert_eq!(failed[0]["name"], step, "{report:#}");
            let detail = failed[0]["detail"].as_str().unwrap();
            assert!(detail.contains(said), "{detail}");
            assert!(!failed[0]["hint"].as_str().unwrap().is_empty());
        };
    failing(
        &|s| s.module = "/nowhere/lib.so".into(),
        3,
        "module",
        "cannot be read",
    );
    failing(
        &|s| s.module = "/etc/hostname".into(),
        3,
        "module",
        "does not load as a PKCS#11 module",
    );
    failing(
        &|s| s.token_uri = "pkcs11:token=other".to_owned(),
        3,
        "token",
        "there is: pkcs11:token=lfi;",
    );
    failing(
        &|s| s.key = "pkcs11:object=c4".to_owned(),
        2,
        "key",
        "there is: pkcs11:token=lfi;",
    );
}

#[test]
fn a_certificate_of_another_key_does_not_get_past_the_proof() {
    let (bank, other) = (Bank::new(), Bank::new());
    bank.run(&["key", "generate"]).expect(0);
    other.certify("rsa-2048");
    // Straight into the configured place, past `cert install`.
    let chain = std::fs::read_to_string(other.path("c3.pem")).unwrap();
    bank.write("c3.pem", &chain);
    bank.write("anchors.pem", &other.framework.bundle_pem());
    let run = bank.run(&["verify"]).expect(2);
    assert!(
        run.stderr.contains("no private key that matches"),
        "{run:?}"
    );
}

#[test]
fn the_token_list_shows_what_matches() {
    let bank = Bank::new();
    let tokens = bank.run(&["token", "list", "--json"]).expect(0).json();
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(tokens["tokens"][0]["configured"], true);
    let text = bank.run(&["token", "list"]).expect(0);
    assert!(
        text.stdout
            .contains("* pkcs11:token=lfi;manufacturer=SoftHSM%20project"),
        "{text:?}"
    );
}

#[test]
fn a_reader_that_goes_away_does_not_make_a_failure_good() {
    let bank = Bank::new();
    let config = bank.config_path();
    let command = env!("CARGO_BIN_EXE_hsm-mtls");
    let script = format!(
        "'{command}' --config '{}' token check | true; exit ${{PIPESTATUS[0]}}",
        config.display()
    );
    let done = std::process::Command::new("bash")
        .args(["-c", &script])
        .status()
        .unwrap();
    assert_eq!(done.code(), Some(2));
}
