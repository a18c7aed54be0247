//! The supervisor process of the proxy: it starts a signer and a front end, and restarts the front end when it ends. It
//! parses nothing from the network. `signer_supervisor` restarts the signer, on a thread of this process.
//!
//! A process under Landlock passes its restrictions on to its children, so the front end cannot start the signer: hence
//! the third process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_acceptconn;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::runtime::Builder;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::sleep;

use super::child_process::{self, ChildProcess};
pub use super::fd_passing::Inherited;
use super::fd_passing::Passed;
use super::file_watch::FileWatch;
use super::hardening::{close_descriptors_on_exec, end_with_parent, harden, log_missing};
use super::process_launcher::{LaunchedProcess, ProcessLauncher};
use super::reload_protocol::async_socket;
pub use super::reload_protocol::{ReloadOffer, ReloadOffers};
pub use super::signer_plan::SignerPlan;
use super::supervisor_reload::{SignerReload, sleep_to};
use super::system_call_filter::SystemCallFilter;
use super::{SignerError, fd_passing};
use crate::backoff::Backoff;
use crate::exit_code::ExitCode;
use crate::log_target::LIFECYCLE;

/// A front end that ran this long is restarted with the shortest delay again. Each restart costs a login.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// What a front end may take to stop, beyond `stop_timeout`, before it is killed.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// The descriptors of a supervisor beside its listening sockets: the sockets to the launcher and to the thread that waits for
/// it, that thread's own end, the launcher's pidfd, the sealed configuration, and where it is told of replaced files.
const DESCRIPTORS: usize = 6;
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// Runs a front end and its signer until the front end exits by itself or is terminated.
///
/// Each front end listens on `sockets`: they stay open during a restart, and clients wait meanwhile. SIGTERM and SIGINT
/// are forwarded to the front end. At SIGHUP, and when a file is replaced that is watched, the configuration at `path` is read
/// again, and a signer that uses it is offered to the front end: see [`ReloadOffers`]. A restarted process uses the configuration that was in use last.
///
/// # Errors
/// A process cannot be started, or this one cannot be put under its filter of system calls.
pub fn supervise(
    path: &Path,
    first: SignerPlan,
    sockets: &[BorrowedFd<'_>],
) -> Result<ExitCode, SignerError> {
    close_descriptors_on_exec();
    let inotify = FileWatch::prepare(first.watched())?;
    let mut measures = harden(sockets.len() + DESCRIPTORS);
    // All that needs more is done, or is the launcher's to do.
    measures.push(SystemCallFilter::supervisor().enter()?);
    log_missing(&measures, "supervisor");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SignerError::handover(&error))?;
    runtime.block_on(supervise_until_exit(path, first, sockets, inotify))
}

async fn supervise_until_exit(
    path: &Path,
    mut plan: SignerPlan,
    sockets: &[BorrowedFd<'_>],
    inotify: Option<OwnedFd>,
) -> Result<ExitCode, SignerError> {
    // Before anything reads the files.
    let files = inotify.map(|inotify| FileWatch::start(inotify, plan.watched()));
    let mut files = files.transpose()?;
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
        check_listening(sockets)?;
        let (signer, channels) = plan.start()?;
        let text = plan.front_end_text();
        let (front_end, control) = FrontEnd::start(plan.launcher(), text, &channels, sockets)?;
        drop(channels);
        let stop_timeout = plan.config().proxy.as_ref().map(|proxy| proxy.stop_timeout);
        let stop_timeout = stop_timeout.unwrap_or_default() + STOP_MARGIN;
        let mut reload = SignerReload::new(control, path, plan, signer)?;
        let mut terminated = false;
        let mut kill_at: Option<Instant> = None;
        let status = loop {
            tokio::select! {
                status = front_end.wait() => break status,
                () = stop_signal(&mut terminate, &mut interrupt) => {
                    terminated = true;
                    front_end.process.terminate();
                    kill_at.get_or_insert(Instant::now() + stop_timeout);
                }
                () = sleep_to(kill_at) => {
                    tracing::error!("the front end does not stop: it is killed");
                    front_end.process.kill();
                    kill_at = None;
                }
                _ = hang_up.recv() => reload.request(),
                file = replaced(&mut files) => {
                    tracing::info!(target: LIFECYCLE, file = %file.display(), "a file was replaced: reload");
                    reload.request();
                }
                _ = user_1.recv() => tracing::warn!("SIGUSR1 does nothing here; SIGHUP reloads, and opens the access log anew"),
                _ = user_2.recv() => tracing::warn!("SIGUSR2 does nothing here; SIGHUP reloads, and opens the access log anew"),
                step = reload.step() => {
                    if let Err(error) = step {
                        tracing::error!(%error, "it is ended, and started again: somebody may have taken it over");
                        front_end.process.kill();
                    }
                    if let (Some(files), Some(watched)) = (&mut files, reload.take_watched()) {
                        files.watch(&watched);
                    }
                }
            }
        };
        plan = reload.into_plan();
        let status = status.ok_or(SignerError::LauncherEnded)?;
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
            () = stop_signal(&mut terminate, &mut interrupt) => return Ok(ExitCode::Good),
        }
    }
}

/// Waits until a file is replaced, where files are watched.
async fn replaced(files: &mut Option<FileWatch>) -> PathBuf {
    match files {
        Some(files) => files.replaced().await,
        None => std::future::pending().await,
    }
}

/// Waits for a signal to stop.
async fn stop_signal(terminate: &mut unix::Signal, interrupt: &mut unix::Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Checks that the sockets still listen: a front end that was taken over could have put an end to that, for its successors too.
fn check_listening(sockets: &[BorrowedFd<'_>]) -> Result<(), SignerError> {
    let listens = |socket: &BorrowedFd<'_>| matches!(socket_acceptconn(socket), Ok(true));
    match sockets.iter().all(listens) {
        true => Ok(()),
        false => Err(SignerError::NotListening),
    }
}

/// A front end that runs. Dropping this kills it.
struct FrontEnd {
    process: ChildProcess,
    /// Readable when it has ended.
    ended: UnixDatagram,
}

impl FrontEnd {
    fn start(
        launcher: &ProcessLauncher,
        configuration: &str,
        channels: &[OwnedFd],
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(Self, OwnedFd), SignerError> {
        let failed = |error: std::io::Error| SignerError::handover(&error);
        let (control, front_end_side) = fd_passing::socket_pair().map_err(failed)?;
        // The front end finds its control socket as its standard input.
        let process = launcher.launch(LaunchedProcess::FrontEnd, front_end_side.as_fd(), None)?;
        drop(front_end_side);
        let passed = Passed {
            configuration: Some(configuration),
            channels,
            sockets,
            ..Passed::default()
        };
        fd_passing::pass_to_child(&control, passed)?;
        let ended = process.socket().try_clone().map_err(failed)?;
        let ended = async_socket(ended).map_err(failed)?;
        Ok((Self { process, ended }, control))
    }

    /// Waits for its end. `None`: nobody waits for it any more, since the launcher has ended.
    async fn wait(&self) -> Option<ExitStatus> {
        let receive = || child_process::receive_now(&self.ended);
        let message = self.ended.async_io(Interest::READABLE, receive).await;
        child_process::exit_status(&message.ok()??)
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

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// What one who has a socket does to it, all have.
    #[test]
    fn a_socket_that_listens_no_more_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("s")).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = [unix.as_fd(), tcp.as_fd()];
        assert!(check_listening(&sockets).is_ok());
        assert!(check_listening(&[]).is_ok());
        let other = TcpStream::from(OwnedFd::from(tcp.try_clone().unwrap()));
        other.shutdown(Shutdown::Read).unwrap();
        assert!(matches!(
            check_listening(&sockets),
            Err(SignerError::NotListening)
        ));
        let (pair, _) = UnixStream::pair().unwrap();
        assert!(check_listening(&[pair.as_fd()]).is_err());
    }
}
