//! A non-blocking writer for logs, the access log and messages to the service manager. A reader that is slow, has closed
//! the pipe or has a full disk must not block or end the process. So lines go into a bounded queue, and a thread writes
//! them; a line for which the queue has no room, or that cannot be written, is dropped and counted.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr, write};

use crate::poison::IgnorePoison as _;

/// Where lines are written.
#[derive(Debug)]
pub enum Target {
    /// A standard stream of the process.
    Standard(BorrowedFd<'static>),
    /// A file or socket of this process' own.
    Owned(OwnedFd),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard(fd) => *fd,
            Self::Owned(fd) => fd.as_fd(),
        }
    }
}

/// Callbacks about dropped lines.
#[derive(Clone, Copy)]
pub struct Notices {
    /// Called with the number of lines that were dropped just now.
    pub lost: fn(u64),
    /// Called once for the first line of a series that is dropped, with the reason.
    pub failing: fn(&str),
    /// Called when the whole queue is written again, with the number of lines that were dropped meanwhile.
    pub recovered: fn(u64),
}

/// A writer with a queue and a thread. Adding lines neither blocks nor fails.
pub struct LossyWriter(Arc<Shared>);

struct Shared {
    /// The thread's name.
    name: &'static str,
    /// The capacity of the queue in bytes.
    capacity: usize,
    notices: Notices,
    state: Mutex<QueueState>,
    changed: Condvar,
    sink: Mutex<Sink>,
}

#[derive(Default)]
struct QueueState {
    queue: VecDeque<Item>,
    /// Bytes in the queue and in the current write.
    queued_bytes: usize,
    writing: bool,
    /// Lines lost since the last `recovered`.
    lost: u64,
    failing: bool,
    /// A flush timed out, and nothing was written since.
    flush_timed_out: bool,
    /// The thread must not be started yet ([`LossyWriter::release`]).
    held: bool,
    running: bool,
    ended: bool,
}

enum Item {
    Lines(Vec<u8>),
    #[cfg_attr(not(feature = "front-end"), allow(dead_code, reason = "the proxy's"))]
    Switch(Target),
}

struct Sink {
    target: Target,
    /// The last line was written incompletely.
    partial_line: bool,
}

impl fmt::Debug for LossyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LossyWriter {}", self.0.name)
    }
}

impl LossyWriter {
    /// A writer with a queue of `capacity` bytes. `held`: its thread is not started before [`Self::release`].
    pub fn new(
        name: &'static str,
        target: Target,
        capacity: usize,
        notices: Notices,
        held: bool,
    ) -> Self {
        Self(Arc::new(Shared {
            name,
            capacity,
            notices,
            state: Mutex::new(QueueState {
                held,
                ..QueueState::default()
            }),
            changed: Condvar::new(),
            sink: Mutex::new(Sink {
                target,
                partial_line: false,
            }),
        }))
    }

    /// Queues whole lines.
    pub fn add(&self, lines: Vec<u8>) {
        let shared = &self.0;
        let mut state = shared.lock();
        if state.queued_bytes > 0
            && state.queued_bytes.saturating_add(lines.len()) > shared.capacity
        {
            drop(state);
            return shared.drop_lines(count_lines(&lines), "it is not written fast enough");
        }
        state.queued_bytes += lines.len();
        state.queue.push_back(Item::Lines(lines));
        self.wake(state);
    }

    /// Switches to another target once the lines that are queued now are written.
    #[cfg(feature = "front-end")]
    pub fn switch_to(&self, target: Target) {
        let mut state = self.0.lock();
        state.queue.push_back(Item::Switch(target));
        self.wake(state);
    }

    /// Lets the thread be started.
    pub fn release(&self) {
        let mut state = self.0.lock();
        state.held = false;
        if !state.queue.is_empty() {
            self.wake(state);
        }
    }

    /// Waits until the queue is written or dropped; returns whether that was in time. After a timeout, further flushes
    /// return at once until something was written.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.release();
        let deadline = Instant::now() + timeout;
        let mut state = self.0.lock();
        while state.writing || !state.queue.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.flush_timed_out || left.is_zero() {
                state.flush_timed_out = true;
                return false;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.ignore_poison().0;
        }
        true
    }

    fn wake(&self, mut state: MutexGuard<'_, QueueState>) {
        if state.running {
            self.0.changed.notify_all();
        } else if !state.held {
            state.running = true;
            drop(state);
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name(shared.name.to_owned());
            if thread.spawn(move || shared.serve()).is_err() {
                // Without a thread, this one writes, and may block.
                self.0.write_queued();
                self.0.lock().running = false;
            }
        }
    }
}

impl Drop for LossyWriter {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().ignore_poison()
    }

    fn serve(&self) {
        loop {
            self.write_queued();
            let idle = |state: &mut QueueState| state.queue.is_empty() && !state.ended;
            let state = self.changed.wait_while(self.lock(), idle);
            let state = state.ignore_poison();
            if state.queue.is_empty() {
                return;
            }
        }
    }

    fn write_queued(&self) {
        let mut sink = self.sink.lock().ignore_poison();
        loop {
            let mut state = self.lock();
            let Some(item) = state.queue.pop_front() else {
                return;
            };
            state.writing = true;
            drop(state);
            let mut length = 0;
            let written = match item {
                Item::Lines(lines) => {
                    length = lines.len();
                    sink.write(&lines).map(|()| true)
                }
                Item::Switch(target) => {
                    *sink = Sink {
                        target,
                        partial_line: false,
                    };
                    Ok(false)
                }
            };
            if let Err((lost, error)) = written {
                self.drop_lines(lost, &error.to_string());
            }
            let mut state = self.lock();
            state.queued_bytes -= length;
            state.flush_timed_out = false;
            let caught_up = written == Ok(true) && state.queue.is_empty() && state.failing;
            let lost = state.lost;
            if caught_up {
                state.lost = 0;
                state.failing = false;
            }
            drop(state);
            if caught_up {
                (self.notices.recovered)(lost);
            }
            // Only now: a flush also waits for what the callback queued.
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    fn drop_lines(&self, lines: u64, why: &str) {
        let mut state = self.lock();
        state.lost += lines;
        let first = !std::mem::replace(&mut state.failing, true);
        drop(state);
        (self.notices.lost)(lines);
        if first {
            (self.notices.failing)(why);
        }
    }
}

impl Sink {
    /// On an error, returns how many lines were not written completely.
    fn write(&mut self, lines: &[u8]) -> Result<(), (u64, Errno)> {
        if self.partial_line {
            // Ends the incomplete line.
            self.write_all(b"\n")
                .map_err(|(_, error)| (count_lines(lines), error))?;
            self.partial_line = false;
        }
        self.write_all(lines).map_err(|(written, error)| {
            let (done, rest) = lines.split_at(written);
            self.partial_line = done.last().is_some_and(|last| *last != b'\n');
            (count_lines(rest), error)
        })
    }

    /// On an error, returns how many bytes were written.
    fn write_all(&self, bytes: &[u8]) -> Result<(), (usize, Errno)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match retry_on_intr(|| write(&self.target, rest)) {
                Ok(0) => return Err((written, Errno::IO)),
                Ok(more) => written += more,
                // Another process made the shared pipe non-blocking.
                Err(Errno::AGAIN) => self.wait_writable().map_err(|error| (written, error))?,
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn wait_writable(&self) -> Result<(), Errno> {
        let mut fds = [PollFd::new(&self.target, PollFlags::OUT)];
        retry_on_intr(|| poll(&mut fds, None)).map(drop)
    }
}

/// Counts lines, one without a line break at the end as well.
fn count_lines(lines: &[u8]) -> u64 {
    lines.split_inclusive(|byte| *byte == b'\n').count() as u64
}

#[cfg(test)]
#[path = "lossy_writer_tests.rs"]
mod tests;
