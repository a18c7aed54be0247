//! `status`: the token, without a PIN and whatever the module does; and a user who may see little of a bank.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::bank::{BINARY, Bank, Run};
use crate::common::chaos::Chaos;
use crate::status::{checked, item, next};

/// The longest of a step with the module, that of the process that gives up on it, and what a busy machine adds.
const HANGS_WITHIN: Duration = Duration::from_secs(40);

fn chaos_status(chaos: &Chaos, bank: &Bank, code: i32) -> Value {
    let report = checked(bank, &chaos.run(bank, &["status", "--json"]).expect(code));
    assert!(
        chaos.log().contains("C_GetTokenInfo") || code != 0,
        "{}",
        chaos.log()
    );
    for function in ["C_OpenSession", "C_Login", "C_FindObjectsInit", "C_Sign"] {
        assert_eq!(chaos.calls(function), 0, "{function}");
    }
    report
}

#[test]
fn the_token_is_asked_for_its_information_only_and_whatever_the_module_does_is_one_line() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    // No PIN is to be had, and none is needed.
    bank.configure(|settings| settings.pin = "{ file = \"no-such-file\" }".to_owned());
    chaos.forget_calls();
    let report = chaos_status(&chaos, &bank, 0);
    let (state, text) = item(&report, "token");
    assert!(
        state == "ok" && text.starts_with("present: pkcs11:token=lfi"),
        "{text}"
    );

    for (plan, code, words) in [
        (
            "flag CKF_USER_PIN_COUNT_LOW",
            1,
            "CKF_USER_PIN_COUNT_LOW; present",
        ),
        (
            "flag CKF_USER_PIN_LOCKED",
            2,
            "CKF_USER_PIN_LOCKED; present",
        ),
        (
            "flag CKF_USER_PIN_TO_BE_CHANGED",
            2,
            "CKF_USER_PIN_TO_BE_CHANGED",
        ),
        ("outage", 2, "CKR_DEVICE_ERROR"),
        ("crash C_Initialize all", 2, "crashed (SIG"),
        ("crash C_GetSlotList all", 2, "crashed (SIG"),
        ("hang C_Initialize all", 2, "C_Initialize"),
        ("hang C_GetTokenInfo all", 2, "C_GetTokenInfo"),
    ] {
        chaos.plan(plan);
        let begun = Instant::now();
        let report = chaos_status(&chaos, &bank, code);
        assert!(
            begun.elapsed() < HANGS_WITHIN,
            "{plan}: {:?}",
            begun.elapsed()
        );
        let (_, text) = item(&report, "token");
        assert!(
            text.contains(words) && !text.contains('\n'),
            "{plan}: {text}"
        );
        // The rest is there.
        assert_eq!(item(&report, "c3.certificate").0, "ok", "{plan}");
        assert_eq!(item(&report, "rotation").0, "ok", "{plan}");
        assert!(next(&report, "")["by"].is_null(), "{plan}");
    }
    // Who may change what the module reads may do more with it than ask.
    let conf = bank.token.conf();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o666)).unwrap();
    chaos.forget_calls();
    let report = checked(&bank, &chaos.run(&bank, &["status", "--json"]).expect(3));
    let (state, text) = item(&report, "token");
    assert!(
        state == "unknown" && text.starts_with("not asked: "),
        "{text}"
    );
    assert_eq!(chaos.log(), "");
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600)).unwrap();
    let run = chaos
        .run(&bank, &["status", "--json", "--no-token"])
        .expect(3);
    assert_eq!(
        item(&checked(&bank, &run), "token"),
        ("unknown", "not asked: --no-token")
    );
    assert_eq!(chaos.log(), "");
}

/// As `nobody`, with a copy of the program where that user may go.
fn as_nobody(bank: &Bank, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("hsm-mtls");
    fs::copy(BINARY.unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .arg("--config")
        .arg(bank.config_path())
        .args(arguments)
        .env_remove("HOME")
        .current_dir("/")
        .output()
        .expect("setpriv: part of Debian's util-linux");
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_user_who_may_see_neither_token_nor_ledger_is_shown_the_rest() {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections =
            "[ledger]\nfile = \"log/uses.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    bank.certify("p-256");
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(bank.folder(), 0o755);
    for private in ["log", "state"] {
        mode(&bank.path(private), 0o700);
    }
    let run = as_nobody(&bank, &["status", "--json"]).expect(3);
    let report = checked(&bank, &run);
    for about in ["c3.certificate", "c3.chain", "anchor", "crl"] {
        assert_eq!(item(&report, about).0, "ok", "{report:#}");
    }
    for about in ["token", "ledger", "rotation"] {
        assert_eq!(item(&report, about).0, "unknown", "{report:#}");
    }
    // What makes the exit code is what is wrong, if anything is.
    as_nobody(&bank, &["status", "--warn", "9999d", "--crit", "30d"]).expect(1);
}
