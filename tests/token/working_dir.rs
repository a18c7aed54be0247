//! `working_dir` of `[[token]]`: the module is loaded in that folder, by each command and by the signer process. The module
//! here reads its plan by a relative path, as Azure Cloud HSM's reads its configuration, and ends the process where it is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::bank::{BINARY, Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::proxy::Proxy;
use crate::common::softhsm::MODULE;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

/// The variables of a module that finds its files in its working directory.
const RELATIVE: [(&str, &str); 3] = [
    ("CHAOS_TOKEN_MODULE", MODULE),
    ("CHAOS_TOKEN_PLAN", "chaos.cfg"),
    ("CHAOS_TOKEN_LOG", "calls"),
];

fn environment() -> [(&'static str, PathBuf); 3] {
    RELATIVE.map(|(name, value)| (name, value.into()))
}

/// A bank whose module works in `hsm`, beside which there is the folder `shell`.
fn certified() -> (Bank, Hub) {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("p-256");
    drop(Chaos::between(&mut bank, ""));
    for folder in ["hsm", "shell"] {
        fs::create_dir(bank.path(folder)).unwrap();
    }
    bank.write("hsm/chaos.cfg", "");
    bank.configure(|settings| settings.token_lines = "working_dir = \"hsm\"".to_owned());
    (bank, hub)
}

/// Runs the command in `shell`, with the configuration as a relative path.
fn run(bank: &Bank, arguments: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(BINARY.unwrap())
        .current_dir(bank.path("shell"))
        .args(["--config", "../bank.toml"])
        .args(arguments)
        .envs(RELATIVE)
        .env_remove("SOFTHSM2_CONF")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn each_process_that_loads_the_module_works_there() {
    let (mut bank, _hub) = certified();
    for command in [
        &["token", "list"][..],
        &["token", "check", "-n", "2"],
        &["key", "list"],
        &["verify"],
        &["request", "GET", "cm:/consents/1"],
        &["cert", "show"],
    ] {
        let (code, said) = run(&bank, command);
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
    let (code, said) = run(&bank, &["audit", "--search", "."]);
    assert!(matches!(code, Some(0 | 1)), "{said}");
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start_with(&bank, ports, &environment());
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert!(bank.path("hsm/calls").exists());
    let left: Vec<_> = fs::read_dir(bank.path("shell")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // Without the field, the module does not find its file.
    bank.configure(|settings| settings.token_lines = String::new());
    assert_eq!(run(&bank, &["key", "list"]).0, Some(3));
}

#[test]
fn relative_paths_keep_their_meaning() {
    let (mut bank, _hub) = certified();
    let (code, said) = run(&bank, &["csr", "-o", "c3.csr"]);
    assert_eq!(code, Some(0), "{said}");
    let request = fs::read_to_string(bank.path("shell/c3.csr")).unwrap();
    bank.write("shell/issued.pem", &bank.framework.issue_client(&request));
    let (code, said) = run(&bank, &["cert", "install", "issued.pem"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&bank, &["audit", "--html", "report.html"]);
    assert!(matches!(code, Some(0 | 1)), "{said}");
    assert!(bank.path("shell/report.html").exists());
    fs::copy(bank.token.pin_file(), bank.path("shell/pin")).unwrap();
    fs::set_permissions(bank.path("shell/pin"), fs::Permissions::from_mode(0o600)).unwrap();
    let generate = ["key", "generate", "--type", "p-256", "--label", "another"];
    let from_file = [&generate[..], &["--pin-source", "file:pin"]].concat();
    let (code, said) = run(&bank, &from_file);
    assert_eq!(code, Some(0), "{said}");
    // The argument of a program is a path from where the command was started.
    bank.configure(|settings| settings.pin = "{ command = [\"/bin/cat\", \"pin\"] }".to_owned());
    for command in [&["csr"][..], &["token", "check", "-n", "1"], &["verify"]] {
        let (code, said) = run(&bank, command);
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
    // What the module reads there is not written over.
    let (code, said) = run(&bank, &["csr", "-o", "../hsm/chaos.cfg", "--force"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("`working_dir` of [[token]]"), "{said}");
}

/// Whoever can write there decides what the module reads.
#[test]
fn an_unfit_folder_is_an_error_and_nothing_is_loaded() {
    let (mut bank, _hub) = certified();
    let hsm = bank.path("hsm");
    for (mode, expected) in [
        (0o777, "everybody may write to it"),
        (0o775, "its group may write to it"),
        (0o1777, "everybody may write to it"),
    ] {
        fs::set_permissions(&hsm, fs::Permissions::from_mode(mode)).unwrap();
        for command in [&["token", "list"][..], &["csr"], &["verify"]] {
            let (code, said) = run(&bank, command);
            assert_eq!(code, Some(2), "{said}");
            assert!(
                said.contains(expected) && said.contains("`chmod g"),
                "{said}"
            );
        }
    }
    fs::set_permissions(&hsm, fs::Permissions::from_mode(0o755)).unwrap();
    for (folder, expected) in [
        ("nowhere", "nowhere is not there"),
        ("bank.toml", "it is not a folder"),
    ] {
        bank.configure(|settings| {
            settings.token_lines = format!("working_dir = \"{folder}\"");
        });
        for command in [&["token", "list"][..], &["verify"]] {
            let (code, said) = run(&bank, command);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }
    assert!(!hsm.join("calls").exists());
}

/// The working directory of an application is not the library's to change.
#[test]
fn a_library_is_in_that_folder_or_says_so() {
    let Some(config) = config_of_child() else {
        let (bank, _hub) = certified();
        return bank.run_test(
            a_library_is_in_that_folder_or_says_so,
            &RELATIVE.map(|(name, value)| (name, value.to_owned())),
        );
    };
    let error = Identity::open(&config, Attendance::Unattended).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("which is not ours to change"), "{said}");
    let folder = config.token.working_dir.clone().unwrap();
    // By another way to the same folder.
    std::env::set_current_dir(folder.join("../hsm")).unwrap();
    Identity::open(&config, Attendance::Unattended).unwrap();
    assert!(Path::new("calls").exists());
}
