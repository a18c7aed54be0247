//! Lines beside the main work: logs, the access log, words for the service manager. Their reader may be
//! gone, slow or out of space, and none of that may hold up or end what the process is for. So a line
//! goes into a bounded queue, and a thread writes it; what finds no room, or cannot be written, is
//! dropped and counted.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr, write};

use crate::poison::IgnorePoison as _;

/// Where lines go.
#[derive(Debug)]
pub enum Target {
    /// A stream that the process was started with.
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

/// Who is told of what was dropped.
#[derive(Clone, Copy)]
pub struct Notices {
    /// So many lines were dropped.
    pub lost: fn(u64),
    /// The first of a series was dropped, and why.
    pub failing: fn(&str),
    /// What came since was written; so many had been dropped.
    pub recovered: fn(u64),
}

/// Writes without ever making anybody wait, or fail.
pub struct LossyWriter(Arc<Shared>);

struct Shared {
    /// The thread's.
    name: &'static str,
    /// Bytes that may wait.
    most: usize,
    notices: Notices,
    state: Mutex<State>,
    changed: Condvar,
    sink: Mutex<Sink>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    /// Bytes in the queue, and of what is being written.
    waiting: usize,
    writing: bool,
    /// Since it was told last.
    lost: u64,
    failing: bool,
    /// Nothing was written since somebody waited in vain.
    stuck: bool,
    /// No thread may be started yet.
    held: bool,
    running: bool,
    ended: bool,
}

enum Item {
    Lines(Vec<u8>),
    #[cfg_attr(not(feature = "front-end"), allow(dead_code, reason = "the proxy's"))]
    Into(Target),
}

struct Sink {
    target: Target,
    /// The last line was written in part.
    torn: bool,
}

impl fmt::Debug for LossyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LossyWriter {}", self.0.name)
    }
}

impl LossyWriter {
    /// Where it is `held`, no thread is started before [`Self::release`].
    pub fn new(
        name: &'static str,
        target: Target,
        most: usize,
        notices: Notices,
        held: bool,
    ) -> Self {
        Self(Arc::new(Shared {
            name,
            most,
            notices,
            state: Mutex::new(State {
                held,
                ..State::default()
            }),
            changed: Condvar::new(),
            sink: Mutex::new(Sink {
                target,
                torn: false,
            }),
        }))
    }

    /// Takes whole lines.
    pub fn add(&self, lines: Vec<u8>) {
        let shared = &self.0;
        let mut state = shared.lock();
        if state.waiting > 0 && state.waiting.saturating_add(lines.len()) > shared.most {
            drop(state);
            return shared.lose(count(&lines), "it is not written fast enough");
        }
        state.waiting += lines.len();
        state.queue.push_back(Item::Lines(lines));
        self.wake(state);
    }

    /// Goes on in another place, after what waits.
    #[cfg(feature = "front-end")]
    pub fn turn_to(&self, target: Target) {
        let mut state = self.0.lock();
        state.queue.push_back(Item::Into(target));
        self.wake(state);
    }

    /// From now on it may have a thread.
    pub fn release(&self) {
        let mut state = self.0.lock();
        state.held = false;
        if !state.queue.is_empty() {
            self.wake(state);
        }
    }

    /// Waits until all is written or dropped; says whether it was in time. Whoever is made to wait in vain
    /// once is not again, until something was written.
    pub fn flush(&self, within: Duration) -> bool {
        self.release();
        let deadline = Instant::now() + within;
        let mut state = self.0.lock();
        while state.writing || !state.queue.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.stuck || left.is_zero() {
                state.stuck = true;
                return false;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.ignore_poison().0;
        }
        true
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if state.running {
            self.0.changed.notify_all();
        } else if !state.held {
            state.running = true;
            drop(state);
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name(shared.name.to_owned());
            if thread.spawn(move || shared.serve()).is_err() {
                // Better late than never.
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
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of it is whole.
        self.state.lock().ignore_poison()
    }

    fn serve(&self) {
        loop {
            self.write_queued();
            let idle = |state: &mut State| state.queue.is_empty() && !state.ended;
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
                Item::Into(target) => {
                    *sink = Sink {
                        target,
                        torn: false,
                    };
                    Ok(false)
                }
            };
            if let Err((lost, error)) = written {
                self.lose(lost, &error.to_string());
            }
            let mut state = self.lock();
            state.waiting -= length;
            state.stuck = false;
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
            // Not before: what is told of it may be waited for too.
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    fn lose(&self, lines: u64, why: &str) {
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
    /// Says how many lines were not written whole, where some were not.
    fn write(&mut self, lines: &[u8]) -> Result<(), (u64, Errno)> {
        if self.torn {
            // What is left of a line must not run into the next.
            self.put(b"\n")
                .map_err(|(_, error)| (count(lines), error))?;
            self.torn = false;
        }
        self.put(lines).map_err(|(written, error)| {
            let (done, rest) = lines.split_at(written);
            self.torn = done.last().is_some_and(|last| *last != b'\n');
            (count(rest), error)
        })
    }

    /// Says how much was written, where not all was.
    fn put(&self, bytes: &[u8]) -> Result<(), (usize, Errno)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match retry_on_intr(|| write(&self.target, rest)) {
                Ok(0) => return Err((written, Errno::IO)),
                Ok(more) => written += more,
                // Somebody who has the same pipe made it non-blocking.
                Err(Errno::AGAIN) => self.until_writable().map_err(|error| (written, error))?,
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn until_writable(&self) -> Result<(), Errno> {
        let mut fds = [PollFd::new(&self.target, PollFlags::OUT)];
        retry_on_intr(|| poll(&mut fds, None)).map(drop)
    }
}

/// What has no line break at its end is a line as well.
fn count(lines: &[u8]) -> u64 {
    lines.split_inclusive(|byte| *byte == b'\n').count() as u64
}

#[cfg(test)]
#[path = "lossy_writer_tests.rs"]
mod tests;
