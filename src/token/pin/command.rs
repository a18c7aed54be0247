//! Runs the program whose standard output is the PIN, with a timeout, and reads its output.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use secrecy::zeroize::Zeroizing;

use super::source_error::PinSourceError;
use super::validation::{MAX_PIN_LENGTH, MAX_READ};
use crate::owner_and_mode::{Protection, faults};
use crate::working_dir;

/// The timeout of a PIN command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval between polls of its exit and its output.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The program's output until its exit. A background process that it leaves may keep the pipe open; its output is not
/// waited for.
pub(super) fn read_output(words: &[String]) -> Result<Zeroizing<Vec<u8>>, PinSourceError> {
    let failed = |why: String| PinSourceError::Command(why);
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| failed("it names no program".to_owned()))?;
    // What it runs gives the PIN, and has all rights of this process.
    for path in words.iter().map(Path::new) {
        let is_named =
            path.as_os_str() == program.as_str() || (path.is_absolute() && path.is_file());
        let found = is_named.then(|| faults(path, Protection::Unchanged));
        if let Some(fault) = found.iter().flatten().next() {
            return Err(fault.into());
        }
    }
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let mut command = Command::new(program);
    if let Some(folder) = working_dir::started_in() {
        command.current_dir(folder);
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let output = child.stdout.take();
    let mut output = Output::new(output.ok_or_else(|| failed("it has no output".to_owned()))?);
    let status = wait_for_exit(&mut child, &mut output, deadline)?;
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    Ok(output.into_bytes())
}

/// Reads until the program exits, and kills it at the deadline.
fn wait_for_exit(
    child: &mut Child,
    output: &mut Output,
    deadline: Instant,
) -> Result<ExitStatus, PinSourceError> {
    let failed = |error: io::Error| PinSourceError::Command(error.to_string());
    loop {
        // Before the read, so that all output before the exit is in the pipe.
        let exited = child.try_wait().map_err(failed)?;
        output.read_available().map_err(failed)?;
        if let Some(status) = exited {
            return Ok(status);
        }
        let too_long = output.is_full();
        if too_long || Instant::now() >= deadline {
            // Both fail if the program has exited meanwhile.
            let _ = child.kill();
            let _ = child.wait();
        }
        if too_long {
            return Err(PinSourceError::TooLong(MAX_PIN_LENGTH));
        }
        if Instant::now() >= deadline {
            let seconds = COMMAND_TIMEOUT.as_secs();
            return Err(PinSourceError::Command(format!(
                "it did not end within {seconds} s"
            )));
        }
        // The standard library has no wait with a timeout.
        thread::park_timeout(POLL_INTERVAL);
    }
}

struct Output {
    pipe: ChildStdout,
    // Read into at once, and of its full size from the start: another buffer, or one that grows, would leave copies of the
    // PIN behind.
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Output {
    fn new(pipe: ChildStdout) -> Self {
        Self {
            pipe,
            buffer: Zeroizing::new(vec![0; MAX_READ]),
            length: 0,
        }
    }

    fn read_available(&mut self) -> io::Result<()> {
        let flags = fcntl_getfl(&self.pipe)?;
        fcntl_setfl(&self.pipe, flags | OFlags::NONBLOCK)?;
        while !self.is_full() {
            let rest = self.buffer.get_mut(self.length..).unwrap_or_default();
            match self.pipe.read(rest) {
                Ok(0) => return Ok(()),
                Ok(length) => self.length += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the output is longer than any PIN.
    fn is_full(&self) -> bool {
        self.length == self.buffer.len()
    }

    fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        self.buffer.truncate(self.length);
        self.buffer
    }
}
