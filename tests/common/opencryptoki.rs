//! openCryptoki's soft token. Its state is the system's (/var/lib, /run, System V IPC), so it is used in namespaces of its
//! own, where no other token of the machine is seen or touched, and every process ends with the test.

use std::any::type_name;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::bank::Bank;
use super::child_test;
use super::poll::until;
use super::trust_framework::write_file;

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/x86_64-linux-gnu/opencryptoki/libopencryptoki.so.0";
const IN_NAMESPACE: &str = "HSM_MTLS_TEST_OPENCRYPTOKI";
const LABEL: &str = "ock";
/// Of 4 to 8 characters.
const PIN: &str = "ock-0001";
const FACTORY_SO_PIN: &str = "87654321";

/// A token in the namespaces of this process.
pub struct OpenCryptoki {
    dir: TempDir,
}

impl OpenCryptoki {
    /// Runs the test again in namespaces of its own, and `None`; there, the token.
    pub fn in_namespaces<Test: Fn()>(test: Test) -> Option<Self> {
        Self::in_namespaces_with(test, &[])
    }

    /// The same with variables for the test there.
    pub fn in_namespaces_with<Test: Fn()>(
        test: Test,
        environment: &[(&str, &Path)],
    ) -> Option<Self> {
        if std::env::var_os(IN_NAMESPACE).is_some() {
            return Some(Self::start());
        }
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        if !rustix::process::getuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let output = command
            .arg(std::env::current_exe().expect("the test binary"))
            .args(child_test::arguments(test))
            .env(IN_NAMESPACE, "yes")
            .envs(environment.iter().copied())
            .output()
            .expect("unshare, of Debian's util-linux");
        child_test::passed(type_name::<Test>(), &output);
        None
    }

    fn start() -> Self {
        for folder in ["/var/lib/opencryptoki", "/run"] {
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "tmpfs", folder])
                .status();
            assert!(mounted.expect("mount").success(), "{folder}");
        }
        for folder in [
            "/var/lib/opencryptoki/swtok/TOK_OBJ",
            "/run/lock/opencryptoki/swtok",
        ] {
            fs::create_dir_all(folder).expect("a folder of openCryptoki's");
        }
        let slots = Command::new("pkcsslotd")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("pkcsslotd: make test installs it");
        assert!(slots.success(), "pkcsslotd: {slots}");
        until("the soft token is there", || tool(&["--list-slots"]));
        let slot = ["--slot-index", "0"];
        let steps: [&[&str]; 3] = [
            &["--init-token", "--label", LABEL, "--so-pin", FACTORY_SO_PIN],
            // A new SO PIN comes before anything else.
            &[
                "--login",
                "--login-type",
                "so",
                "--so-pin",
                FACTORY_SO_PIN,
                "--change-pin",
                "--new-pin",
                "76543210",
            ],
            &[
                "--init-pin",
                "--login",
                "--login-type",
                "so",
                "--so-pin",
                "76543210",
                "--new-pin",
                PIN,
            ],
        ];
        for step in steps {
            assert!(tool(&[&slot[..], step].concat()), "{step:?}");
        }
        let dir = tempfile::tempdir().expect("a folder for the PIN");
        write_file(&dir.path().join("pin"), PIN, 0o600);
        Self { dir }
    }

    /// Makes it the bank's token.
    pub fn configure(&self, bank: &mut Bank) {
        let pin = self.dir.path().join("pin");
        bank.configure(|settings| {
            settings.module = MODULE.into();
            settings.token_uri = format!("pkcs11:token={LABEL}");
            settings.pin = format!("{{ file = \"{}\" }}", pin.display());
        });
    }
}

fn tool(arguments: &[&str]) -> bool {
    assert!(
        Path::new(MODULE).exists(),
        "make test installs opencryptoki"
    );
    Command::new("pkcs11-tool")
        .args(["--module", MODULE])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("pkcs11-tool: make test installs it")
        .success()
}
