//! The parent's side: it starts the process that loads the module, follows its steps, and ends it where one of them hangs.

use std::env;
use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::standard_error;
use hsm_mtls::internal::token::TokenOperation;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd, retry_on_intr};
use rustix::process::{Pid, Signal, kill_process};

use super::super::{output, signer};
use super::error::LastOperation;
use super::{Event, TokenProcessError, VARIABLE};

/// How much longer than the child's own timeout a step may take: the child's error says more.
const GRACE: Duration = Duration::from_secs(2);
/// The parent counts these instead of looking at the clock: while it is suspended (Ctrl-Z), a step is not late.
const TICK: Duration = Duration::from_millis(250);
/// A longer line, in bytes, is none of the child's: the module is in the same process, and may write into the pipe.
const MAX_LINE: usize = 1 << 20;
/// `start_timeout` is for one step; a token that refuses templates is asked several times, and may need long for each key.
pub(in crate::commands) const GENERATION_TRIES: u32 = 10;

/// Starts the child and waits for its end.
pub(super) fn supervise(
    config: &Config,
    listen: &mut dyn FnMut(Event),
) -> Result<ExitCode, TokenProcessError> {
    let mut ignored = vec![Signal::INT, Signal::TERM];
    ignored.retain(|signal| is_ignored(*signal));
    let mut signals = Signals::register().map_err(TokenProcessError::Start)?;
    let (child, events) = spawn(config).map_err(TokenProcessError::Start)?;
    let mut watch = Watch {
        start_timeout: longest_start_timeout(config),
        child,
        events: Some(events),
        unread: Vec::new(),
        last: LastOperation::default(),
        ticks: 0,
        ends: None,
        ignored,
        handles_interruptions: false,
        interrupted: None,
    };
    let status = watch.until_the_end(&mut signals, listen)?;
    watch.outcome(status)
}

/// The longest of the tokens: the child does not say which of them it is at.
fn longest_start_timeout(config: &Config) -> Duration {
    let timeouts = config.tokens().map(|token| token.start_timeout);
    timeouts.max().unwrap_or_default()
}

fn spawn(config: &Config) -> io::Result<(Child, PipeReader)> {
    let (events, of_child) = io::pipe()?;
    fcntl_setfd(&of_child, FdFlags::empty())?;
    let value = format!("{}:{}", std::process::id(), of_child.as_raw_fd());
    let mut arguments = env::args_os();
    let mut command = Command::new(signer::PROGRAM);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    standard_error::flush();
    let command = command.args(arguments).envs(config.module_variables());
    Ok((command.env(VARIABLE, value).spawn()?, events))
}

/// Signals as something to poll.
struct Signals {
    child_ended: UnixStream,
    /// SIGINT and SIGTERM.
    interruptions: Vec<(Signal, UnixStream)>,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let stream_of = |signal: Signal| -> io::Result<UnixStream> {
            let (receiver, sender) = UnixStream::pair()?;
            receiver.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal.as_raw(), sender)?;
            Ok(receiver)
        };
        let interruptions = [Signal::INT, Signal::TERM]
            .into_iter()
            .map(|signal| Ok((signal, stream_of(signal)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            child_ended: stream_of(Signal::CHILD)?,
            interruptions,
        })
    }

    fn streams(&self) -> impl Iterator<Item = &UnixStream> {
        let interruptions = self.interruptions.iter().map(|(_, stream)| stream);
        interruptions.chain([&self.child_ended])
    }

    /// SIGINT or SIGTERM, if one has arrived.
    fn interruption(&mut self) -> Option<Signal> {
        // SIGCHLD is also sent where the child is stopped or continued: the next poll is to wait again.
        take(&mut self.child_ended);
        let arrived = |(signal, stream): &mut (Signal, UnixStream)| take(stream).then_some(*signal);
        self.interruptions.iter_mut().find_map(arrived)
    }
}

/// Whether the signal has arrived since the last call.
fn take(stream: &mut UnixStream) -> bool {
    let mut bytes = [0; 64];
    stream.read(&mut bytes).is_ok_and(|read| read > 0)
}

/// Whether this process was started with the signal ignored.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// The child and what it has told so far.
struct Watch {
    start_timeout: Duration,
    child: Child,
    /// `None` once it is closed, which a module may do.
    events: Option<PipeReader>,
    unread: Vec<u8>,
    last: LastOperation,
    /// How long the step has taken.
    ticks: u32,
    ends: Option<u8>,
    /// What the shell had this command ignore: SIGINT, where a script started it in the background.
    ignored: Vec<Signal>,
    /// The child has a use for each SIGINT.
    handles_interruptions: bool,
    interrupted: Option<Signal>,
}

impl Watch {
    fn until_the_end(
        &mut self,
        signals: &mut Signals,
        listen: &mut dyn FnMut(Event),
    ) -> Result<ExitStatus, TokenProcessError> {
        loop {
            let ticked = self.poll(signals).map_err(TokenProcessError::Start)?;
            self.read_events(listen);
            if let Some(signal) = signals.interruption()
                && self.interrupt(signal)
            {
                return Err(self.end_interrupted(signal));
            }
            if let Some(status) = self.child.try_wait().map_err(TokenProcessError::Start)? {
                self.read_events(listen);
                return Ok(status);
            }
            if ticked {
                self.ticks += 1;
            }
            if let Some((operation, after)) = self.hangs() {
                self.kill();
                let last = self.last;
                return Err(TokenProcessError::Hung {
                    operation,
                    after,
                    last,
                });
            }
        }
    }

    /// Waits for an event, a signal or the child's end. True: for as long as a tick there was none.
    fn poll(&self, signals: &Signals) -> io::Result<bool> {
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.subsec_nanos().into(),
        };
        let mut descriptors: Vec<PollFd<'_>> = signals
            .streams()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        if let Some(events) = &self.events {
            descriptors.push(PollFd::new(events, PollFlags::IN));
        }
        Ok(retry_on_intr(|| poll(&mut descriptors, Some(&tick)))? == 0)
    }

    /// Reads what the child has written, without a wait.
    fn read_events(&mut self, listen: &mut dyn FnMut(Event)) {
        while self.events.as_ref().is_some_and(is_readable) {
            let mut bytes = [0; 4096];
            match self.events.as_mut().map(|events| events.read(&mut bytes)) {
                Some(Ok(read)) if read > 0 && self.unread.len() < MAX_LINE => {
                    self.unread.extend(&bytes[..read]);
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => self.events = None,
            }
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Event::Operation(operation)) => self.enter(operation),
                Ok(Event::Ends(code)) => self.ends = Some(code),
                Ok(Event::HandlesInterruptions) => self.handles_interruptions = true,
                Ok(event) => listen(event),
                Err(_) => {} // It is the module's.
            }
        }
    }

    fn enter(&mut self, operation: Option<TokenOperation>) {
        self.ticks = 0;
        self.last.has_ended = operation.is_none();
        self.last.operation = operation.or(self.last.operation);
        self.last.generated |= operation == Some(TokenOperation::KeyGeneration);
    }

    /// The step that has taken too long, and how long it may take.
    fn hangs(&self) -> Option<(TokenOperation, Duration)> {
        let operation = self.last.operation.filter(|_| !self.last.has_ended)?;
        let limit = match operation {
            // A person or a program is waited for, or each call has a deadline of its own.
            TokenOperation::Login
            | TokenOperation::PinAtKeypad
            | TokenOperation::Signature
            | TokenOperation::Audit => return None,
            TokenOperation::KeyGeneration => self.start_timeout * GENERATION_TRIES,
            TokenOperation::Module
            | TokenOperation::Token
            | TokenOperation::Session
            | TokenOperation::PinSent
            | TokenOperation::Key
            | TokenOperation::Object => self.start_timeout,
        };
        (TICK * self.ticks > limit + GRACE).then_some((operation, limit))
    }

    /// The first interruption is passed on as SIGTERM, which the child puts off during C_Login. The second one ends the child,
    /// and nobody waits for it: a driver may hold it in the kernel. Returns whether it was the second one.
    fn interrupt(&mut self, signal: Signal) -> bool {
        if self.ignored.contains(&signal) && !self.handles_interruptions {
            return false;
        }
        if self.interrupted.replace(signal).is_some() {
            self.kill();
            return true;
        }
        if self.last.is_pin_at_stake() {
            output::remark(
                "C_Login is in progress, and ends first; interrupted once more, it counts as a refused PIN",
            );
        }
        if let Some(pid) = self.pid() {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
        false
    }

    /// Ends this process as the signal does: the shell is to see that. It returns where more has to be said.
    fn end_interrupted(&self, signal: Signal) -> TokenProcessError {
        if !self.last.is_pin_at_stake() {
            standard_error::flush();
            // It ends this process.
            let _ = signal_hook::low_level::emulate_default_handler(signal.as_raw());
        }
        TokenProcessError::Interrupted { last: self.last }
    }

    fn kill(&mut self) {
        // It may have ended meanwhile.
        let _ = self.child.kill();
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    fn outcome(&self, status: ExitStatus) -> Result<ExitCode, TokenProcessError> {
        let last = self.last;
        let (ended, code) = (self.ends, status.code());
        if let (Some(said), Some(code)) = (ended, code)
            && i32::from(said) == code
        {
            return Ok(ExitCode::of(said));
        }
        if let Some(signal) = self.interrupted {
            return Err(self.end_interrupted(signal));
        }
        let sent_by_others = [Signal::KILL, Signal::TERM, Signal::HUP].map(Signal::as_raw);
        Err(match (code, status.signal()) {
            (Some(code), _) => TokenProcessError::Exited { code, last },
            (None, number) => {
                let number = number.unwrap_or_default();
                let signal = signal_name(number);
                match sent_by_others.contains(&number) {
                    true => TokenProcessError::Killed { signal, last },
                    false => TokenProcessError::Crashed { signal, last },
                }
            }
        })
    }
}

fn is_readable(events: &PipeReader) -> bool {
    let mut descriptors = [PollFd::new(events, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    retry_on_intr(|| poll(&mut descriptors, Some(&now))).is_ok_and(|ready| ready > 0)
}

fn signal_name(number: i32) -> String {
    signal_hook::low_level::signal_name(number)
        .map_or_else(|| format!("signal {number}"), str::to_owned)
}
