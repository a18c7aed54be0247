//! The front end's side: a key that signs in another process, over a few channels with one request
//! in each.
//!
//! A channel whose request had no answer in time is not used again before the answer, or the word
//! that whoever had it is no more, has come: so no answer is taken for another's.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::frame::{self, Answer, LONGEST, Request};
use super::supervisor::timespec;
use crate::engine::{EngineError, ReportedError};
use crate::poison::IgnorePoison as _;

/// How many may wait for a channel before a caller is turned away: as many as there may be handshakes
/// at once.
const MOST_WAITING: usize = 512;

/// How often a channel that owes an answer is looked at while all are taken: nobody says when it
/// comes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The longest answer, in bytes: the description holds a certificate.
const LONGEST_ANSWER: usize = 64 << 10;

/// The channels to a signer process.
pub(super) struct Channels {
    state: Mutex<State>,
    free: Condvar,
    ids: AtomicU64,
}

#[derive(Default)]
struct State {
    idle: Vec<Channel>,
    /// Those whose answer was not waited for.
    owing: Vec<Channel>,
    all: usize,
    waiting: usize,
    /// Whether one of those who wait looks after what is owed.
    looking: bool,
}

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Described(Vec<u8>),
    Signed(Vec<u8>),
    Failed(ReportedError),
    Health(Vec<u8>),
}

struct Channel {
    socket: OwnedFd,
    owed: u64,
    frame: Vec<u8>,
    answer: Vec<u8>,
}

/// What came over a channel.
enum Came {
    Reply(Reply),
    Gone(String),
    /// Nothing, until it was too late.
    Nothing,
    /// It could not be asked, this time.
    Failed(String),
    /// The other end is closed, or says what it must not.
    Broken(String),
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} channels", self.lock().all)
    }
}

impl Channels {
    pub(super) fn new(sockets: Vec<OwnedFd>) -> Self {
        let idle: Vec<_> = sockets
            .into_iter()
            .map(|socket| Channel {
                socket,
                owed: 0,
                frame: Vec::new(),
                answer: vec![0; LONGEST_ANSWER],
            })
            .collect();
        Self {
            state: Mutex::new(State {
                all: idle.len(),
                idle,
                ..State::default()
            }),
            free: Condvar::new(),
            ids: AtomicU64::new(1),
        }
    }

    /// How many wait for a channel, how many are in use, and how many there are.
    pub(super) fn in_use(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.waiting, state.all - state.idle.len(), state.all)
    }

    /// Asks, and once more where the signer ended before it answered.
    pub(super) fn ask(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Reply, EngineError> {
        let patience = deadline.saturating_duration_since(Instant::now());
        let mut gone = String::new();
        for _ in 0..2 {
            let mut channel = self.take(deadline, patience)?;
            channel.owed = self.ids.fetch_add(1, Ordering::Relaxed);
            let came = match channel.send(request) {
                Ok(()) => channel.wait(deadline),
                Err(error) => came_of(error),
            };
            match came {
                Came::Reply(reply) => {
                    self.give_back(channel);
                    return Ok(reply);
                }
                Came::Gone(why) => {
                    self.give_back(channel);
                    gone = why;
                }
                Came::Nothing => {
                    self.lock().owing.push(channel);
                    // Somebody has to look after it now.
                    self.free.notify_one();
                    return Err(EngineError::Deadline(patience));
                }
                Came::Failed(why) => {
                    self.give_back(channel);
                    gone = why;
                }
                Came::Broken(why) => {
                    // The others may do.
                    let mut state = self.lock();
                    state.all -= 1;
                    drop(state);
                    self.free.notify_all();
                    gone = why;
                }
            }
        }
        Err(EngineError::SignerGone { why: gone })
    }

    fn take(&self, deadline: Instant, patience: Duration) -> Result<Channel, EngineError> {
        let mut state = self.lock();
        if state.waiting >= MOST_WAITING {
            return Err(EngineError::QueueFull(state.waiting));
        }
        state.waiting += 1;
        let taken = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(EngineError::Deadline(patience));
            }
            if let Some(channel) = state.idle.pop() {
                break Ok(channel);
            }
            if state.all == 0 {
                break Err(EngineError::Stopped);
            }
            // One of those who wait looks, not each.
            let looks = !state.looking && !state.owing.is_empty();
            if looks && let Some(channel) = state.paid() {
                break Ok(channel);
            }
            state.looking |= looks;
            let wait = if looks { left.min(LOOK_AGAIN) } else { left };
            let (woken, _) = self.free.wait_timeout(state, wait).ignore_poison();
            state = woken;
            state.looking &= !looks;
        };
        if !state.looking && !state.owing.is_empty() {
            self.free.notify_one();
        }
        state.waiting -= 1;
        drop(state);
        taken.map(Channel::emptied)
    }

    fn give_back(&self, channel: Channel) {
        self.lock().idle.push(channel);
        self.free.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Lists and counts: there is no state in between.
        self.state.lock().ignore_poison()
    }
}

impl State {
    /// A channel that has its answer by now.
    fn paid(&mut self) -> Option<Channel> {
        let paid = |channel: &mut Channel| !matches!(channel.now(), Came::Nothing);
        let at = self.owing.iter_mut().position(paid)?;
        Some(self.owing.swap_remove(at))
    }
}

impl Channel {
    fn send(&mut self, request: &Request<'_>) -> Result<(), Errno> {
        frame::encode_request(&mut self.frame, self.owed, request);
        // Without waiting: a channel that is full is one that nobody reads.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = retry_on_intr(|| send(&self.socket, &self.frame, flags));
        sent.map(drop)
    }

    fn wait(&mut self, deadline: Instant) -> Came {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match retry_on_intr(|| poll(&mut fds, Some(&timespec(left)))) {
                Ok(0) => return Came::Nothing,
                Ok(_) => {}
                Err(error) => return came_of(error),
            }
            match self.now() {
                Came::Nothing => {}
                came => return came,
            }
        }
    }

    /// What has come for the question that was asked last.
    fn now(&mut self) -> Came {
        loop {
            let received =
                retry_on_intr(|| recv(&self.socket, &mut self.answer[..], RecvFlags::DONTWAIT));
            let length = match received {
                Ok((0, _)) => return Came::Broken("its end of a channel is closed".to_owned()),
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Came::Nothing,
                Err(error) => return came_of(error),
            };
            let answer = self.answer.get(..length).unwrap_or_default();
            let (id, answer) = match frame::decode_answer(answer) {
                Ok(answer) => answer,
                Err(bad) => return Came::Broken(bad.to_string()),
            };
            match answer {
                Answer::Gone(why) => return Came::Gone(why.to_owned()),
                // Of a question that was given up.
                _ if id != self.owed => {}
                Answer::Described(json) => return Came::Reply(Reply::Described(json.to_vec())),
                Answer::Signed(bytes) => return Came::Reply(Reply::Signed(bytes.to_vec())),
                Answer::Health(json) => return Came::Reply(Reply::Health(json.to_vec())),
                Answer::Failed(json) => {
                    return match serde_json::from_slice(json) {
                        Ok(told) => Came::Reply(Reply::Failed(told)),
                        Err(error) => Came::Broken(error.to_string()),
                    };
                }
            }
        }
    }

    /// Nothing of an earlier question is left in it.
    fn emptied(mut self) -> Self {
        while matches!(self.now(), Came::Reply(_) | Came::Gone(_)) {}
        self
    }
}

/// A lack of memory passes; an end that is closed does not.
fn came_of(error: Errno) -> Came {
    match error {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::BADF => {
            Came::Broken(error.to_string())
        }
        _ => Came::Failed(error.to_string()),
    }
}

/// Whether a message fits into a frame.
pub(super) fn fits(message: &[u8]) -> Result<(), EngineError> {
    // Head, texts and lengths take less than this.
    let most = LONGEST - 1024;
    match message.len() <= most {
        true => Ok(()),
        false => Err(EngineError::MessageTooLong {
            length: message.len(),
            most,
        }),
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
