//! A TPM 2.0 as a token: swtpm, the access broker tpm2-abrmd on a D-Bus of its own, and libtpm2_pkcs11 with a store of its
//! own. All of it ends with the fixture.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::bank::Bank;
use super::poll::until;
use super::ports;
use super::trust_framework::write_file;

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1";
const PIN: &str = "tpm-pin-0001";
const SO_PIN: &str = "tpm-so-pin-0001";
const LABEL: &str = "tpm";
const BUS_NAME: &str = "com.example.HsmMtlsTest";

pub struct TpmToken {
    dir: TempDir,
    bus: String,
    // In the order in which they are ended.
    processes: Vec<Child>,
}

impl TpmToken {
    /// A new TPM with an empty token.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the TPM");
        for folder in ["state", "store"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        write_file(&dir.path().join("pin"), PIN, 0o600);
        let (data, control) = (ports::unused(), ports::unused());
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", dir.path().join("state").display()))
            .arg("--server")
            .arg(format!("type=tcp,port={data},bindaddr=127.0.0.1"))
            .arg("--ctrl")
            .arg(format!("type=tcp,port={control},bindaddr=127.0.0.1"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm: make test installs it");
        let mut dbus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon: make test installs it");
        let mut bus = String::new();
        let printed = dbus.stdout.take().expect("its output");
        BufReader::new(printed)
            .read_line(&mut bus)
            .expect("the address of the bus");
        let mut token = Self {
            dir,
            bus: bus.trim().to_owned(),
            processes: vec![dbus, swtpm],
        };
        let mut broker = token.broker(data);
        until("the broker serves the TPM", || {
            // It gives up where the TPM does not listen yet.
            if broker.try_wait().expect("its state").is_some() {
                broker = token.broker(data);
            }
            token.tool(&["--list-slots"])
        });
        token.processes.insert(0, broker);
        token.store_tool(&["init"]);
        let pins = ["--sopin", SO_PIN, "--userpin", PIN];
        token.store_tool(&[&["addtoken", "--pid", "1", "--label", LABEL], &pins[..]].concat());
        token
    }

    fn broker(&self, port: u16) -> Child {
        Command::new("tpm2-abrmd")
            .args(["--session", "--allow-root", "--dbus-name", BUS_NAME])
            .arg(format!("--tcti=swtpm:host=127.0.0.1,port={port}"))
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tpm2-abrmd: make test installs it")
    }

    /// What the module reads.
    fn environment(&self) -> Vec<(String, String)> {
        let tcti = format!("tabrmd:bus_type=session,bus_name={BUS_NAME}");
        let store = self.dir.path().join("store").display().to_string();
        [
            ("TPM2_PKCS11_STORE", store),
            ("TPM2_PKCS11_TCTI", tcti),
            ("TPM2_PKCS11_LOG_LEVEL", "0".to_owned()),
            ("TSS2_LOG", "all+NONE".to_owned()),
            ("DBUS_SESSION_BUS_ADDRESS", self.bus.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn tool(&self, arguments: &[&str]) -> bool {
        assert!(
            Path::new(MODULE).exists(),
            "make test installs libtpm2-pkcs11-1"
        );
        Command::new("pkcs11-tool")
            .args(["--module", MODULE])
            .args(arguments)
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("pkcs11-tool: make test installs it")
            .success()
    }

    /// The store's own tool: a token that C_InitToken makes has no RSA-PSS.
    fn store_tool(&self, arguments: &[&str]) {
        let environment = self.environment();
        let tcti = environment
            .iter()
            .find(|(name, _)| name == "TPM2_PKCS11_TCTI");
        let done = Command::new("tpm2_ptool")
            .args(arguments)
            .arg("--path")
            .arg(self.dir.path().join("store"))
            .env("TPM2TOOLS_TCTI", tcti.map_or("", |(_, value)| value))
            .envs(environment.iter().cloned())
            .output()
            .expect("tpm2_ptool: make test installs it");
        assert!(done.status.success(), "{done:?}");
    }

    /// Makes it the bank's token.
    pub fn configure(&self, bank: &mut Bank) {
        let pin = self.dir.path().join("pin");
        bank.configure(|settings| {
            settings.module = MODULE.into();
            settings.token_uri = format!("pkcs11:token={LABEL}");
            settings.pin = format!("{{ file = \"{}\" }}", pin.display());
            settings.env = self.environment();
        });
    }
}

impl Default for TpmToken {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TpmToken {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
