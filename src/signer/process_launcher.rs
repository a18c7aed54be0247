//! The process launcher starts the other processes of the proxy for its supervisor.
//!
//! Landlock and seccomp are inherited by child processes, also through an exec. A supervisor under a filter that suits it
//! could start no signer, because a vendor's module needs what the supervisor does not: files, sockets, programs. So
//! the launcher, which is under neither, starts the processes. It does nothing else: it reads no configuration, and of a
//! message from the supervisor only which of three programs is meant. A supervisor that was taken over can have these three
//! started, with the descriptors that it passes, and no other program. Of a signer it says for which token.

use std::env;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::net::{RecvFlags, SendFlags};

use super::child_process::{self, ChildProcess, KillScope};
use super::fd_passing::{receive_with_descriptors, send_with_descriptors, socket_pair};
use super::hardening::{close_descriptors_on_exec, end_with_parent, harden, log_missing};
use super::ignored_signals::ignore_signals;
use super::{SignerError, fd_passing};
use crate::exit_code::ExitCode;
use crate::standard_error::{self, pipe_stderr};

/// The environment variables that a front end inherits.
const INHERITED_VARIABLES: [&str; 17] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "RUST_BACKTRACE",
    "NOTIFY_SOCKET",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "HOSTALIASES",
    // For `proxy = "environment"` of [network].
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];
/// A process that a launcher starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchedProcess {
    /// Reads the configuration, and ends (`config_reader`).
    ConfigReader,
    /// Has module, PIN and ledger (`service`) of one of the tokens that hold a key for the connections.
    Signer {
        /// The number of the token, from 0 on.
        token: u8,
    },
    /// Parses the network.
    FrontEnd,
}

impl LaunchedProcess {
    /// How a supervisor names it to its launcher.
    fn code(self) -> [u8; 2] {
        match self {
            Self::ConfigReader => [b'C', 0],
            Self::Signer { token } => [b'S', token],
            Self::FrontEnd => [b'F', 0],
        }
    }

    fn of(code: &[u8]) -> Option<Self> {
        match *code {
            [b'C', 0] => Some(Self::ConfigReader),
            [b'S', token] => Some(Self::Signer { token }),
            [b'F', 0] => Some(Self::FrontEnd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ConfigReader => "the reader of the configuration",
            Self::Signer { .. } => "the signer",
            Self::FrontEnd => "the front end",
        }
    }
}

/// A launcher process, for the supervisor. Dropping this ends the launcher, and all that it has started.
#[derive(Debug)]
pub struct ProcessLauncher {
    socket: OwnedFd,
    // The launcher ends when the last descriptor of its supervisor's end is closed.
    _process: ChildProcess,
}

impl ProcessLauncher {
    /// Starts a launcher: a process that runs [`serve`].
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(mut command: Command) -> Result<Arc<Self>, SignerError> {
        let (socket, launcher_side) =
            socket_pair().map_err(|error| SignerError::handover(&error))?;
        command
            .stdin(Stdio::from(launcher_side))
            // What systemd tells the main process is not for it, and not for what it starts.
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            // A signal from the terminal is the supervisor's to handle.
            .process_group(0);
        close_descriptors_on_exec();
        let process = ChildProcess::start(command, KillScope::Group)?;
        Ok(Arc::new(Self {
            socket,
            _process: process,
        }))
    }

    /// Has a process started with this standard input and, for a signer, this standard output.
    pub(super) fn launch(
        &self,
        process: LaunchedProcess,
        stdin: BorrowedFd<'_>,
        stdout: Option<BorrowedFd<'_>>,
    ) -> Result<ChildProcess, SignerError> {
        let (socket, thread_side) = socket_pair().map_err(|error| SignerError::handover(&error))?;
        let descriptors: Vec<_> = [thread_side.as_fd(), stdin]
            .into_iter()
            .chain(stdout)
            .collect();
        let request = process.code();
        let sent = send_with_descriptors(
            self.socket.as_fd(),
            &request,
            &descriptors,
            None,
            SendFlags::NOSIGNAL,
        );
        sent.map_err(|_| SignerError::LauncherEnded)?;
        drop(thread_side);
        ChildProcess::started(socket, process.name().into())
    }
}

/// Runs a launcher until its supervisor ends. `command_of` gives the command of each process, without what all of its kind
/// have in common: standard streams, environment, process group.
///
/// # Errors
/// This process was not started by a [`ProcessLauncher`].
pub fn serve(command_of: impl Fn(LaunchedProcess) -> Command) -> Result<ExitCode, SignerError> {
    let socket = fd_passing::control_socket()?;
    close_descriptors_on_exec();
    let mut measures = harden(1);
    measures.push(end_with_parent());
    standard_error::release();
    log_missing(&measures, "process launcher");
    // Its supervisor ends it, after what it has started.
    let _ignored = ignore_signals();
    loop {
        let mut descriptors = Vec::new();
        let received =
            receive_with_descriptors(socket.as_fd(), &mut descriptors, RecvFlags::empty());
        let request = received.map_err(|error| SignerError::handover(&error))?;
        if request.is_empty() {
            return Ok(ExitCode::Good);
        }
        let mut descriptors = descriptors.into_iter();
        let passed = (
            LaunchedProcess::of(&request),
            descriptors.next(),
            descriptors.next(),
        );
        let (Some(process), Some(child_socket), Some(stdin)) = passed else {
            return Err(SignerError::handover(&"a request that is none"));
        };
        let command = as_launched(process, command_of(process), stdin, descriptors.next());
        let work = move || child_process::run(command, KillScope::Group, &child_socket);
        let thread = thread::Builder::new().name("hsm-child".to_owned());
        // Where there is no thread, the supervisor finds its socket closed.
        if let Err(error) = thread.spawn(work) {
            tracing::error!(%error, "no thread to start a process on");
        }
    }
}

fn as_launched(
    process: LaunchedProcess,
    mut command: Command,
    stdin: OwnedFd,
    stdout: Option<OwnedFd>,
) -> Command {
    if process == LaunchedProcess::FrontEnd {
        command = with_clean_environment(command);
    } else {
        // Only main process and front end talk to the service manager.
        command.env_remove("NOTIFY_SOCKET");
    }
    command.stdin(Stdio::from(stdin)).process_group(0);
    match stdout {
        Some(stdout) => {
            command.stdout(Stdio::from(stdout));
        }
        None if process == LaunchedProcess::FrontEnd => {}
        None => {
            command.stdout(Stdio::null());
        }
    }
    if matches!(process, LaunchedProcess::Signer { .. }) {
        pipe_stderr(&mut command);
    }
    command
}

/// Removes all environment variables but [`INHERITED_VARIABLES`] and those that the command sets: the process that parses
/// the network must not have variables with the PIN, or with the credentials of a vault that has it.
fn with_clean_environment(mut command: Command) -> Command {
    let configured: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let inherited = INHERITED_VARIABLES
        .iter()
        .filter_map(|name| Some((OsString::from(name), env::var_os(name)?)));
    let inherited: Vec<_> = inherited.collect();
    command.env_clear().envs(inherited).envs(configured);
    command
}
