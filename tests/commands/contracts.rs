//! The interface that other programs use: the JSON of each command, its commands and its flags. A change of it breaks
//! somebody's script, so it is seen in review and belongs in the changelog.

use std::process::{Command, Stdio};

use crate::common::bank::Bank;
use crate::common::contract::{contract, of_json};
use crate::common::hub::{Hub, HubOptions};
use insta::assert_snapshot;

fn installed() -> Bank {
    let bank = Bank::new();
    bank.certify("rsa-2048");
    bank
}

#[test]
fn config_check() {
    let bank = Bank::new();
    let run = bank.run(&["config", "check", "--json"]).expect(0);
    assert_snapshot!(contract(&bank, &run));
}

#[test]
fn token_list() {
    let bank = Bank::new();
    let run = bank.run(&["token", "list", "--json"]).expect(0);
    assert_snapshot!(contract(&bank, &run));
}

#[test]
fn token_check() {
    let bank = installed();
    let run = bank.run(&["token", "check", "--json", "-n", "2"]).expect(0);
    let mut report = run.json();
    // Numbers within sentences.
    for (step, kept) in [
        ("module", ""),
        ("certificate", " until "),
        ("pair", " in "),
        ("signatures", "; "),
        ("signer process", " in "),
    ] {
        let steps = report["steps"].as_array_mut().unwrap().iter_mut();
        let found = steps.into_iter().find(|found| found["name"] == step);
        let detail = &mut found.unwrap()["detail"];
        let (before, _) = detail.as_str().unwrap().split_once(kept).unwrap();
        *detail = format!("{before}{kept}...").into();
    }
    assert_snapshot!(of_json(&bank, &report.to_string()));
}

#[test]
fn token_check_that_fails() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.token_uri = "pkcs11:token=other".to_owned());
    let run = bank.run(&["token", "check", "--json"]).expect(3);
    let mut report = run.json();
    report["steps"][0]["detail"] = "[text]".into();
    assert_snapshot!(of_json(&bank, &report.to_string()));
}

#[test]
fn key_generate_and_list() {
    let bank = Bank::new();
    let made = bank.run(&["key", "generate", "--json"]).expect(0);
    assert_snapshot!("key_generate", contract(&bank, &made));
    let listed = bank.run(&["key", "list", "--json"]).expect(0);
    assert_snapshot!("key_list", contract(&bank, &listed));
}

#[test]
fn csr() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let mut request = bank.run(&["csr", "--json"]).expect(0).json();
    let pem = request["pem"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"));
    request["pem"] = "[text]".into();
    assert_snapshot!(of_json(&bank, &request.to_string()));
}

#[test]
fn cert_install_and_show() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let leaf = bank.write("leaf.pem", &bank.issue());
    let arguments = ["cert", "install", leaf.to_str().unwrap(), "--json"];
    let run = bank.run(&arguments).expect(0);
    assert_snapshot!("cert_install", contract(&bank, &run));
    let run = bank
        .run(&["cert", "show", "--json", "--min-days", "9999"])
        .expect(1);
    assert_snapshot!("cert_show", contract(&bank, &run));
}

#[test]
fn request() {
    let mut bank = installed();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let run = bank
        .run(&["request", "GET", "cm:/consents/1", "--json"])
        .expect(0);
    assert_snapshot!(contract(&bank, &run));
    let run = bank
        .run(&["request", "GET", "cm:/nothing", "--json"])
        .expect(1);
    assert_snapshot!("request_that_is_refused", contract(&bank, &run));
}

/// What `--evidence` keeps holds the report of `verify --json`, so both are pinned here.
#[test]
fn verify_and_its_evidence() {
    let mut bank = installed();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let file = bank.path("evidence.json");
    let arguments = ["verify", "--json", "--evidence", file.to_str().unwrap()];
    let run = bank.run(&arguments).expect(0);
    let kept: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(kept["report"], run.json());
    let mut contract: serde_json::Value = serde_json::from_str(&contract(&bank, &run)).unwrap();
    for service in contract["services"].as_array_mut().unwrap() {
        // Numbers within sentences.
        for step in service["steps"].as_array_mut().unwrap() {
            if matches!(step["name"].as_str(), Some("signature" | "clock")) {
                step["detail"] = "[text]".into();
            }
        }
    }
    assert_snapshot!(serde_json::to_string_pretty(&contract).unwrap());
}

#[test]
fn a_failure_is_an_object_on_standard_error() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.module = "/opt/hsm/lib/libvendor.so".into());
    let run = bank.run(&["key", "list", "--json"]).expect(3);
    assert!(run.stdout.is_empty());
    assert_snapshot!(of_json(&bank, &run.stderr));
}

/// The help of a command and of those below it, as a pipe gets it.
fn help(path: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
        .args(path)
        .arg("--help")
        .env_remove("COLUMNS")
        .env_remove("HSM_MTLS_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let heading = [&["hsm-mtls"], path].concat().join(" ");
    let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
    let mut all = vec![format!("# {heading}\n\n{}", lines.join("\n"))];
    let below = text.split("\nCommands:\n").nth(1).unwrap_or_default();
    for line in below.lines().take_while(|line| !line.is_empty()) {
        let name = line
            .strip_prefix("  ")
            .and_then(|line| line.split_whitespace().next());
        // A line further in goes on with what the one above it says.
        match name.filter(|name| !line.starts_with("   ") && *name != "help") {
            Some(name) => all.extend(help(&[path, &[name]].concat())),
            None => continue,
        }
    }
    all
}

#[test]
fn commands_and_flags() {
    let all = help(&[]);
    assert!(all.len() >= 14, "{}", all.len());
    assert_snapshot!(all.join("\n\n\n"));
}
