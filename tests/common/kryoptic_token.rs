//! A kryoptic token with a database of its own. No Debian package has the module: `make interop` builds it
//! (tests/interop/kryoptic), and says where it is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::bank::Bank;
use super::trust_framework::write_file;

/// Where the module is.
pub const MODULE: &str = "INTEROP_KRYOPTIC";
const LABEL: &str = "kryoptic";
/// Of 8 characters and more.
const PIN: &str = "kry-pin-0001";
const SO_PIN: &str = "kry-so-pin-0001";

pub struct KryopticToken {
    dir: TempDir,
    module: PathBuf,
}

impl KryopticToken {
    /// An empty token.
    pub fn new() -> Self {
        let module = std::env::var_os(MODULE)
            .map(PathBuf::from)
            .unwrap_or_else(|| panic!("{MODULE} names no module: make interop builds it"));
        let dir = tempfile::tempdir().expect("a folder for the token");
        let conf = format!(
            "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}/token.sql\"\n",
            dir.path().display()
        );
        write_file(&dir.path().join("kryoptic.conf"), &conf, 0o600);
        write_file(&dir.path().join("pin"), PIN, 0o600);
        let token = Self { dir, module };
        token.tool(&["--init-token", "--slot", "1", "--label", LABEL]);
        let user_pin = ["--new-pin", PIN];
        token.tool(
            &[
                &["--init-pin", "--login", "--login-type", "so"],
                &user_pin[..],
            ]
            .concat(),
        );
        token
    }

    fn conf(&self) -> String {
        self.dir.path().join("kryoptic.conf").display().to_string()
    }

    fn tool(&self, arguments: &[&str]) {
        let done = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(&self.module)
            .args(arguments)
            .args(["--so-pin", SO_PIN])
            .env("KRYOPTIC_CONF", self.conf())
            .stdin(Stdio::null())
            .output()
            .expect("pkcs11-tool: make interop installs it");
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }

    /// Makes it the bank's token.
    pub fn configure(&self, bank: &mut Bank) {
        let pin = self.dir.path().join("pin");
        bank.configure(|settings| {
            settings.module.clone_from(&self.module);
            settings.token_uri = format!("pkcs11:token={LABEL}");
            settings.pin = format!("{{ file = \"{}\" }}", pin.display());
            settings.env = vec![("KRYOPTIC_CONF".to_owned(), self.conf())];
        });
    }
}

impl Default for KryopticToken {
    fn default() -> Self {
        Self::new()
    }
}
