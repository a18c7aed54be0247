//! Supervises a signer process: starts it, watches its heartbeat, kills it when it hangs, and restarts it.
//!
//! The supervisor keeps descriptors of the signer's ends of the channels. So a request that no signer has received yet
//! stays in its channel, and the next signer serves it. A request that was received is no longer in its channel, and its
//! caller is notified that the signer has ended.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::net::{SendFlags, send};
use tokio::sync::Notify;

use super::child_process::ChildProcess;
use super::fd_passing::Passed;
use super::frame::{Response, encode_response};
use super::heartbeat::{self, Heartbeat};
pub use super::launch::Launch;
use super::launch::SignerStart;
use super::replacement::{InheritedOutage, Predecessors};
use super::{SignerError, fd_passing, timespec};
use crate::backoff::Backoff;
use crate::metrics;
use crate::token::TokenOperation;

/// The target of this module's log events, which operators filter by: the module's name may change, the target not.
const LOG_TARGET: &str = "hsm_mtls::signer::supervisor";
/// The number of restarts within `RESTART_WINDOW` that are not delayed. Each start costs a login, so further ones are
/// delayed: in the end there are 12 in a minute.
const RESTART_BURST: usize = 8;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// How long the supervisor waits for a killed process to end: a driver may hold it in the kernel.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a signer may take to close its sessions and its ledger before it is killed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// A signer process under supervision. Dropping this ends the process.
#[derive(Debug)]
pub struct SupervisedSigner {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    pid: Arc<AtomicU32>,
}

impl SupervisedSigner {
    /// Starts the process with this number of channels; returns the front end's ends of them.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(launch: Launch, channels: usize) -> Result<(Self, Vec<OwnedFd>), SignerError> {
        Self::start_by(SignerStart::Here(launch), channels, Arc::default())
    }

    /// [`Self::start`] with processes that this or another process starts. `new_pin` is notified when the signer says that a PIN
    /// file was replaced.
    pub(super) fn start_by(
        start: SignerStart,
        channels: usize,
        new_pin: Arc<Notify>,
    ) -> Result<(Self, Vec<OwnedFd>), SignerError> {
        let pairs: io::Result<Vec<_>> = (0..channels).map(|_| fd_passing::socket_pair()).collect();
        let pairs = pairs.map_err(|error| SignerError::handover(&error))?;
        let (front_ends, signer_ends): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let (stop, stopped) =
            fd_passing::socket_pair().map_err(|error| SignerError::handover(&error))?;
        let pid = Arc::new(AtomicU32::new(0));
        let mut supervision = Supervision {
            start,
            signer_ends,
            stopped,
            pid: Arc::clone(&pid),
            exits: VecDeque::new(),
            predecessors: Predecessors::default(),
            new_pin,
        };
        let (notify, started) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("hsm-supervisor".to_owned())
            .spawn(move || match supervision.spawn() {
                Ok(first) => {
                    let _ = notify.send(Ok(()));
                    supervision.run(first);
                }
                // The caller gets the error of the first start; there is no retry.
                Err(error) => drop(notify.send(Err(error))),
            })
            .map_err(|error| SignerError::handover(&error))?;
        started
            .recv()
            .unwrap_or_else(|error| Err(SignerError::handover(&error)))?;
        let signer = Self {
            stop: Some(stop),
            thread: Some(thread),
            pid,
        };
        Ok((signer, front_ends))
    }

    /// The signer's present process id; `None` during a restart.
    pub fn pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// Has the process end, without waiting for it.
    #[cfg(feature = "front-end")]
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for SupervisedSigner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was logged.
            let _ = thread.join();
        }
    }
}

/// Why a signer ended.
enum SignerExit {
    /// The supervisor stopped it.
    Stopped,
    /// It ended by itself, or was killed because it hung.
    Failed(String),
    /// It could not recover its token, and asked to be replaced.
    Replaced(Box<InheritedOutage>),
}

/// The state of the supervising thread.
struct Supervision {
    start: SignerStart,
    signer_ends: Vec<OwnedFd>,
    /// The other end is closed to stop the signer.
    stopped: OwnedFd,
    pid: Arc<AtomicU32>,
    /// When signers ended, within the last `RESTART_WINDOW`.
    exits: VecDeque<Instant>,
    predecessors: Predecessors,
    new_pin: Arc<Notify>,
}

impl Supervision {
    fn spawn(&self) -> Result<(ChildProcess, OwnedFd), SignerError> {
        let (control, signer_end) =
            fd_passing::socket_pair().map_err(|error| SignerError::handover(&error))?;
        let child = self.start.start(signer_end)?;
        let passed = Passed {
            attended: self.start.is_attended(),
            channels: &self.signer_ends,
            predecessors: Some(self.predecessors.clone()),
            ..Passed::default()
        };
        if let Err(error) = fd_passing::pass_to_child(&control, passed) {
            self.kill(child);
            return Err(error);
        }
        self.pid.store(child.pid(), Ordering::Relaxed);
        Ok((child, control))
    }

    fn run(&mut self, first: (ChildProcess, OwnedFd)) {
        let mut signer = Some(first);
        loop {
            let why = match signer.take() {
                Some((child, control)) => {
                    let exit = self.watch(child, control);
                    self.pid.store(0, Ordering::Relaxed);
                    match exit {
                        SignerExit::Stopped => return,
                        SignerExit::Failed(why) => {
                            self.predecessors.outage = None;
                            why
                        }
                        SignerExit::Replaced(outage) => {
                            metrics::signers_replaced(1);
                            self.predecessors.replaced += 1;
                            let error = &outage.outage.error;
                            let why = format!("it could not recover the token: {}", error.message);
                            self.predecessors.outage = Some(*outage);
                            why
                        }
                    }
                }
                None => "it cannot be started".to_owned(),
            };
            let delay = self.restart_delay(Instant::now());
            tracing::error!(target: LOG_TARGET, %why, pause_ms = delay.as_millis(), "the signer process ended; it is started again");
            self.notify_callers(&why);
            if self.is_stopped_within(delay) {
                return;
            }
            match self.spawn() {
                Ok(started) => signer = Some(started),
                Err(error) => {
                    tracing::error!(target: LOG_TARGET, %error, "the signer process cannot be started")
                }
            }
        }
    }

    fn restart_delay(&mut self, now: Instant) -> Duration {
        self.exits.push_back(now);
        self.exits
            .retain(|exit| now.saturating_duration_since(*exit) < RESTART_WINDOW);
        let beyond = self.exits.len().saturating_sub(RESTART_BURST);
        RESTART_BACKOFF.delay(u32::try_from(beyond).unwrap_or(u32::MAX))
    }

    /// Receives heartbeats until the signer ends, is killed because it hangs, or is stopped.
    fn watch(&self, child: ChildProcess, control: OwnedFd) -> SignerExit {
        let mut in_grace = false;
        let mut last_step = None;
        loop {
            let mut fds = [
                PollFd::new(&control, PollFlags::IN),
                PollFd::new(&self.stopped, PollFlags::IN),
            ];
            let timeout = if in_grace {
                heartbeat::GRACE
            } else {
                heartbeat::TIMEOUT
            };
            let ready = retry_on_intr(|| poll(&mut fds, Some(&timespec(timeout))));
            let [has_heartbeat, stopped] = fds.map(|fd| !fd.revents().is_empty());
            if stopped {
                self.shut_down(child, control);
                return SignerExit::Stopped;
            }
            if ready == Ok(0) && !in_grace {
                in_grace = true;
                continue;
            }
            in_grace = false;
            if ready.is_err() || !has_heartbeat {
                self.kill(child);
                return SignerExit::Failed(format!(
                    "it gave no sign of life for {} s",
                    heartbeat::TIMEOUT.as_secs()
                ));
            }
            match Heartbeat::receive(&control) {
                Some(Heartbeat::Alive) => {}
                Some(Heartbeat::Step(step)) => last_step = Some(step),
                Some(Heartbeat::NewPin) => self.new_pin.notify_one(),
                Some(Heartbeat::Replace(outage)) => {
                    self.shut_down(child, control);
                    return SignerExit::Replaced(outage);
                }
                Some(Heartbeat::Hung) => {
                    self.kill(child);
                    return SignerExit::Failed(
                        "a call of the module hung, and it was ended".to_owned(),
                    );
                }
                None => {
                    return SignerExit::Failed(describe(self.kill(child), last_step));
                }
            }
        }
    }

    /// Notifies the callers whose requests the signer had received. A request that it had not received stays in its
    /// channel for the next signer.
    fn notify_callers(&self, why: &str) {
        let mut frame = Vec::new();
        encode_response(&mut frame, 0, &Response::SignerEnded(why));
        for channel in &self.signer_ends {
            let mut fds = [PollFd::new(channel, PollFlags::IN)];
            let unread = retry_on_intr(|| poll(&mut fds, Some(&timespec(Duration::ZERO))));
            if unread == Ok(0) {
                // It fails if the channel is full: then a notice is in it already.
                let _ = send(
                    channel.as_fd(),
                    &frame,
                    SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
                );
            }
        }
    }

    /// Lets the signer close its sessions and its ledger, and kills it after `SHUTDOWN_TIMEOUT`.
    fn shut_down(&self, child: ChildProcess, control: OwnedFd) {
        // The signer stops when its control socket is closed.
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        let _ = rustix::net::shutdown(&control, rustix::net::Shutdown::Write);
        while Instant::now() < deadline {
            let mut fds = [PollFd::new(&control, PollFlags::IN)];
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = retry_on_intr(|| poll(&mut fds, Some(&timespec(left))));
            if ready != Ok(0) && Heartbeat::receive(&control).is_none() {
                break;
            }
        }
        self.kill(child);
    }

    /// Kills the signer and its child processes: the PIN command, and what the module started. It may have ended by itself.
    fn kill(&self, child: ChildProcess) -> Option<ExitStatus> {
        child.kill();
        let status = child.wait(REAP_TIMEOUT);
        if status.is_none() {
            tracing::error!(
                target: LOG_TARGET,
                pid = child.pid(),
                "a killed signer process does not end: a driver holds it"
            );
        }
        status
    }

    fn is_stopped_within(&self, delay: Duration) -> bool {
        let mut fds = [PollFd::new(&self.stopped, PollFlags::IN)];
        retry_on_intr(|| poll(&mut fds, Some(&timespec(delay)))) != Ok(0)
    }
}

fn describe(status: Option<ExitStatus>, last_step: Option<TokenOperation>) -> String {
    let ended = status.map_or_else(|| "it ended".to_owned(), |status| status.to_string());
    match last_step {
        Some(step) => format!("{ended}; its last step was {step}"),
        None => ended,
    }
}
