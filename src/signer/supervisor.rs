//! Starts the signer process, watches it, ends it where it hangs, and starts it again.
//!
//! The supervisor holds the signer's ends of the channels too. So a request that nobody has taken yet
//! waits through a death and is served by the next signer; whoever waits for an answer to one that
//! was taken is told, because only then is there nothing left in its channel.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, Signal, kill_process_group};

use super::SignerError;
use super::frame::{Answer, encode_answer};
use super::handover::{self, Sign};
use crate::backoff::Backoff;
use crate::poison::IgnorePoison as _;
use crate::standard_error::{Relay, pipe_stderr};

/// A signer that says nothing for so long is stopped or wedged.
const SILENCE: Duration = Duration::from_secs(5);
const SPEAK_NOW: Duration = Duration::from_secs(1);
/// So many restarts within `RESTART_WINDOW` are made without delay. Each start is a login, so with more of them
/// the HSM is spared: a dozen a minute in the end.
const RESTART_BURST: usize = 8;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// How long the end of a killed process is waited for: a driver may hold it in the kernel.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long a signer may take to close its sessions and its ledger.
const FAREWELL: Duration = Duration::from_secs(3);

/// What processes of ours are called, whatever their program's file is.
const NAME: &str = "hsm-mtls";

/// How the signer process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The `hsm-mtls` program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What the module reads, beside what this process has.
    pub environment: BTreeMap<String, String>,
    /// Whether someone at a terminal can be asked.
    pub attended: bool,
    /// The configuration that it goes by, also where it is started again. None: what its file has then.
    pub configuration: Option<Arc<str>>,
}

impl Launch {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg0(NAME)
            .args(&self.arguments)
            .envs(&self.environment)
            .stdout(Stdio::null())
            // What the service manager listens for is nothing that a signer has to say.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES");
        if !self.attended {
            // What interrupts a program at its terminal does not end its signer before it: the
            // program does, when it has answered what it was asked.
            command.process_group(0);
            pipe_stderr(&mut command);
        }
        command
    }
}

/// A signer process that is kept alive. Dropping it ends the process.
#[derive(Debug)]
pub struct Supervised {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    pid: Arc<AtomicU32>,
}

impl Supervised {
    /// Starts the process with so many channels, and gives the front end's ends of them.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(launch: Launch, channels: usize) -> Result<(Self, Vec<OwnedFd>), SignerError> {
        let pairs: io::Result<Vec<_>> = (0..channels).map(|_| handover::pair()).collect();
        let pairs = pairs.map_err(|error| SignerError::handover(&error))?;
        let (front_ends, ends): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let (stop, stopped) = handover::pair().map_err(|error| SignerError::handover(&error))?;
        let pid = Arc::new(AtomicU32::new(0));
        let mut watch = Watch {
            launch,
            ends,
            stopped,
            pid: Arc::clone(&pid),
            deaths: VecDeque::new(),
            relay: Mutex::new(None),
        };
        let (tell, told) = sync_channel(1);
        // Started by the thread that watches it: a signer is ended with the thread that started it.
        let thread = thread::Builder::new()
            .name("hsm-supervisor".to_owned())
            .spawn(move || match watch.spawn() {
                Ok(first) => {
                    let _ = tell.send(Ok(()));
                    watch.go_on(first);
                }
                // A program that is not there is the error of whoever asks.
                Err(error) => drop(tell.send(Err(error))),
            })
            .map_err(|error| SignerError::handover(&error))?;
        told.recv()
            .unwrap_or_else(|error| Err(SignerError::handover(&error)))?;
        let supervised = Self {
            stop: Some(stop),
            thread: Some(thread),
            pid,
        };
        Ok((supervised, front_ends))
    }

    /// The process id of the signer as it is now; `None` between two of them.
    pub fn pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been told of.
            let _ = thread.join();
        }
    }
}

/// Why a signer is watched no longer.
enum End {
    /// Nobody wants it any more.
    Stopped,
    /// It ended, or had to be ended.
    Died(String),
}

struct Watch {
    launch: Launch,
    ends: Vec<OwnedFd>,
    stopped: OwnedFd,
    pid: Arc<AtomicU32>,
    /// The last ones.
    deaths: VecDeque<Instant>,
    relay: Mutex<Option<Relay>>,
}

impl Watch {
    fn spawn(&self) -> Result<(Child, OwnedFd), SignerError> {
        let (ours, theirs) = handover::pair().map_err(|error| SignerError::handover(&error))?;
        let spawned = self.launch.command().stdin(Stdio::from(theirs)).spawn();
        let mut child = spawned.map_err(|error| SignerError::Spawn {
            program: self.launch.program.clone(),
            why: error.to_string(),
        })?;
        *self.relay() = Relay::new(&mut child);
        let (attended, text) = (self.launch.attended, self.launch.configuration.as_deref());
        if let Err(error) = handover::give(&ours, attended, text, &self.ends, &[]) {
            self.end(child);
            return Err(error);
        }
        self.pid.store(child.id(), Ordering::Relaxed);
        Ok((child, ours))
    }

    fn go_on(&mut self, first: (Child, OwnedFd)) {
        let mut signer = Some(first);
        loop {
            let why = match signer.take() {
                Some((child, control)) => {
                    let ended = self.watch(child, control);
                    self.pid.store(0, Ordering::Relaxed);
                    match ended {
                        End::Stopped => return,
                        End::Died(why) => why,
                    }
                }
                None => "it cannot be started".to_owned(),
            };
            let pause = self.pause(Instant::now());
            tracing::error!(%why, pause_ms = pause.as_millis(), "the signer process ended; it is started again");
            self.tell(&why);
            if self.is_stopped_within(pause) {
                return;
            }
            match self.spawn() {
                Ok(started) => signer = Some(started),
                Err(error) => tracing::error!(%error, "the signer process cannot be started"),
            }
        }
    }

    fn pause(&mut self, now: Instant) -> Duration {
        self.deaths.push_back(now);
        self.deaths
            .retain(|death| now.saturating_duration_since(*death) < RESTART_WINDOW);
        let beyond = self.deaths.len().saturating_sub(RESTART_BURST);
        RESTART_BACKOFF.delay(u32::try_from(beyond).unwrap_or(u32::MAX))
    }

    fn watch(&self, child: Child, control: OwnedFd) -> End {
        let mut silent = false;
        loop {
            let mut fds = [
                PollFd::new(&control, PollFlags::IN),
                PollFd::new(&self.stopped, PollFlags::IN),
            ];
            let patience = if silent { SPEAK_NOW } else { SILENCE };
            let ready = retry_on_intr(|| poll(&mut fds, Some(&timespec(patience))));
            let [said, stopped] = fds.map(|fd| !fd.revents().is_empty());
            if stopped {
                self.farewell(child, control);
                return End::Stopped;
            }
            if ready == Ok(0) && !silent {
                // After a suspend of the machine both clocks have run out at once: it may yet speak.
                silent = true;
                continue;
            }
            silent = false;
            if ready.is_err() || !said {
                self.end(child);
                return End::Died(format!(
                    "it gave no sign of life for {} s",
                    SILENCE.as_secs()
                ));
            }
            match handover::heard(&control) {
                Some(Sign::Alive) => {}
                Some(Sign::Wedged) => {
                    self.end(child);
                    return End::Died("a call of the module hung, and it was ended".to_owned());
                }
                None => {
                    return End::Died(describe(self.end(child)));
                }
            }
        }
    }

    /// Tells whoever waits for an answer to what the signer had taken. What it had not taken is still
    /// in its channel, and for the next.
    fn tell(&self, why: &str) {
        let mut frame = Vec::new();
        encode_answer(&mut frame, 0, &Answer::Gone(why));
        for channel in &self.ends {
            let mut fds = [PollFd::new(channel, PollFlags::IN)];
            let untaken = retry_on_intr(|| poll(&mut fds, Some(&timespec(Duration::ZERO))));
            if untaken == Ok(0) {
                // A full channel has such a word in it already.
                let _ = send(
                    channel.as_fd(),
                    &frame,
                    SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
                );
            }
        }
    }

    /// Lets it close what it has open, and ends it where it takes too long.
    fn farewell(&self, child: Child, control: OwnedFd) {
        // Its end is what tells it to go.
        let deadline = Instant::now() + FAREWELL;
        let _ = rustix::net::shutdown(&control, rustix::net::Shutdown::Write);
        while Instant::now() < deadline {
            let mut fds = [PollFd::new(&control, PollFlags::IN)];
            let left = deadline.saturating_duration_since(Instant::now());
            let said = retry_on_intr(|| poll(&mut fds, Some(&timespec(left))));
            if said != Ok(0) && handover::heard(&control).is_none() {
                break;
            }
        }
        self.end(child);
    }

    /// Ends it, if it has not ended by itself, and what it has started.
    fn end(&self, mut child: Child) -> Option<ExitStatus> {
        // Before it is reaped: until then its number is nobody else's, and how it ended stays as it is.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        match pid.filter(|_| !self.launch.attended) {
            // It leads a group of its own: a program that gives the PIN, a helper of the module.
            Some(pid) => drop(kill_process_group(pid, Signal::KILL)),
            None => drop(child.kill()),
        }
        let deadline = Instant::now() + LAST_WAIT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                drop(self.relay().take());
                return Some(status);
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        tracing::error!(
            pid = child.id(),
            "a killed signer process does not end: a driver holds it"
        );
        // It is nobody's business any more, but it is to be reaped when it ends.
        let _ = thread::Builder::new().spawn(move || child.wait());
        None
    }

    fn relay(&self) -> MutexGuard<'_, Option<Relay>> {
        self.relay.lock().ignore_poison()
    }

    fn is_stopped_within(&self, pause: Duration) -> bool {
        let mut fds = [PollFd::new(&self.stopped, PollFlags::IN)];
        retry_on_intr(|| poll(&mut fds, Some(&timespec(pause)))) != Ok(0)
    }
}

fn describe(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => status.to_string(),
        None => "it ended".to_owned(),
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
