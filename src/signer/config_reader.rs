//! The reader of the configuration: a process that reads and checks the file for the supervisor, at the start and at each
//! reload, and ends. The supervisor lives as long as the proxy; it is told what the front end is told, how many channels there
//! are, and what is wrong. The whole text, in which arguments of the PIN program and variables of the module may lead to the
//! PIN, goes on to the signer in a sealed file that the supervisor does not read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use super::fd_passing::{
    MAX_MESSAGE_LEN, Passed, configuration_text, pass_to_child, receive_from_supervisor,
    receive_with_descriptors, send_with_descriptors, socket_pair,
};
use super::frame::VERSION;
use super::hardening::{end_with_parent, harden, log_missing};
use super::process_launcher::{LaunchedProcess, ProcessLauncher};
use super::sandbox::Sandbox;
use super::watched_name::{WatchedName, names_on_the_way};
use super::{SignerError, channels_of_each, sealed_configuration, timespec};
use crate::config::pin::PinSource;
use crate::config::{Config, ConfigError, ConfigText};
use crate::engine::{EngineError, ReportedError};
use crate::exit_code::ExitCode;
use crate::standard_error;

/// How long a file may take to be read: it may lie on a file system that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the exit status of a reader that has closed its socket is waited for.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The first message of a reader; the front end's text follows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    version: u8,
    /// How many channels each signer has.
    channels: Vec<usize>,
    /// What is to be watched.
    watched: Vec<WatchedName>,
    /// Why there is no configuration; `None` if there is one.
    error: Option<ReportedError>,
}

/// What a reader says of a configuration that is good.
#[derive(Debug)]
pub(super) struct ReadConfiguration {
    pub(super) front_end_text: String,
    /// The whole text, for the signer.
    pub(super) sealed: OwnedFd,
    /// Of each signer.
    pub(super) channels: Vec<usize>,
    /// What makes the proxy reload when it is replaced.
    pub(super) watched: Vec<WatchedName>,
}

impl ReadConfiguration {
    /// Has the file read. `running` is the text that a running front end was started with, which is to use the new one.
    pub(super) fn of(
        launcher: &ProcessLauncher,
        running: Option<&str>,
    ) -> Result<Self, SignerError> {
        let (control, reader_side) =
            socket_pair().map_err(|error| SignerError::handover(&error))?;
        // It is ended when this is dropped.
        let reader = launcher.launch(LaunchedProcess::ConfigReader, reader_side.as_fd(), None)?;
        drop(reader_side);
        let passed = Passed {
            configuration: running,
            ..Passed::default()
        };
        let until = Instant::now() + READ_TIMEOUT;
        let mut descriptors = Vec::new();
        // Where nothing can be passed, it has ended.
        let answer = match pass_to_child(&control, passed) {
            Ok(()) => receive_until(&control, &mut descriptors, until)?,
            Err(_) => Vec::new(),
        };
        if answer.is_empty() {
            let status = reader.wait(END_TIMEOUT);
            return Err(SignerError::ReaderEnded {
                status: status.map_or_else(|| "nobody knows how".to_owned(), |it| it.to_string()),
            });
        }
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|error| SignerError::handover(&error))?;
        if answer.version != VERSION {
            return Err(SignerError::handover(
                &"another version read the configuration",
            ));
        }
        if let Some(error) = answer.error {
            return Err(EngineError::Reported(Box::new(error)).into());
        }
        let text = receive_until(&control, &mut descriptors, until)?;
        Ok(Self {
            front_end_text: configuration_text(text)?,
            sealed: descriptors
                .pop()
                .ok_or_else(|| SignerError::handover(&"the configuration did not come"))?,
            channels: answer.channels,
            watched: answer.watched,
        })
    }
}

/// Receives the next message; an empty one at the end of the socket.
fn receive_until(
    control: &OwnedFd,
    descriptors: &mut Vec<OwnedFd>,
    until: Instant,
) -> Result<Vec<u8>, SignerError> {
    let left = timespec(until.saturating_duration_since(Instant::now()));
    let mut fds = [PollFd::new(control, PollFlags::IN)];
    if retry_on_intr(|| poll(&mut fds, Some(&left))) == Ok(0) {
        return Err(SignerError::ConfigurationUnread {
            seconds: READ_TIMEOUT.as_secs(),
        });
    }
    match receive_with_descriptors(control.as_fd(), descriptors, RecvFlags::empty()) {
        // It has ended before it read what it was passed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Vec::new()),
        received => received.map_err(|error| SignerError::handover(&error)),
    }
}

/// Reads and checks the file at `path`, in a process that the launcher started, and tells the supervisor.
///
/// # Errors
/// This process was not started by a launcher, or the supervisor has ended. What is wrong with the file is the supervisor's to
/// report.
pub fn serve(path: &Path) -> Result<ExitCode, SignerError> {
    let inherited = receive_from_supervisor()?;
    let mut measures = harden(1);
    measures.push(end_with_parent());
    standard_error::release();
    log_missing(&measures, "reader of the configuration");
    let read = read(path, inherited.configuration.as_deref()).map_err(ReportedError::of);
    let answer = |channels: &[usize], watched: &[WatchedName], error| Answer {
        version: VERSION,
        channels: channels.to_vec(),
        watched: watched.to_vec(),
        error,
    };
    let control = inherited.control.as_fd();
    let (answer, descriptors, text) = match &read {
        Ok(read) => (
            answer(&read.channels, &read.watched, None),
            vec![read.sealed.as_fd()],
            Some(&*read.front_end_text),
        ),
        Err(error) => (answer(&[], &[], Some(error.clone())), Vec::new(), None),
    };
    let sent = serde_json::to_vec(&answer)
        .map_err(io::Error::from)
        .and_then(|answer| {
            send_with_descriptors(control, &answer, &descriptors, text, SendFlags::NOSIGNAL)
        });
    sent.map_err(|error| SignerError::handover(&error))?;
    Ok(ExitCode::Good)
}

fn read(path: &Path, running: Option<&str>) -> Result<ReadConfiguration, SignerError> {
    let text = ConfigText::read(path)?;
    let config = text.check()?;
    config.check_users()?;
    if let Some(running) = running {
        let running = ConfigText::inherited_or_read(Some(running.to_owned()), path)?.parse()?;
        if let Some(changed) = running.needs_restart(&config) {
            return Err(SignerError::NeedsRestart { what: changed });
        }
        check_pin_sources(&config)?;
        Sandbox::of_front_end(&running)?.fits(&config)?;
    } else {
        check_pin_sources(&config)?;
        // One that its sandbox does not allow is an error before anything is started.
        Sandbox::of_front_end(&config)?;
    }
    sealed(&text, &config)
}

fn sealed(text: &ConfigText, config: &Config) -> Result<ReadConfiguration, SignerError> {
    let sealed = sealed_configuration::seal(&text.text);
    let front_end_text = text.for_front_end()?;
    if front_end_text.len() > MAX_MESSAGE_LEN {
        return Err(ConfigError::Field {
            path: text.path.clone(),
            line: 0,
            field: String::new(),
            message: format!(
                "what the front end is told of it has {} bytes, and may have {MAX_MESSAGE_LEN}",
                front_end_text.len()
            ),
            advice: Some("shorten the lists in [proxy], [[proxy.listener]] and [trust]".to_owned()),
        }
        .into());
    }
    Ok(ReadConfiguration {
        front_end_text,
        sealed: sealed.map_err(|error| SignerError::handover(&error))?,
        channels: channels_of_each(config),
        watched: config
            .watched_files()
            .into_iter()
            .flat_map(names_on_the_way)
            .collect(),
    })
}

/// Checks the PIN sources of all tokens.
fn check_pin_sources(config: &Config) -> Result<(), SignerError> {
    config
        .tokens()
        .try_for_each(|token| check_pin_source(&token.pin))
}

/// Checks that the signer can read the PIN at each restart, and that the front end cannot.
fn check_pin_source(source: &PinSource) -> Result<(), SignerError> {
    let why = match source {
        PinSource::Env(_) => {
            "every process that is started from here has the variable, the one that parses the network too"
        }
        PinSource::Prompt | PinSource::ProtectedPath => {
            "nobody is there when the signer process is started again"
        }
        PinSource::File(_)
        | PinSource::Credential(_)
        | PinSource::Command(_)
        | PinSource::Empty
        | PinSource::None => return Ok(()),
    };
    Err(SignerError::PinSource {
        pin_source: source.clone(),
        why,
    })
}
