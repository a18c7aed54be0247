//! The reader of the configuration: a process that reads and checks the file for the supervisor, at the start and at each
//! reload, and ends. The supervisor lives as long as the proxy; it is told what the front end is told, how many channels there
//! are, and what is wrong. The whole text, in which arguments of the PIN program and variables of the module may lead to the
//! PIN, goes on to the signer in a sealed file that the supervisor does not read.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use super::fd_passing::{
    Passed, configuration_text, pass_to_child, receive_from_supervisor, receive_with_descriptors,
    send_with_descriptors, socket_pair,
};
use super::frame::VERSION;
use super::hardening::{end_with_parent, harden, log_missing};
use super::process_launcher::{ProcessLauncher, Role};
use super::sandbox::Sandbox;
use super::{SignerError, channels, sealed_configuration, timespec};
use crate::config::pin::PinSource;
use crate::config::{Config, ConfigText};
use crate::engine::{EngineError, ReportedError};
use crate::exit_code::ExitCode;
use crate::standard_error;

/// How long a file may take to be read: it may lie on a file system that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The first message of a reader; the front end's text follows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    version: u8,
    /// How many channels a signer has.
    channels: usize,
    /// Why there is no configuration; `None` if there is one.
    error: Option<ReportedError>,
}

/// What a reader says of a configuration that is good.
#[derive(Debug)]
pub(super) struct ReadConfiguration {
    pub(super) front_end_text: String,
    /// The whole text, for the signer.
    pub(super) sealed: OwnedFd,
    pub(super) channels: usize,
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
        let _reader = launcher.launch(Role::ConfigReader, reader_side.as_fd(), None)?;
        drop(reader_side);
        let passed = Passed {
            configuration: running,
            ..Passed::default()
        };
        pass_to_child(&control, passed)?;
        let until = Instant::now() + READ_TIMEOUT;
        let mut descriptors = Vec::new();
        let answer = receive_until(&control, &mut descriptors, until)?;
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
        })
    }
}

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
    let received = receive_with_descriptors(control.as_fd(), descriptors, RecvFlags::empty());
    received.map_err(|error| SignerError::handover(&error))
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
    let read = read(path, inherited.configuration.as_deref());
    let answer = |channels, error| Answer {
        version: VERSION,
        channels,
        error,
    };
    let control = inherited.control.as_fd();
    let sent = match &read {
        Ok(read) => {
            let answer = serde_json::to_vec(&answer(read.channels, None));
            let descriptors = [read.sealed.as_fd()];
            let text = Some(&*read.front_end_text);
            answer.map_err(std::io::Error::from).and_then(|answer| {
                send_with_descriptors(control, &answer, &descriptors, text, SendFlags::NOSIGNAL)
            })
        }
        Err(_) => Ok(()),
    };
    // Too long for a message, for instance: that is said too.
    let error = match (read, sent) {
        (Err(error), _) => error,
        (Ok(_), Err(error)) => SignerError::handover(&error),
        (Ok(_), Ok(())) => return Ok(ExitCode::Good),
    };
    let answer = serde_json::to_vec(&answer(0, Some(ReportedError::of(error))));
    let answer = answer.map_err(|error| SignerError::handover(&error))?;
    send_with_descriptors(control, &answer, &[], None, SendFlags::NOSIGNAL)
        .map_err(|error| SignerError::handover(&error))?;
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
        check_pin_source(&config.token.pin)?;
        Sandbox::of_front_end(&running)?.fits(&config)?;
    } else {
        check_pin_source(&config.token.pin)?;
        // One that its sandbox does not allow is an error before anything is started.
        Sandbox::of_front_end(&config)?;
    }
    sealed(&text, &config)
}

fn sealed(text: &ConfigText, config: &Config) -> Result<ReadConfiguration, SignerError> {
    let sealed = sealed_configuration::seal(&text.text);
    Ok(ReadConfiguration {
        front_end_text: text.for_front_end()?,
        sealed: sealed.map_err(|error| SignerError::handover(&error))?,
        channels: channels(config),
    })
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
