//! A bank whose proxy is started as root and gives signer and front end a user of their own: `daemon` and `bin`, which every
//! Debian has, each with a group in which nobody else is.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bank::Bank;
use super::proxy::{Ports, Proxy};

pub const SIGNER: (&str, u32) = ("daemon", 1);
pub const FRONT_END: (&str, u32) = ("bin", 2);

/// As docs/deploy.md says whose each file is. To be called when the key is certified; PIN and token are in a folder of their
/// own already.
pub fn give_users(bank: &mut Bank) -> Ports {
    let ledger = format!(
        "[ledger]\nfile = \"{}\"\nfsync = \"interval\"\n",
        ledger(bank).display()
    );
    let lines = format!("user = \"{}\"", FRONT_END.0);
    let signer = format!("[signer]\nuser = \"{}\"\n", SIGNER.0);
    let ports = Proxy::configure(bank, &lines, &format!("{signer}{ledger}"));
    bank.configure(|settings| {
        settings.sections = settings
            .sections
            .replace("accept_same_user = true\n", "accept_same_user = false\n");
    });
    fs::create_dir_all(bank.path("state")).expect("a folder");
    give(&bank.path("state"), SIGNER.1);
    mode(&bank.path("state"), 0o700);
    give(&bank.path("log"), FRONT_END.1);
    mode(&bank.config_path(), 0o600);
    mode(bank.folder(), 0o755);
    let token = bank.token.pin_file();
    give(token.parent().expect("a folder"), SIGNER.1);
    let caller_token = bank.path("caller-token");
    chown(&caller_token, Some(0), Some(FRONT_END.1)).expect("as root");
    mode(&caller_token, 0o640);
    ports
}

/// It lies with PIN and token.
pub fn ledger(bank: &Bank) -> PathBuf {
    bank.token.pin_file().with_file_name("ledger.jsonl")
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// The folder and all in it.
pub fn give(path: &Path, uid: u32) {
    let given = Command::new("chown")
        .args(["-R", &uid.to_string()])
        .arg(path)
        .status();
    assert!(given.expect("chown").success());
}
