//! A configuration that names every kind of path, each with a folder of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::proxy::TOKEN;
use tempfile::TempDir;

/// `nobody` of Debian.
pub(crate) const NOBODY: u32 = 65534;

/// Its folder.
pub(crate) struct NamedFiles {
    pub(crate) folder: TempDir,
}

pub(crate) const CONFIG: &str = r#"
environment = "preprod"
lfi_code = "mybank"

[[token]]
module = "{folder}/module/libmodule.so"
uri = "pkcs11:token=lfi"
pin = {pin}
working_dir = "work"
state_dir = "state/memory"
env = { SOFTHSM2_CONF = "{config_dir}/conf/softhsm2.conf" }

[[token]]
name = "signing"
module = "{folder}/module-of-sig4/libmodule.so"
uri = "pkcs11:token=signing"
pin = { file = "pin-file-of-sig4/pin" }
working_dir = "work"
state_dir = "state-of-sig4/memory"
env = { OPENSC_CONF = "{config_dir}/conf-of-sig4/module.conf" }

[c3]
key = "pkcs11:object=c3;type=private"
certificate = "tls/c3.pem"

[sig4]
key = "pkcs11:object=sig4;type=private"
certificate = "tls-of-sig4/sig4.pem"
token = "signing"
audience = "hub"

[trust]
mode = "trust-framework"
anchors = "trust/anchors.pem"
crls = ["revoked/issuer.crl"]

[network]
proxy = "https://proxy.example:3129"
proxy_credentials = { file = "proxy-account/credentials" }
proxy_anchors = "proxy-roots/roots.pem"

[ledger]
file = "records/ledger.jsonl"
head = {head}

[signer]
landlock = { read = ["sandbox/read"], write = ["sandbox/write"] }

[proxy]
access_log = "log/access.jsonl"

[[proxy.listener]]
unix = "sockets/hub.sock"

[[proxy.listener]]
tcp = "127.0.0.1:8480"
callers = { token_file = "callers/token" }

[proxy.operations]
unix = "operations/operations.sock"

[audit]
attestation = "evidence/attestation"
"#;

const FILES: [&str; 18] = [
    "module/libmodule.so",
    "pin-file/pin",
    "pin-program/give",
    "pin-argument/secret",
    "credentials/hsm-pin",
    "work/vendor.cfg",
    "conf/softhsm2.conf",
    "tls/c3.pem",
    "trust/anchors.pem",
    "revoked/issuer.crl",
    "records/ledger.jsonl",
    "head-program/tell",
    "head-argument/where",
    "log/access.jsonl",
    "module-of-sig4/libmodule.so",
    "pin-file-of-sig4/pin",
    "conf-of-sig4/module.conf",
    "tls-of-sig4/sig4.pem",
];

/// The sources of the PIN and of the ledger's head, which exclude each other.
pub(crate) const VARIANTS: [(&str, &str); 3] = [
    (
        "{ file = \"pin-file/pin\" }",
        "{ syslog = \"{folder}/syslog/log\" }",
    ),
    (
        "{ command = [\"{folder}/pin-program/give\", \"{folder}/pin-argument/secret\"] }",
        "{ command = [\"{folder}/head-program/tell\", \"{folder}/head-argument/where\"] }",
    ),
    ("{ credential = \"hsm-pin\" }", "\"syslog\""),
];

impl NamedFiles {
    pub(crate) fn new() -> Self {
        let named = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in FILES.iter().chain(&[
            "callers/token",
            "evidence/attestation",
            "proxy-account/credentials",
            "proxy-roots/roots.pem",
            "syslog/log",
            "sandbox/read/file",
            "sandbox/write/file",
            "sockets/other",
            "operations/other",
            "state/memory/other",
            "state-of-sig4/memory/other",
        ]) {
            let path = named.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, TOKEN).unwrap();
            set_mode(&path, if named.is_secret(name) { 0o600 } else { 0o644 });
        }
        named
    }

    fn is_secret(&self, name: &str) -> bool {
        let secret = ["pin-file", "cred", "callers", "proxy-account"];
        secret.iter().any(|folder| name.starts_with(folder))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn configure(&self, (pin, head): (&str, &str)) {
        let folder = self.folder.path().to_str().unwrap();
        let text = CONFIG.replace("{pin}", pin).replace("{head}", head);
        let path = self.path("bank.toml");
        fs::write(&path, text.replace("{folder}", folder)).unwrap();
        set_mode(&path, 0o644);
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
            .arg("--config")
            .arg(self.path("bank.toml"))
            .args(arguments)
            .env("CREDENTIALS_DIRECTORY", self.path("credentials"))
            .output()
            .unwrap()
    }

    pub(crate) fn accepted(&self) {
        let done = self.run(&["config", "check"]);
        assert!(done.status.success(), "{done:?}");
    }

    /// Refused because of `at`, with its owner and mode; accepted after exactly what the hint says is typed.
    pub(crate) fn refused_then_mended(&self, what: &str, at: &Path) {
        let meta = fs::symlink_metadata(at).unwrap();
        let owner = if meta.uid() == 0 { "root" } else { "nobody" };
        let mode = format!("mode {:04o}", meta.mode() & 0o7777);
        let done = self.run(&["config", "check"]);
        let stderr = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{what}: {stderr}");
        assert!(done.stdout.is_empty(), "{what}");
        let (error, hint) = stderr.split_once("hint: ").expect("a hint");
        let named = format!("{} ({owner}:", at.display());
        assert!(unwrapped(error).contains(&named), "{what}: {error}");
        assert!(unwrapped(error).contains(&mode), "{what}: {error}");
        let hint = unwrapped(hint);
        let command = hint.split('`').nth(1).expect("a command");
        assert!(command.contains(at.to_str().unwrap()), "{what}: {command}");
        let typed = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(typed.success(), "{what}: {command}");
        self.accepted();
    }
}

/// The lines of a message as one.
pub(crate) fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
