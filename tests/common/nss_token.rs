//! NSS softokn with a database of its own: a module that wants a string in pReserved of C_Initialize.

use std::process::Command;

use tempfile::TempDir;

use super::bank::Bank;
use super::trust_framework::write_file;

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
const PIN: &str = "nss-pin-0001";

/// An empty database.
pub struct NssToken {
    dir: TempDir,
}

impl NssToken {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the database");
        let pin = dir.path().join("pin");
        write_file(&pin, PIN, 0o600);
        let made = Command::new("certutil")
            .args(["-N", "-d"])
            .arg(format!("sql:{}", dir.path().display()))
            .arg("-f")
            .arg(&pin)
            .output()
            .expect("certutil: install `libnss3-tools` (make test does)");
        assert!(made.status.success(), "{made:?}");
        Self { dir }
    }

    /// Makes it the bank's token.
    pub fn configure(&self, bank: &mut Bank) {
        let folder = self.dir.path().display();
        bank.configure(|settings| {
            settings.module = MODULE.into();
            settings.token_uri = "pkcs11:token=NSS%20Certificate%20DB".to_owned();
            settings.pin = format!("{{ file = \"{folder}/pin\" }}");
            settings.token_lines = format!(
                "initialize = \"configdir='sql:{folder}' certPrefix='' keyPrefix='' secmod='secmod.db'\""
            );
        });
    }
}

impl Default for NssToken {
    fn default() -> Self {
        Self::new()
    }
}
