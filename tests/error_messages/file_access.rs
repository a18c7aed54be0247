//! A module that cannot open its own files answers CKR_GENERAL_ERROR, or shows no token: the path that blocks it is
//! named, with its owner and the group that gives access. Root can read everything, so the tests run as another user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::common::bank::{Bank, Run};

/// `nobody` and `adm` of Debian.
const NOBODY: u32 = 65534;
const ADM: u32 = 4;

fn set(path: &Path, group: u32, mode: u32) {
    chown(path, Some(0), Some(group)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn give_away(path: &Path) {
    let owner = format!("{NOBODY}:{NOBODY}");
    let done = Command::new("chown")
        .args(["-R", &owner])
        .arg(path)
        .status();
    assert!(done.unwrap().success());
}

/// A bank whose files are all `nobody`'s.
fn of_nobody() -> Bank {
    let bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    give_away(bank.folder());
    give_away(bank.token.pin_file().parent().unwrap());
    bank
}

fn as_nobody(bank: &Bank, arguments: &[&str]) -> Run {
    let done = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_hsm-mtls"))
        .arg("--config")
        .arg(bank.config_path())
        .args(arguments)
        .env_remove("SOFTHSM2_CONF")
        .output()
        .expect("setpriv: part of Debian's util-linux");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: done.status.code().unwrap_or(-1),
        stdout: text(done.stdout),
        stderr: text(done.stderr),
    }
}

fn told(run: &Run, what: &[&str]) {
    let all = format!("{}{}", run.stdout, run.stderr);
    for what in what {
        assert!(all.contains(what), "{what}: {run:?}");
    }
}

#[test]
fn a_configuration_that_is_closed_is_named_with_the_group_that_opens_it() {
    let bank = of_nobody();
    as_nobody(&bank, &["key", "list"]).expect(0);
    let conf = bank.token.conf();
    set(&conf, ADM, 0o640);
    for arguments in [
        &["key", "list"][..],
        &["token", "check"],
        &["token", "list"],
    ] {
        let run = as_nobody(&bank, arguments).expect(3);
        let named = format!(
            "SOFTHSM2_CONF names {0}: {0} (root:adm, mode 0640) cannot be read by user nobody",
            conf.display()
        );
        told(
            &run,
            &["CKR_GENERAL_ERROR; ", &named, "`usermod -aG adm nobody`"],
        );
    }
    set(&conf, 0, 0o600);
    let owner = as_nobody(&bank, &["key", "list"]).expect(3);
    told(
        &owner,
        &[
            "(root:root, mode 0600) cannot be read",
            "run this as user root, or have the administrator open it",
        ],
    );
}

#[test]
fn a_token_folder_that_is_not_ours_is_named() {
    let bank = of_nobody();
    let tokens = bank.token.tokens();
    set(&tokens, ADM, 0o750);
    let folder = as_nobody(&bank, &["key", "list"]).expect(3);
    let named = format!(
        "`directories.tokendir` there {0}: the folder {0} (root:adm, mode 0750) cannot be read by user nobody",
        tokens.display()
    );
    told(&folder, &[&named, "`usermod -aG adm nobody`"]);
    set(&tokens, 0, 0o755);
    let token = fs::read_dir(&tokens)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    set(&token, 0, 0o700);
    let within = as_nobody(&bank, &["key", "list"]).expect(3);
    told(
        &within,
        &[&format!(
            "the folder {} (root:root, mode 0700) cannot be read by user nobody",
            token.display()
        )],
    );
    // The way to it.
    let above = bank.token.pin_file().parent().unwrap().to_owned();
    set(&above, 0, 0o700);
    let way = as_nobody(&bank, &["key", "list"]).expect(3);
    told(
        &way,
        &[&format!(
            "the folder {} (root:root, mode 0700) cannot be entered by user nobody",
            above.display()
        )],
    );
}

#[test]
fn what_is_missing_is_named() {
    let bank = Bank::new();
    let conf = bank.token.conf();
    let text = fs::read_to_string(&conf).unwrap();
    fs::remove_file(&conf).unwrap();
    told(
        &bank.run(&["key", "list"]).expect(3),
        &[
            &format!("SOFTHSM2_CONF names {0}: {0} is not there", conf.display()),
            "correct the path",
        ],
    );
    symlink("/nowhere/softhsm2.conf", &conf).unwrap();
    told(
        &bank.run(&["key", "list"]).expect(3),
        &["is a link to /nowhere/softhsm2.conf, which is not there"],
    );
    fs::remove_file(&conf).unwrap();
    let elsewhere = text.replace("directories.tokendir = ", "directories.tokendir = /nowhere");
    fs::write(&conf, elsewhere).unwrap();
    let run = bank.run(&["key", "list"]).expect(3);
    told(
        &run,
        &[
            "`directories.tokendir` there /nowhere/",
            "the folder /nowhere is not there",
        ],
    );
    // A module that works is not looked after.
    fs::write(&conf, text).unwrap();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
}

/// The system's bundle, given as the Trust Framework's.
#[test]
fn a_bundle_of_many_roots_is_told_by_three() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut bundle = String::new();
    for number in 0..140 {
        let mut root = rcgen::CertificateParams::default();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.distinguished_name.push(
            rcgen::DnType::CommonName,
            format!("Public Root Certification Authority {number}"),
        );
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        bundle.push_str(&root.self_signed(&key).unwrap().pem());
    }
    bank.write("system.pem", &bundle);
    bank.configure(|settings| settings.trust_lines = String::new());
    fs::copy(bank.path("system.pem"), bank.path("anchors.pem")).unwrap();
    for arguments in [&["verify"][..], &["token", "check", "-n", "1"]] {
        let run = bank.run(arguments);
        assert_eq!(run.code, 2, "{run:?}");
        told(&run, &["Authority 0; ", "Authority 2; and 137 more"]);
        let longest = run
            .stdout
            .lines()
            .chain(run.stderr.lines())
            .map(str::len)
            .max();
        assert!(longest < Some(700), "{run:?}");
    }
}
