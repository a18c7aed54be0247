//! The command that starts a signer process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::standard_error::pipe_stderr;
use crate::working_dir;

/// The `argv[0]` of the process, whatever the program's file name is.
const NAME: &str = "hsm-mtls";

/// The command that starts a signer process.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The `hsm-mtls` program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The module's environment variables, in addition to those of this process.
    pub environment: BTreeMap<String, String>,
    /// Whether an operator at a terminal can be asked.
    pub attended: bool,
    /// The text of the configuration that each signer uses, also after a restart. `None`: it reads the file at each start.
    pub configuration: Option<Arc<str>>,
}

impl Launch {
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(folder) = working_dir::started_in() {
            // The signer finds its own way from there.
            command.current_dir(folder);
        }
        command
            .arg0(NAME)
            .args(&self.arguments)
            .envs(&self.environment)
            .stdout(Stdio::null())
            // The signer does not talk to the service manager.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES");
        if !self.attended {
            // A signal from the terminal must not end the signer before the program: the program ends it, after the
            // last response.
            command.process_group(0);
            pipe_stderr(&mut command);
        }
        command
    }
}
