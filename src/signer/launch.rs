//! How a signer process is started, by a command as a child of this process or by the process launcher; and the configuration
//! that it finds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::child_process::{ChildProcess, KillScope};
use super::{SignerError, sealed_configuration};
use crate::config::{Config, ConfigText};
use crate::standard_error::pipe_stderr;
use crate::working_dir;

/// The `argv[0]` of the process, whatever the program's file name is.
const NAME: &str = "hsm-mtls";

/// The command that starts a signer process. It reads its configuration file at each start.
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
}

impl Launch {
    fn command(&self) -> Command {
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

/// Who starts the signer processes of a supervisor.
#[derive(Debug)]
pub(super) enum SignerStart {
    /// This process.
    Here(Launch),
    /// The launcher of a proxy. Each signer uses this configuration, also after a restart.
    #[cfg(feature = "front-end")]
    ByLauncher {
        launcher: std::sync::Arc<super::process_launcher::ProcessLauncher>,
        configuration: std::sync::Arc<OwnedFd>,
        /// The number of the token that it has the key of.
        token: u8,
    },
}

impl SignerStart {
    /// Starts a signer process, which finds the other end of its control socket as its standard input.
    pub(super) fn start(&self, stdin: OwnedFd) -> Result<ChildProcess, SignerError> {
        match self {
            Self::Here(launch) => {
                let mut command = launch.command();
                command.stdin(Stdio::from(stdin));
                let scope = match launch.attended {
                    true => KillScope::Child,
                    false => KillScope::Group,
                };
                ChildProcess::start(command, scope)
            }
            #[cfg(feature = "front-end")]
            Self::ByLauncher {
                launcher,
                configuration,
                token,
            } => {
                use std::os::fd::AsFd as _;
                let token = *token;
                let signer = super::process_launcher::LaunchedProcess::Signer { token };
                launcher.launch(signer, stdin.as_fd(), Some(configuration.as_fd()))
            }
        }
    }

    /// Whether an operator at a terminal can be asked.
    pub(super) fn is_attended(&self) -> bool {
        match self {
            Self::Here(launch) => launch.attended,
            #[cfg(feature = "front-end")]
            Self::ByLauncher { .. } => false,
        }
    }
}

/// The configuration of a signer process, which is read once: the one that a proxy's supervisor has it use, or else a file.
#[derive(Debug)]
pub struct SignerConfiguration {
    pub(super) config: Result<Config, SignerError>,
    pub(super) of_proxy: bool,
}

impl SignerConfiguration {
    /// Reads the configuration at standard output, or else the file at `path`, as it is for one of the tokens that hold a key for the
    /// connections. What is wrong with it is an error of the signer that is started with it.
    pub fn read(path: &Path, token: u8) -> Self {
        let sealed = sealed_configuration::at_standard_output();
        let text = ConfigText::inherited_or_read(sealed, path);
        let config = text.and_then(|text| text.parse()).map_err(Into::into);
        let missing = || SignerError::handover(&"a token that is not in the configuration");
        Self {
            config: config.and_then(|config| config.of_key_token(token.into()).ok_or_else(missing)),
            of_proxy: sealed_configuration::is_at_standard_output(),
        }
    }

    /// The configuration, if there is nothing wrong with it.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref().ok()
    }
}
