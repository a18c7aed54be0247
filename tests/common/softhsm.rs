//! A SoftHSM2 token in a folder of its own. Tests touch no other token of the machine: each has its
//! own configuration file, and nothing reads the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::trust_framework::write_file;

/// Where Debian puts the module.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The user's PIN of test tokens: one that vendors' forms and careless parsers stumble over.
pub const PIN: &str = "user:0001 pä$$";
const SO_PIN: &str = "so-pin-0001";

pub struct SoftHsm {
    dir: TempDir,
    label: String,
    pin: String,
}

impl SoftHsm {
    /// Makes an empty token. A missing SoftHSM is a failed test, never a skipped one.
    pub fn new(label: &str) -> Self {
        Self::with_pin(label, PIN)
    }

    pub fn with_pin(label: &str, pin: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the token");
        fs::create_dir(dir.path().join("tokens")).expect("the token folder");
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            dir.path().join("tokens").display()
        );
        fs::write(dir.path().join("softhsm2.conf"), conf).expect("softhsm2.conf");
        write_file(&dir.path().join("pin"), pin, 0o600);
        let token = Self {
            dir,
            label: label.to_owned(),
            pin: pin.to_owned(),
        };
        token.initialize(label);
        token
    }

    /// Makes another token beside it, which may have the same label.
    pub fn initialize(&self, label: &str) {
        let made = self.util(&[
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            &self.pin,
            "--so-pin",
            SO_PIN,
        ]);
        assert!(made.status.success(), "softhsm2-util: {made:?}");
    }

    /// Where the tokens are kept.
    pub fn tokens(&self) -> PathBuf {
        self.dir.path().join("tokens")
    }

    /// The token's files as they are now.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let within = |folder: PathBuf| {
            let entries = fs::read_dir(folder).expect("a folder of the token");
            entries.map(|entry| entry.expect("an entry of it").path())
        };
        let files = within(self.tokens()).flat_map(within);
        files
            .map(|path| (path.clone(), fs::read(path).expect("a file of the token")))
            .collect()
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("softhsm2.conf")
    }

    pub fn pin_file(&self) -> PathBuf {
        self.dir.path().join("pin")
    }

    /// Puts a key that was made outside into the token: what the product never does.
    pub fn import(&self, pkcs8_pem: &Path, label: &str, id: &str) {
        let path = pkcs8_pem.to_str().expect("a plain path");
        let done = self.util(&[
            "--import",
            path,
            "--token",
            &self.label,
            "--label",
            label,
            "--id",
            id,
            "--pin",
            &self.pin,
        ]);
        assert!(done.status.success(), "softhsm2-util --import: {done:?}");
    }

    /// Leaves the token these mechanisms and no other, as an HSM's policy does.
    pub fn only_mechanisms(&self, names: &[&str]) {
        let conf = fs::read_to_string(self.conf()).expect("softhsm2.conf");
        let switch = format!("slots.mechanisms = {}\n", names.join(","));
        fs::write(self.conf(), conf + &switch).expect("softhsm2.conf");
    }

    fn util(&self, arguments: &[&str]) -> Output {
        Command::new("softhsm2-util")
            .args(arguments)
            .env("SOFTHSM2_CONF", self.conf())
            .output()
            .expect("softhsm2-util: install `softhsm2` (make test does)")
    }
}
