//! The supervisor process of the proxy: it starts a signer and a front end, and restarts the front end when it ends. It
//! parses nothing from the network. `signer_supervisor` restarts the signer, on a thread of this process.
//!
//! A process under Landlock passes its restrictions on to its children, so the front end cannot start the signer: hence
//! the third process.

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

pub use super::fd_passing::Inherited;
use super::fd_passing::Passed;
use super::hardening::{close_descriptors_on_exec, end_with_parent, harden, log_missing};
pub use super::reload_protocol::{ReloadOffer, ReloadOffers};
pub use super::signer_plan::SignerPlan;
use super::signer_plan::check_pin_source;
use super::supervisor_reload::SignerReload;
use super::{SignerError, fd_passing};
use crate::backoff::Backoff;
use crate::exit_code::ExitCode;

/// A front end that ran this long is restarted with the shortest delay again. Each restart costs a login.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// The environment variables that a front end inherits.
const INHERITED_VARIABLES: [&str; 11] = [
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
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// Runs a front end and its signer until the front end exits by itself or is terminated.
///
/// Each front end listens on `sockets`: they stay open during a restart, and clients wait meanwhile. SIGTERM and SIGINT
/// are forwarded to the front end. At SIGHUP `read` reads the configuration again, and a signer that uses it is offered to
/// the front end: see [`ReloadOffers`]. A restarted process uses the configuration that was in use last.
///
/// # Errors
/// The PIN's source would be open to the front end too, or does not survive a restart; or a process cannot be started.
pub fn supervise(
    first: SignerPlan,
    read: impl Fn() -> Result<SignerPlan, SignerError>,
    front_end: impl Fn() -> Command,
    sockets: &[BorrowedFd<'_>],
) -> Result<ExitCode, SignerError> {
    check_pin_source(&first.config.token.pin)?;
    close_descriptors_on_exec();
    log_missing(&harden(sockets.len()), "supervisor");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SignerError::handover(&error))?;
    runtime.block_on(supervise_until_exit(first, &read, &front_end, sockets))
}

async fn supervise_until_exit(
    mut plan: SignerPlan,
    read: &dyn Fn() -> Result<SignerPlan, SignerError>,
    front_end: &impl Fn() -> Command,
    sockets: &[BorrowedFd<'_>],
) -> Result<ExitCode, SignerError> {
    let listen = |number| signal(number).map_err(|error| SignerError::handover(&error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let mut user_1 = listen(SignalKind::user_defined1())?;
    let mut user_2 = listen(SignalKind::user_defined2())?;
    let mut failures = 0;
    loop {
        let started = Instant::now();
        // Each front end has channels and a signer of its own: a front end that was taken over may have left anything
        // in its channels.
        let (signer, channels) = plan.start()?;
        let (mut child, control) = start(front_end(), &plan.front_end_text, &channels, sockets)?;
        drop(channels);
        let mut reload = SignerReload::new(control, read, plan, signer)?;
        let mut terminated = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = terminate.recv() => { terminated = true; forward_signal(&child, Signal::TERM); }
                _ = interrupt.recv() => { terminated = true; forward_signal(&child, Signal::TERM); }
                _ = hang_up.recv() => reload.request(),
                _ = user_1.recv() => tracing::warn!("SIGUSR1 does nothing here; SIGHUP reloads, and opens the access log anew"),
                _ = user_2.recv() => tracing::warn!("SIGUSR2 does nothing here; SIGHUP reloads, and opens the access log anew"),
                step = reload.step() => if let Err(error) = step {
                    tracing::error!(%error, "it is ended, and started again: somebody may have taken it over");
                    // Fails if the front end has just ended.
                    let _ = child.start_kill();
                }
            }
        };
        plan = reload.into_plan();
        let status = status.map_err(|error| SignerError::handover(&error))?;
        // The supervisor exits with the front end's exit code, but restarts it after a bug.
        let code = status
            .code()
            .map(|code| u8::try_from(code).map_or(ExitCode::Bug, ExitCode::of));
        if let Some(code) = code.filter(|code| *code != ExitCode::Bug) {
            return Ok(code);
        }
        if terminated {
            return Ok(ExitCode::Good);
        }
        if started.elapsed() >= STABLE_AFTER {
            failures = 0;
        }
        failures += 1;
        let delay = RESTART_BACKOFF.delay(failures);
        tracing::error!(%status, pause_ms = delay.as_millis(), "the front end ended; it is started again");
        tokio::select! {
            () = sleep(delay) => {}
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
    let (control, front_end_side) =
        fd_passing::socket_pair().map_err(|error| SignerError::handover(&error))?;
    let program = command.get_program().into();
    let mut spawn = Spawn::from(with_clean_environment(command));
    // The front end finds its control socket as its standard input.
    let spawned = spawn
        .stdin(Stdio::from(front_end_side))
        .kill_on_drop(true)
        .spawn();
    let child = spawned.map_err(|error| SignerError::Spawn {
        program,
        why: error.to_string(),
    })?;
    let passed = Passed {
        configuration: Some(configuration),
        channels,
        sockets,
        ..Passed::default()
    };
    fd_passing::pass_to_child(&control, passed)?;
    Ok((child, control))
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

fn forward_signal(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        // Fails if the process has just ended.
        let _ = kill_process(pid, signal);
    }
}

/// Receives what [`supervise`] passes to a front end, and hardens the process. To be called in the front end.
///
/// # Errors
/// This process was not started by [`supervise`].
pub fn inherit() -> Result<Inherited, SignerError> {
    let inherited = fd_passing::receive_from_supervisor()?;
    let mut measures = harden(1 + inherited.channels.len() + inherited.sockets.len());
    measures.push(end_with_parent());
    log_missing(&measures, "front end");
    Ok(inherited)
}
