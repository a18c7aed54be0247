//! An LFI as the product meets it: a token, a Trust Framework, a configuration file, and the
//! `hsm-mtls` command.

use std::any::type_name;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hsm_mtls::internal::config::Config;
use serde_json::Value;
use tempfile::TempDir;

use super::child_test;
use super::softhsm::{MODULE, SoftHsm};
use super::trust_framework::{Kind, TrustFramework};

/// Examples share these fixtures, and cargo does not build the command for them.
pub const BINARY: Option<&str> = option_env!("CARGO_BIN_EXE_hsm-mtls");

pub const CHILD_CONFIG: &str = "HSM_MTLS_TEST_CONFIG";

pub const ORGANIZATION: &str = "Bank, \"A\" & Söhne P.J.S.C.";
pub const ORGANIZATION_ID: &str = "b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10";
pub const CLIENT_ID: &str = "5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55";

pub struct Bank {
    dir: TempDir,
    pub token: SoftHsm,
    pub framework: TrustFramework,
    settings: Settings,
}

/// What stands in the configuration file; tests change one thing at a time.
pub struct Settings {
    /// With `lfi_code` in that of the UAE, and without it in any other.
    pub regime: &'static str,
    pub environment: &'static str,
    pub module: PathBuf,
    pub token_uri: String,
    /// The value of `pin`.
    pub pin: String,
    pub state_dir: String,
    pub key: String,
    pub certificate: String,
    pub consent_manager: String,
    pub headless_heimdall: String,
    /// The lines of [c3.subject].
    pub subject: String,
    /// Further lines of [[token]].
    pub token_lines: String,
    /// Variables for the module beside SOFTHSM2_CONF.
    pub env: Vec<(String, String)>,
    /// `mode` of [trust].
    pub trust: &'static str,
    /// Further lines of [trust].
    pub trust_lines: String,
    /// Further lines of [hub].
    pub hub_lines: String,
    /// Further sections.
    pub sections: String,
}

/// What a run of the command left.
#[derive(Debug)]
pub struct Run {
    /// The exit code; of a process that a signal ended, the signal's number with a minus.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test with everything that was printed, unless the command ended with `code`.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl Bank {
    /// A bank of preprod with an empty token.
    pub fn new() -> Self {
        Self::of(Kind::Sandbox)
    }

    pub fn of(kind: Kind) -> Self {
        Self::with_token(kind, SoftHsm::new("lfi"))
    }

    pub fn with_token(kind: Kind, token: SoftHsm) -> Self {
        let bank = Self {
            dir: tempfile::tempdir().expect("a folder for the bank"),
            framework: TrustFramework::new(kind),
            settings: Settings {
                regime: "uae",
                environment: match kind {
                    Kind::Sandbox => "preprod",
                    Kind::Production => "production",
                },
                module: MODULE.into(),
                token_uri: format!("pkcs11:token={}", token.label()),
                pin: format!("{{ file = \"{}\" }}", token.pin_file().display()),
                state_dir: "state".to_owned(),
                key: "pkcs11:object=c3;type=private".to_owned(),
                certificate: "c3.pem".to_owned(),
                consent_manager: "https://localhost:1".to_owned(),
                headless_heimdall: "https://127.0.0.1:1".to_owned(),
                subject: format!(
                    "organization = '{ORGANIZATION}'\norganizational_unit = \"{ORGANIZATION_ID}\"\ncommon_name = \"{CLIENT_ID}\""
                ),
                token_lines: String::new(),
                env: Vec::new(),
                trust: "trust-framework",
                trust_lines: String::new(),
                hub_lines: String::new(),
                sections: String::new(),
            },
            token,
        };
        bank.write("anchors.pem", &bank.framework.bundle_pem());
        bank.write_config();
        bank
    }

    /// Changes the configuration.
    pub fn configure(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.write_config();
    }

    /// CM at `localhost`, HH at 127.0.0.1, both at this port: two origins of one server.
    pub fn hub_at(&mut self, port: u16) {
        self.configure(|settings| {
            settings.consent_manager = format!("https://localhost:{port}");
            settings.headless_heimdall = format!("https://127.0.0.1:{port}");
        });
    }

    fn write_config(&self) {
        let Settings {
            regime,
            environment,
            module,
            token_uri,
            pin,
            state_dir,
            key,
            certificate,
            consent_manager,
            headless_heimdall,
            subject,
            token_lines,
            env,
            trust,
            trust_lines,
            hub_lines,
            sections,
        } = &self.settings;
        let variables = env
            .iter()
            .map(|(name, value)| format!("{name} = \"{value}\"\n"));
        let variables: String = variables.collect();
        let (scheme, origins) = match *regime {
            "uae" => (
                "lfi_code = \"mybank\"".to_owned(),
                format!(
                    "consent_manager = \"{consent_manager}\"\nheadless_heimdall = \"{headless_heimdall}\""
                ),
            ),
            other => (format!("regime = \"{other}\""), String::new()),
        };
        let text = format!(
            r#"{scheme}
environment = "{environment}"

[[token]]
module = "{}"
uri = "{token_uri}"
pin = {pin}
state_dir = "{state_dir}"
{token_lines}
[token.env]
SOFTHSM2_CONF = "{}"
{variables}
[c3]
key = "{key}"
certificate = "{certificate}"

[c3.subject]
{subject}

[trust]
mode = "{trust}"
anchors = "anchors.pem"
{trust_lines}

[hub]
{origins}
{hub_lines}
{sections}
"#,
            module.display(),
            self.token.conf().display(),
        );
        self.write("bank.toml", &text);
    }

    /// The module that is configured.
    pub fn module(&self) -> &Path {
        &self.settings.module
    }

    /// What the module reads: the variables of `[[token]] env`.
    pub fn module_environment(&self) -> Vec<(String, String)> {
        let conf = self.token.conf().display().to_string();
        let mut all = vec![("SOFTHSM2_CONF".to_owned(), conf)];
        all.extend(self.settings.env.iter().cloned());
        all
    }

    /// The label of the configured token.
    pub fn token_label(&self) -> &str {
        let label = self.settings.token_uri.strip_prefix("pkcs11:token=");
        label.expect("a URI of a label")
    }

    /// The configured PIN file, or the one that is the last argument of the program that gives the PIN.
    pub fn pin_file(&self) -> PathBuf {
        let path = self.settings.pin.rsplit('"').nth(1);
        path.expect("a PIN file").into()
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config_path(&self) -> PathBuf {
        self.path("bank.toml")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of a file");
        fs::write(&path, text).expect("a file of the bank");
        path
    }

    /// Runs `hsm-mtls` with this configuration; nobody is at its terminal.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Run {
        let mut command = Command::new(BINARY.expect("cargo tells tests where the command is"));
        command
            .arg("--config")
            .arg(self.config_path())
            .args(arguments);
        for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
            .envs(environment.iter().copied())
            .env_remove("SOFTHSM2_CONF")
            .stdin(Stdio::null());
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("hsm-mtls runs");
        Run {
            code: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(1)),
            stdout: String::from_utf8(stdout).expect("UTF-8"),
            stderr: String::from_utf8(stderr).expect("UTF-8"),
        }
    }

    /// Runs a test of this test binary again, in a process whose environment is the module's: the
    /// library wants it in place from the start, and no two tests can share one.
    pub fn run_test<Test: Fn()>(&self, test: Test, arguments: &[(&str, String)]) {
        let output = child_test::command(test)
            .env(CHILD_CONFIG, self.config_path())
            .env("SOFTHSM2_CONF", self.token.conf())
            .envs(arguments.iter().map(|(name, value)| (*name, value)))
            .output()
            .expect("the test runs again");
        let printed = child_test::passed(type_name::<Test>(), &output);
        // What it measured is for whoever asks for output.
        #[expect(clippy::print_stdout, reason = "the test runner shows it on demand")]
        {
            print!("{printed}");
        }
    }

    /// Makes the C3 key in the token, has it certified and installs the certificate.
    pub fn certify(&self, key_type: &str) {
        self.run(&["key", "generate", "--type", key_type]).expect(0);
        let leaf = self.issue();
        let chain = self.write("issued.pem", &(leaf + &self.framework.issuing_pem()));
        self.run(&["cert", "install", chain.to_str().expect("a plain path")])
            .expect(0);
    }

    /// A leaf for the token's key.
    pub fn issue(&self) -> String {
        self.framework.issue_client(&self.csr())
    }

    pub fn csr(&self) -> String {
        self.run(&["csr"]).expect(0).stdout
    }
}

/// The configuration, in the process that [`Bank::run_test`] started.
pub fn config_of_child() -> Option<Config> {
    let path = std::env::var_os(CHILD_CONFIG)?;
    Some(Config::load(Path::new(&path)).expect("the parent's configuration"))
}

impl Default for Bank {
    fn default() -> Self {
        Self::new()
    }
}
