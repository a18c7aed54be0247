//! Standard error, where logs, errors and panics go: a stream that makes nobody wait and never fails.
//!
//! A process of this program writes to it through here only. `eprintln!`, and the hook for panics that
//! a program has without its own, end the thread or wait for ever where the reader has gone or does not read.

use std::io::Read;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use crate::lossy_writer::{LossyWriter, Notices, Target};
use crate::metrics;

/// Bytes that wait for a reader who does not keep up.
const MOST: usize = 1 << 20;
/// How long the end of a process, or what is to be read before it goes on, waits for a reader.
const PATIENCE: Duration = Duration::from_secs(1);
/// The last words of a process that has ended are in its pipe already.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// So much of a line that has no end yet is kept together.
const LONGEST_LINE: usize = 64 << 10;
/// So much is written to a pipe in one piece, whoever else writes to it (`PIPE_BUF`, pipe(7)).
const IN_ONE_PIECE: usize = 4 << 10;

static WRITER: OnceLock<LossyWriter> = OnceLock::new();

const NOTICES: Notices = Notices {
    lost: metrics::log_lines_lost,
    // Nobody reads it.
    failing: |_| {},
    recovered: |lost| {
        tracing::warn!(
            lost,
            "log lines are missing here: standard error did not take them"
        );
    },
};

/// Makes this the only way to standard error, in a program that writes to it in no other. What is written
/// waits until [`release`]: some processes must not have a second thread yet.
pub fn install() {
    let target = Target::Standard(rustix::stdio::stderr());
    WRITER.get_or_init(|| LossyWriter::new("standard-error", target, MOST, NOTICES, true));
}

/// Lets a thread write what there is and what comes.
pub fn release() {
    if let Some(writer) = WRITER.get() {
        writer.release();
    }
}

/// Writes whole lines, where [`install`] was called.
pub fn write(lines: &[u8]) {
    if let Some(writer) = WRITER.get() {
        writer.add(lines.to_vec());
    }
}

/// Waits a second at the most until all is written: before the process ends or executes another
/// program, and where something else is to stand after it.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(PATIENCE);
    }
}

/// What a process that was started writes to its standard error. Dropping it waits for the last words.
#[derive(Debug)]
pub(crate) struct Relay(Receiver<()>);

/// Has a process that is about to be started write to a pipe of ours, which is always read: a vendor's module
/// or a program that gives the PIN writes as it likes, and would wait with the key in its hands.
pub(crate) fn relayed(command: &mut Command) {
    if WRITER.get().is_some() {
        command.stderr(Stdio::piped());
    }
}

impl Relay {
    /// Passes on what the process writes, until it and what it has started have ended.
    pub(crate) fn of(child: &mut Child) -> Option<Self> {
        let pipe = child.stderr.take()?;
        let (tell, told) = sync_channel(1);
        let thread = thread::Builder::new().name("standard-error-of".to_owned());
        let work = move || {
            pass_on(pipe);
            let _ = tell.send(());
        };
        thread.spawn(work).ok().map(|_| Self(told))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // What the process has started may go on, and write.
        let _ = self.0.recv_timeout(LAST_WORDS);
    }
}

/// Others write to the same place: none of them between the two halves of a line.
fn write_in_pieces(lines: &[u8]) {
    let mut piece = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if !piece.is_empty() && piece.len() + line.len() > IN_ONE_PIECE {
            write(&std::mem::take(&mut piece));
        }
        piece.extend_from_slice(line);
    }
    write(&piece);
}

fn pass_on(mut pipe: ChildStderr) {
    let mut text = Vec::new();
    let mut chunk = vec![0; 8 << 10];
    while let Ok(length @ 1..) = pipe.read(&mut chunk) {
        text.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let whole = match text.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if text.len() > LONGEST_LINE => text.len(),
            None => continue,
        };
        let rest = text.split_off(whole);
        write_in_pieces(&std::mem::replace(&mut text, rest));
    }
    if !text.is_empty() {
        text.push(b'\n');
        write(&text);
    }
}
