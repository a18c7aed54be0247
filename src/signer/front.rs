//! Three processes: a supervisor that parses nothing from the network, and under it the signer and
//! the front end, each started again where it ends.
//!
//! What is under Landlock passes that on to all that it starts, so a front end could not start a
//! signer: hence the third.

use std::env;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command as Spawn};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::handover::Handed;
use super::hardening::{end_with_parent, harden, keep_descriptors, tell};
pub use super::offer::{Offer, Offers};
pub use super::succession::Plan;
use super::succession::Succession;
use super::{SignerError, handover};
use crate::backoff::Backoff;
use crate::config::pin::PinSource;
use crate::exit_code::ExitCode;

/// A front end that lived so long begins with a short pause again. Each start is a login.
const LIVED: Duration = Duration::from_secs(60);
/// The variables of this process that a front end is given.
const KEPT: [&str; 11] = [
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
];
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// Runs a front end, with a signer for it, until the front end ends by itself or is told to.
///
/// Each front end is given `sockets` to listen on: they stay open while one is started again, and who
/// calls meanwhile waits. SIGTERM and SIGINT are passed on to the front end. At SIGHUP the configuration is
/// `read` anew, and a signer that goes by it is offered to the front end: see [`Offers`]. What was in use
/// last is also what a front end or a signer that is started again goes by.
///
/// # Errors
/// The PIN is to come from a source that the front end would have too, or that no restart survives;
/// or a process cannot be started.
pub fn supervise(
    first: Plan,
    read: impl Fn() -> Result<Plan, SignerError>,
    front_end: impl Fn() -> Command,
    sockets: &[BorrowedFd<'_>],
) -> Result<ExitCode, SignerError> {
    fit(&first.config.token.pin)?;
    keep_descriptors();
    tell(&harden(sockets.len()), "supervisor");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SignerError::handover(&error))?;
    runtime.block_on(watch(first, &read, &front_end, sockets))
}

pub(super) fn fit(source: &PinSource) -> Result<(), SignerError> {
    let why = match source {
        PinSource::Env(_) => {
            "every process that is started from here has the variable, the one that parses the network too"
        }
        PinSource::Prompt | PinSource::ProtectedPath => {
            "nobody is there when the signer process is started again"
        }
        PinSource::File(_) | PinSource::Credential(_) | PinSource::Command(_) => return Ok(()),
    };
    Err(SignerError::PinSource {
        pin_source: source.clone(),
        why,
    })
}

async fn watch(
    mut plan: Plan,
    read: &dyn Fn() -> Result<Plan, SignerError>,
    front_end: &impl Fn() -> Command,
    sockets: &[BorrowedFd<'_>],
) -> Result<ExitCode, SignerError> {
    let listen = |kind| signal(kind).map_err(|error| SignerError::handover(&error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let mut user_1 = listen(SignalKind::user_defined1())?;
    let mut user_2 = listen(SignalKind::user_defined2())?;
    let mut failures = 0;
    loop {
        let since = Instant::now();
        // Channels and signer of its own for each: what one that was taken over has done to its channels,
        // or left in them, is nothing that the next one meets.
        let (signer, channels) = plan.start()?;
        // Its standard input is where it finds its channels, for as long as we live.
        let (mut child, control) = start(front_end(), &plan.text, &channels, sockets)?;
        drop(channels);
        let mut succession = Succession::new(control, read, plan, signer)?;
        let mut told_to_end = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = terminate.recv() => { told_to_end = true; pass_on(&child, Signal::TERM); }
                _ = interrupt.recv() => { told_to_end = true; pass_on(&child, Signal::TERM); }
                _ = hang_up.recv() => succession.asked(),
                _ = user_1.recv() => tracing::warn!("SIGUSR1 does nothing here; SIGHUP reloads, and opens the access log anew"),
                _ = user_2.recv() => tracing::warn!("SIGUSR2 does nothing here; SIGHUP reloads, and opens the access log anew"),
                step = succession.step() => if let Err(error) = step {
                    tracing::error!(%error, "it is ended, and started again: somebody may have taken it over");
                    // It may have ended just now.
                    let _ = child.start_kill();
                }
            }
        };
        plan = succession.into_plan();
        let status = status.map_err(|error| SignerError::handover(&error))?;
        // An end of its own is an answer: its exit code is ours. A bug of ours is not.
        let code = status
            .code()
            .map(|code| u8::try_from(code).map_or(ExitCode::Bug, ExitCode::of));
        if let Some(code) = code.filter(|code| *code != ExitCode::Bug) {
            return Ok(code);
        }
        if told_to_end {
            return Ok(ExitCode::Good);
        }
        if since.elapsed() >= LIVED {
            failures = 0;
        }
        failures += 1;
        let pause = BACKOFF.delay(failures);
        tracing::error!(%status, pause_ms = pause.as_millis(), "the front end ended; it is started again");
        tokio::select! {
            () = sleep(pause) => {}
            _ = terminate.recv() => return Ok(ExitCode::Good),
            _ = interrupt.recv() => return Ok(ExitCode::Good),
        }
    }
}

fn start(
    command: Command,
    configuration: &str,
    channels: &[OwnedFd],
    sockets: &[BorrowedFd<'_>],
) -> Result<(Child, OwnedFd), SignerError> {
    let (ours, theirs) = handover::pair().map_err(|error| SignerError::handover(&error))?;
    let program = command.get_program().into();
    let mut spawn = Spawn::from(bare(command));
    let spawned = spawn.stdin(Stdio::from(theirs)).kill_on_drop(true).spawn();
    let child = spawned.map_err(|error| SignerError::Spawn {
        program,
        why: error.to_string(),
    })?;
    handover::give(&ours, false, Some(configuration), channels, sockets)?;
    Ok((child, ours))
}

/// The same command without the variables that only others have a use for: what the signer's PIN could
/// be found with, or the vault that it comes from, is nothing for whoever parses the network.
fn bare(mut command: Command) -> Command {
    let own: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let kept = KEPT
        .iter()
        .filter_map(|name| Some((OsString::from(name), env::var_os(name)?)));
    let kept: Vec<_> = kept.collect();
    command.env_clear().envs(kept).envs(own);
    command
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        // It may have ended just now.
        let _ = kill_process(pid, signal);
    }
}

/// What a front end works with.
#[derive(Debug)]
pub struct Inherited {
    /// Where another signer is offered ([`Offers`]). To be kept.
    pub control: OwnedFd,
    /// The configuration to go by. None: what its file has.
    pub configuration: Option<String>,
    /// The ways to the signer.
    pub channels: Vec<OwnedFd>,
    /// What it listens on, as given to [`supervise`].
    pub sockets: Vec<OwnedFd>,
}

/// Takes what a front end works with and hardens the process, in a front end that [`supervise`]
/// started.
///
/// # Errors
/// Nobody of ours started it.
pub fn inherit() -> Result<Inherited, SignerError> {
    let Handed {
        control,
        channels,
        sockets,
        configuration,
        ..
    } = handover::take()?;
    let mut parts = harden(1 + channels.len() + sockets.len());
    parts.push(end_with_parent());
    tell(&parts, "front end");
    Ok(Inherited {
        control,
        configuration,
        channels,
        sockets,
    })
}
