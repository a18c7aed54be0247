//! A child process and the thread that started it. The thread starts it, waits for its end, and signals it when asked to;
//! whoever supervises the child talks to the thread over a socket.
//!
//! The thread is in the supervisor's own process, or in the process launcher, which starts processes for a supervisor that is
//! not allowed to. It lives as long as the child: the kernel sends PR_SET_PDEATHSIG when the thread that started a process
//! ends, not when the process of that thread does (prctl(2)). While it has not reaped the child, the child's process id is not
//! given to another process, so that no signal reaches a stranger.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use super::fd_passing::socket_pair;
use super::{SignerError, timespec};
use crate::standard_error::Relay;

/// How long a start may take: the program is loaded from a disk.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Why a program cannot be started is told in so many characters at most.
const MAX_REASON: usize = 250;
/// The longest message (bytes): its kind, and that many characters.
const MAX_MESSAGE_LEN: usize = 1 + 4 * MAX_REASON;

// What the supervisor asks of the thread.
const KILL: u8 = b'K';
const TERMINATE: u8 = b'T';
// What the thread tells the supervisor, each with a value: the process id, why there is none, the wait status.
const STARTED: u8 = b'S';
const FAILED: u8 = b'F';
const ENDED: u8 = b'E';

/// Which processes SIGKILL is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KillScope {
    /// The process group of the child: also the processes that it started itself.
    Group,
    /// The child alone, which shares a process group with its supervisor.
    Child,
}

/// A child process, for its supervisor. Dropping this kills the child.
#[derive(Debug)]
pub(super) struct ChildProcess {
    socket: OwnedFd,
    pid: u32,
}

impl ChildProcess {
    /// Starts a child of this process, with a thread that waits for it.
    pub(super) fn start(command: Command, scope: KillScope) -> Result<Self, SignerError> {
        let (socket, thread_side) = socket_pair().map_err(|error| SignerError::handover(&error))?;
        let program = PathBuf::from(command.get_program());
        thread::Builder::new()
            .name("hsm-child".to_owned())
            .spawn(move || run(command, scope, &thread_side))
            .map_err(|error| SignerError::handover(&error))?;
        Self::started(socket, program)
    }

    /// Waits for the start of a child that a thread with the other end of `socket` starts.
    pub(super) fn started(socket: OwnedFd, program: PathBuf) -> Result<Self, SignerError> {
        let failed = |why: String| SignerError::Spawn { program, why };
        match receive(&socket, START_TIMEOUT) {
            Some((STARTED, value)) => match value.try_into().map(u32::from_le_bytes) {
                Ok(pid) => Ok(Self { socket, pid }),
                Err(_) => Err(failed("its process id did not come".to_owned())),
            },
            Some((FAILED, why)) => Err(failed(String::from_utf8_lossy(&why).into_owned())),
            _ => Err(failed(
                "whoever starts processes does not answer".to_owned(),
            )),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends SIGTERM.
    #[cfg(feature = "front-end")]
    pub(super) fn terminate(&self) {
        self.ask(TERMINATE);
    }

    /// Sends SIGKILL. It may have ended by itself.
    pub(super) fn kill(&self) {
        self.ask(KILL);
    }

    /// Waits for its end. `None`: it has not ended by then, or nobody waits for it any more.
    pub(super) fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        exit_status(&receive(&self.socket, timeout)?)
    }

    /// The socket: it is readable when the child has ended, and [`exit_status`] decodes what is read.
    #[cfg(feature = "front-end")]
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    fn ask(&self, question: u8) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // Fails if the thread has ended, and then the child has too.
        let _ = retry_on_intr(|| send(&self.socket, &[question], flags));
    }
}

/// A message: its kind and its value.
type Message = (u8, Vec<u8>);

/// Receives the next message; `None` at the end of the socket or of the time.
fn receive(socket: &OwnedFd, timeout: Duration) -> Option<Message> {
    let until = Instant::now() + timeout;
    loop {
        let left = timespec(until.saturating_duration_since(Instant::now()));
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut fds, Some(&left))) == Ok(0) {
            return None;
        }
        match receive_now(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received.ok().flatten(),
        }
    }
}

/// Receives a message that is there; `None` at the end of the socket.
pub(super) fn receive_now(socket: impl AsFd) -> io::Result<Option<Message>> {
    let mut bytes = [0; MAX_MESSAGE_LEN];
    let mut receive = || retry_on_intr(|| recv(&socket, &mut bytes[..], RecvFlags::DONTWAIT));
    // The other side has closed its end with a question unread, because the child had ended by itself. The kernel says so once,
    // before the last message.
    let received = match receive() {
        Err(Errno::CONNRESET) => receive(),
        received => received,
    };
    let (length, _) = received?;
    let message = bytes.get(..length).unwrap_or_default().split_first();
    Ok(message.map(|(kind, value)| (*kind, value.to_vec())))
}

/// The exit status in a message, if it is one of a child's end.
pub(super) fn exit_status((kind, value): &Message) -> Option<ExitStatus> {
    let status = value.as_slice().try_into().ok().map(i32::from_le_bytes)?;
    (*kind == ENDED).then(|| ExitStatus::from_raw(status))
}

/// Starts the command, and stays until the process has ended: the work of the thread. It is killed when the other end of
/// `socket` is closed.
pub(super) fn run(mut command: Command, scope: KillScope, socket: &OwnedFd) {
    let spawned = command.spawn();
    // With it go this process's own descriptors of the child's standard streams.
    drop(command);
    let failed = |error: &dyn Display| {
        let why: String = error.to_string().chars().take(MAX_REASON).collect();
        tell(socket, FAILED, why.as_bytes());
    };
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return failed(&error),
    };
    let ended = match readable_at_end(&child) {
        Ok(ended) => ended,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return failed(&format_args!("nobody could see when it ends: {error}"));
        }
    };
    let relay = Relay::new(&mut child);
    tell(socket, STARTED, &child.id().to_le_bytes());
    signal_until_end(&child, &ended, scope, socket);
    let status = child.wait();
    drop(relay);
    if let Ok(status) = status {
        tell(socket, ENDED, &status.into_raw().to_le_bytes());
    }
}

fn tell(socket: &OwnedFd, kind: u8, value: &[u8]) {
    let message = [&[kind], value].concat();
    // Fails if the supervisor has ended.
    let _ = retry_on_intr(|| send(socket, &message, SendFlags::NOSIGNAL));
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A descriptor that is readable when the child has ended. The kernel has them from Linux 5.3 on; the Landlock that a front
/// end needs came later.
fn readable_at_end(child: &Child) -> io::Result<OwnedFd> {
    Ok(pidfd_open(pid_of(child)?, PidfdFlags::empty())?)
}

/// Sends the child the signals that are asked for, until it has ended or was killed.
fn signal_until_end(child: &Child, ended: &OwnedFd, scope: KillScope, socket: &OwnedFd) {
    let Ok(pid) = pid_of(child) else {
        return;
    };
    let kill = || match scope {
        KillScope::Group => kill_process_group(pid, Signal::KILL),
        KillScope::Child => kill_process(pid, Signal::KILL),
    };
    loop {
        let mut fds = [
            PollFd::new(ended, PollFlags::IN),
            PollFd::new(socket, PollFlags::IN),
        ];
        let ready = retry_on_intr(|| poll(&mut fds, None));
        let [has_ended, is_asked] = fds.map(|fd| !fd.revents().is_empty());
        if has_ended || ready.is_err() {
            // What it started itself ends with it.
            if scope == KillScope::Group {
                let _ = kill();
            }
            return;
        }
        if !is_asked {
            continue;
        }
        // A signal fails if the child has just ended.
        let _ = match receive_now(socket) {
            Ok(Some((KILL, _))) => kill(),
            Ok(Some((TERMINATE, _))) => kill_process(pid, Signal::TERM),
            Ok(Some(_)) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            // The supervisor has ended, or has no use for the child any more.
            Ok(None) | Err(_) => {
                let _ = kill();
                return;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It ends while it is asked to: the exit status comes nevertheless.
    #[test]
    fn a_question_to_a_child_that_has_ended_hides_no_exit_status() {
        let (socket, thread_side) = socket_pair().unwrap();
        let child = ChildProcess { socket, pid: 1 };
        child.kill();
        tell(
            &thread_side,
            ENDED,
            &ExitStatus::from_raw(9).into_raw().to_le_bytes(),
        );
        drop(thread_side);
        let status = child.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(status.signal(), Some(9));
        assert!(child.wait(Duration::ZERO).is_none());
    }

    #[test]
    fn a_command_that_cannot_be_started_says_why() {
        let command = Command::new("/no/such/program");
        let error = ChildProcess::start(command, KillScope::Group).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        let child = ChildProcess::start(Command::new("true"), KillScope::Child).unwrap();
        let status = child.wait(Duration::from_secs(10)).unwrap();
        assert!(status.success());
    }
}
