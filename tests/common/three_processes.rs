//! Supervisor, signer and a front end that belongs to the test: how they are started, and commands to the front end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::rand;
use hsm_mtls::internal::signer::front_end_supervisor::{SignerPlan, supervise};
use hsm_mtls::internal::signer::process_launcher::{self, LaunchedProcess, ProcessLauncher};
use tempfile::TempDir;

use super::bank::{BINARY, Bank};
use super::child_test;
use super::hub::{Hub, HubOptions};
use super::poll::until;
use super::procfs::{self, launched};
use super::signer_process::{self};
use super::softhsm::SoftHsm;
use super::trust_framework::Kind;

pub const ROLE: &str = "HSM_MTLS_TEST_ROLE";
pub const PORT_FILE: &str = "HSM_MTLS_TEST_PORT_FILE";

pub struct Scene {
    pub bank: Bank,
    pub pin: String,
    /// PIN and ledger lie apart from what the front end may read.
    pub apart: TempDir,
    _hub: Hub,
}

pub fn scene() -> Scene {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("the harness");
    let pin: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut bank = Bank::with_token(Kind::Sandbox, SoftHsm::with_pin("lfi", &pin));
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("rsa-2048");
    let apart = tempfile::tempdir().expect("the harness");
    let place = |name: &str| apart.path().join(name).display().to_string();
    bank.configure(|settings| {
        settings.state_dir = place("state");
        settings.sections = format!(
            "[ledger]\nfile = \"{}\"\nfsync = \"interval\"\n",
            place("ledger.jsonl")
        );
    });
    Scene {
        bank,
        pin,
        apart,
        _hub: hub,
    }
}

/// The three processes of a bank, and a line to its front end.
pub struct ThreeProcesses<'a> {
    pub scene: &'a Scene,
    pub supervisor: Child,
    port_file: PathBuf,
}

impl<'a> ThreeProcesses<'a> {
    pub fn start<Test: Fn()>(scene: &'a Scene, process: Test, variables: &[(&str, &str)]) -> Self {
        let port_file = scene.apart.path().join("port");
        let _ = fs::remove_file(&port_file);
        let supervisor = child_test::command(process)
            .env(ROLE, "supervisor")
            .env("HSM_MTLS_TEST_CONFIG", scene.bank.config_path())
            .env(PORT_FILE, &port_file)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the harness");
        let processes = Self {
            scene,
            supervisor,
            port_file,
        };
        until("the front end serves", || processes.connect().is_some());
        processes
    }

    pub fn connect(&self) -> Option<TcpStream> {
        let port: u16 = fs::read_to_string(&self.port_file).ok()?.parse().ok()?;
        TcpStream::connect(("127.0.0.1", port)).ok()
    }

    pub fn ask(&self, line: &str) -> String {
        let mut stream = self.connect().expect("the front end listens");
        writeln!(stream, "{line}").expect("the harness");
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .expect("the harness");
        answer.trim_end().to_owned()
    }

    pub fn signer(&self) -> u32 {
        let signers = signer_process::signers(&self.scene.bank);
        *signers.first().expect("a signer")
    }

    pub fn front_end(&self) -> u32 {
        let signer = self.signer();
        let others = launched(self.supervisor.id());
        *others
            .iter()
            .find(|pid| **pid != signer)
            .expect("a front end")
    }
}

/// The supervisor of a bank's proxy in this process, with the launcher as that command starts it.
pub fn supervise_with(launcher: Command, config: &Path) {
    let launcher = ProcessLauncher::start(launcher).expect("a launcher");
    let plan = SignerPlan::read(&launcher, config, None).expect("a configuration");
    supervise(config, plan, &[]).expect("as it was written");
}

/// The process launcher in this process. The front end is the test's own.
pub fn launch_with(front_end: impl Fn() -> Command, config: &Path) {
    let command_of = |role| match role {
        LaunchedProcess::ConfigReader => program(config, "config-reader"),
        LaunchedProcess::Signer { .. } => program(config, "signer"),
        LaunchedProcess::FrontEnd => front_end(),
    };
    process_launcher::serve(command_of).expect("as it was written");
}

/// The command as one of the proxy's processes.
pub fn program(config: &Path, name: &str) -> Command {
    let mut command = Command::new(BINARY.expect("cargo tells tests where the command is"));
    command.arg("--config").arg(config).arg(name);
    command
}

impl Drop for ThreeProcesses<'_> {
    fn drop(&mut self) {
        let (signer, front_end) = (self.signer(), self.front_end());
        self.supervisor.kill().expect("the harness");
        self.supervisor.wait().expect("the harness");
        // The supervisor is gone: all are.
        until("signer and front end are gone", || {
            [signer, front_end]
                .into_iter()
                .all(|pid| procfs::state(pid).is_none_or(|state| state == 'Z'))
        });
    }
}
