//! Standard error, for logs, errors and panics: writes never block and never fail.
//!
//! All output of the command to standard error goes through this module. `eprintln!` and Rust's own panic hook would panic
//! if the reader has closed the pipe, and block if it does not read.

use std::io::Read;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use crate::lossy_writer::{LossyWriter, Notices, Target};
use crate::metrics;

/// The maximum size of the queue, in bytes.
const MAX_QUEUED: usize = 1 << 20;
/// How long a flush waits for the reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the end of a child's output is waited for. The child has exited, so its output is in the pipe already.
const RELAY_TIMEOUT: Duration = Duration::from_millis(200);
/// A longer line is relayed in parts (bytes).
const MAX_LINE: usize = 64 << 10;
/// Writes up to this size to a pipe are atomic (`PIPE_BUF`, pipe(7)).
const PIPE_BUF: usize = 4 << 10;

static WRITER: OnceLock<LossyWriter> = OnceLock::new();

const NOTICES: Notices = Notices {
    lost: metrics::log_lines_lost,
    // A log line about it could not be written either.
    failing: |_| {},
    recovered: |lost| {
        tracing::warn!(
            lost,
            "log lines are missing here: standard error did not take them"
        );
    },
};

/// Begins to queue output for standard error. The queue is written after [`release`]: until then some processes must not
/// have a second thread.
pub fn install() {
    let target = Target::Standard(rustix::stdio::stderr());
    WRITER.get_or_init(|| LossyWriter::new("standard-error", target, MAX_QUEUED, NOTICES, true));
}

/// Starts the thread that writes the queue.
pub fn release() {
    if let Some(writer) = WRITER.get() {
        writer.release();
    }
}

/// Queues whole lines, if [`install`] was called.
pub fn write(lines: &[u8]) {
    if let Some(writer) = WRITER.get() {
        writer.add(lines.to_vec());
    }
}

/// Waits up to a second until the queue is written: before the process exits or executes another program, and before
/// other output that has to follow.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIMEOUT);
    }
}

/// Relays the standard error of a child process to this process's. Dropping it waits for the end of the output, up to
/// [`RELAY_TIMEOUT`].
#[derive(Debug)]
pub(crate) struct Relay(Receiver<()>);

/// Redirects a child's standard error to a pipe that is always read: output of a vendor's module or of a PIN command would
/// otherwise block the signer when the reader is slow.
pub(crate) fn pipe_stderr(command: &mut Command) {
    if WRITER.get().is_some() {
        command.stderr(Stdio::piped());
    }
}

impl Relay {
    /// Relays the output until the child and all processes that inherited the pipe have ended.
    pub(crate) fn new(child: &mut Child) -> Option<Self> {
        let pipe = child.stderr.take()?;
        let (sender, receiver) = sync_channel(1);
        let thread = thread::Builder::new().name("standard-error-of".to_owned());
        let work = move || {
            relay(pipe);
            let _ = sender.send(());
        };
        thread.spawn(work).ok().map(|_| Self(receiver))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Processes that inherited the pipe may still run.
        let _ = self.0.recv_timeout(RELAY_TIMEOUT);
    }
}

/// Queues lines in pieces of up to PIPE_BUF: other processes write to the same pipe, and must not split a line.
fn write_pieces(lines: &[u8]) {
    let mut piece = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if !piece.is_empty() && piece.len() + line.len() > PIPE_BUF {
            write(&std::mem::take(&mut piece));
        }
        piece.extend_from_slice(line);
    }
    write(&piece);
}

fn relay(mut pipe: ChildStderr) {
    let mut text = Vec::new();
    let mut chunk = vec![0; 8 << 10];
    while let Ok(length @ 1..) = pipe.read(&mut chunk) {
        text.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let whole = match text.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if text.len() > MAX_LINE => text.len(),
            None => continue,
        };
        let rest = text.split_off(whole);
        write_pieces(&std::mem::replace(&mut text, rest));
    }
    if !text.is_empty() {
        text.push(b'\n');
        write(&text);
    }
}
