//! A program whose standard output is the PIN: run to its end, within a time, and read whole.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use secrecy::zeroize::Zeroizing;

use super::fault::SourceFault;
use super::filter::{LONGEST_PIN, READ_AT_MOST};

/// How long a PIN command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked after.
const PAUSE: Duration = Duration::from_millis(5);

/// All that the program printed until it ended. What an agent that it leaves behind may print later is
/// not waited for, though it holds the output open for ever; a second line of its own is seen.
pub(super) fn output_of(words: &[String]) -> Result<Zeroizing<Vec<u8>>, SourceFault> {
    let fault = |why: String| SourceFault::Command(why);
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| fault("it names no program".to_owned()))?;
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| fault(error.to_string()))?;
    let output = child.stdout.take();
    let mut output = Output::new(output.ok_or_else(|| fault("it has no output".to_owned()))?);
    let status = end_of(&mut child, &mut output, deadline)?;
    if !status.success() {
        return Err(fault(format!("it ended with {status}")));
    }
    Ok(output.read)
}

/// Reads until the program ends, and ends it at the deadline.
fn end_of(
    child: &mut Child,
    output: &mut Output,
    deadline: Instant,
) -> Result<ExitStatus, SourceFault> {
    let fault = |error: io::Error| SourceFault::Command(error.to_string());
    loop {
        // Asked first: what it printed before its end is in the pipe then.
        let ended = child.try_wait().map_err(fault)?;
        output.take_what_is_there().map_err(fault)?;
        if let Some(status) = ended {
            return Ok(status);
        }
        let too_long = output.is_full();
        if too_long || Instant::now() >= deadline {
            // It may have ended by itself just now; either way it is gone.
            let _ = child.kill();
            let _ = child.wait();
        }
        if too_long {
            return Err(SourceFault::TooLong(LONGEST_PIN));
        }
        if Instant::now() >= deadline {
            let seconds = COMMAND_TIMEOUT.as_secs();
            return Err(SourceFault::Command(format!(
                "it did not end within {seconds} s"
            )));
        }
        // There is no wait with a time limit in the standard library.
        thread::park_timeout(PAUSE);
    }
}

struct Output {
    from: ChildStdout,
    // With room for all of it at once: a growing buffer would leave copies of the PIN behind.
    read: Zeroizing<Vec<u8>>,
}

impl Output {
    fn new(from: ChildStdout) -> Self {
        Self {
            from,
            read: Zeroizing::new(Vec::with_capacity(READ_AT_MOST)),
        }
    }

    fn take_what_is_there(&mut self) -> io::Result<()> {
        let flags = fcntl_getfl(&self.from)?;
        fcntl_setfl(&self.from, flags | OFlags::NONBLOCK)?;
        let mut part = Zeroizing::new([0; 512]);
        while !self.is_full() {
            match self.from.read(part.as_mut_slice()) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    let room = READ_AT_MOST - self.read.len();
                    let kept = part.get(..length.min(room)).unwrap_or_default();
                    self.read.extend_from_slice(kept);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// It is no PIN, however it goes on.
    fn is_full(&self) -> bool {
        self.read.len() == READ_AT_MOST
    }
}
