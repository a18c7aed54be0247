//! The channels to a signer process: a pool of sockets, with one request in progress on each.
//!
//! A channel whose response is late is not used again until the response arrives, or the supervisor's notice that the
//! signer has ended. So no response is taken for that of another request.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::frame::{self, MAX_FRAME_LEN, Request, Response};
use super::timespec;
use crate::engine::{EngineError, ReportedError};
use crate::poison::IgnorePoison as _;

/// The maximum number of callers that wait for a channel: that of concurrent handshakes. Further callers are refused.
const MAX_WAITING: usize = 512;

/// The interval between polls of the late channels while no channel is idle.
const LATE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The longest response, in bytes: a description with a certificate.
const MAX_RESPONSE_LEN: usize = 64 << 10;

/// The channels to a signer process.
pub(super) struct Channels {
    state: Mutex<ChannelPool>,
    free: Condvar,
    ids: AtomicU64,
}

#[derive(Default)]
struct ChannelPool {
    idle: Vec<Channel>,
    /// Channels whose caller returned before the response arrived.
    late: Vec<Channel>,
    all: usize,
    waiting: usize,
    /// One of the waiting callers polls the late channels.
    polling: bool,
}

/// A signer's response. The JSON of a description and of health is not decoded yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OwnedResponse {
    Described(Vec<u8>),
    Signed(Vec<u8>),
    Failed(ReportedError),
    Health(Vec<u8>),
}

struct Channel {
    socket: OwnedFd,
    /// The id of the last request.
    request_id: u64,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// The outcome of a receive.
enum Received {
    Response(OwnedResponse),
    /// The supervisor's notice: the signer that had the request has ended.
    SignerEnded(String),
    /// No response has arrived yet, or none by the deadline.
    Nothing,
    /// A system call failed; the channel can be used again.
    Failed(String),
    /// The other end is closed, or violated the protocol: the channel cannot be used again.
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
                request_id: 0,
                request: Vec::new(),
                response: vec![0; MAX_RESPONSE_LEN],
            })
            .collect();
        Self {
            state: Mutex::new(ChannelPool {
                all: idle.len(),
                idle,
                ..ChannelPool::default()
            }),
            free: Condvar::new(),
            ids: AtomicU64::new(1),
        }
    }

    /// The numbers of waiting callers, of channels in use, and of all channels.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.waiting, state.all - state.idle.len(), state.all)
    }

    /// Sends a request and waits for its response. Sends it once more if the signer ended before it responded.
    pub(super) fn request(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<OwnedResponse, EngineError> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let mut failure = String::new();
        for _ in 0..2 {
            let mut channel = self.acquire(deadline, timeout)?;
            channel.request_id = self.ids.fetch_add(1, Ordering::Relaxed);
            let received = match channel.send(request) {
                Ok(()) => channel.wait(deadline),
                Err(error) => received_error(error),
            };
            match received {
                Received::Response(response) => {
                    self.release(channel);
                    return Ok(response);
                }
                Received::SignerEnded(why) | Received::Failed(why) => {
                    self.release(channel);
                    failure = why;
                }
                Received::Nothing => {
                    self.lock().late.push(channel);
                    // One of the waiting callers has to poll it from now on.
                    self.free.notify_one();
                    return Err(EngineError::Deadline(timeout));
                }
                Received::Broken(why) => {
                    // This channel is dropped; another one may work.
                    let mut state = self.lock();
                    state.all -= 1;
                    drop(state);
                    self.free.notify_all();
                    failure = why;
                }
            }
        }
        Err(EngineError::SignerGone { why: failure })
    }

    fn acquire(&self, deadline: Instant, timeout: Duration) -> Result<Channel, EngineError> {
        let mut state = self.lock();
        if state.waiting >= MAX_WAITING {
            return Err(EngineError::QueueFull(state.waiting));
        }
        state.waiting += 1;
        let acquired = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(EngineError::Deadline(timeout));
            }
            if let Some(channel) = state.idle.pop() {
                break Ok(channel);
            }
            if state.all == 0 {
                break Err(EngineError::Stopped);
            }
            // One of the waiting callers polls the late channels.
            let polls = !state.polling && !state.late.is_empty();
            if polls && let Some(channel) = state.take_completed() {
                break Ok(channel);
            }
            state.polling |= polls;
            let wait = if polls {
                left.min(LATE_POLL_INTERVAL)
            } else {
                left
            };
            let (woken, _) = self.free.wait_timeout(state, wait).ignore_poison();
            state = woken;
            state.polling &= !polls;
        };
        if !state.polling && !state.late.is_empty() {
            self.free.notify_one();
        }
        state.waiting -= 1;
        drop(state);
        acquired.map(Channel::drained)
    }

    fn release(&self, channel: Channel) {
        self.lock().idle.push(channel);
        self.free.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, ChannelPool> {
        self.state.lock().ignore_poison()
    }
}

impl ChannelPool {
    /// Takes a late channel whose response has arrived.
    fn take_completed(&mut self) -> Option<Channel> {
        let is_completed = |channel: &mut Channel| !matches!(channel.receive(), Received::Nothing);
        let position = self.late.iter_mut().position(is_completed)?;
        Some(self.late.swap_remove(position))
    }
}

impl Channel {
    fn send(&mut self, request: &Request<'_>) -> Result<(), Errno> {
        frame::encode_request(&mut self.request, self.request_id, request);
        // DONTWAIT: a full channel means that the signer does not read it.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = retry_on_intr(|| send(&self.socket, &self.request, flags));
        sent.map(drop)
    }

    fn wait(&mut self, deadline: Instant) -> Received {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match retry_on_intr(|| poll(&mut fds, Some(&timespec(left)))) {
                Ok(0) => return Received::Nothing,
                Ok(_) => {}
                Err(error) => return received_error(error),
            }
            match self.receive() {
                Received::Nothing => {}
                received => return received,
            }
        }
    }

    /// Receives the response to the last request, if it has arrived. Does not block.
    fn receive(&mut self) -> Received {
        loop {
            let received =
                retry_on_intr(|| recv(&self.socket, &mut self.response[..], RecvFlags::DONTWAIT));
            let length = match received {
                Ok((0, _)) => return Received::Broken("its end of a channel is closed".to_owned()),
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(error) => return received_error(error),
            };
            let response = self.response.get(..length).unwrap_or_default();
            let (id, response) = match frame::decode_response(response) {
                Ok(decoded) => decoded,
                Err(error) => return Received::Broken(error.to_string()),
            };
            let response = match response {
                Response::SignerEnded(why) => return Received::SignerEnded(why.to_owned()),
                // The response to an earlier request, whose caller has returned.
                _ if id != self.request_id => continue,
                Response::Described(json) => OwnedResponse::Described(json.to_vec()),
                Response::Signed(bytes) => OwnedResponse::Signed(bytes.to_vec()),
                Response::Health(json) => OwnedResponse::Health(json.to_vec()),
                Response::Failed(json) => match serde_json::from_slice(json) {
                    Ok(error) => OwnedResponse::Failed(error),
                    Err(error) => return Received::Broken(error.to_string()),
                },
            };
            return Received::Response(response);
        }
    }

    /// Discards responses to earlier requests.
    fn drained(mut self) -> Self {
        while matches!(
            self.receive(),
            Received::Response(_) | Received::SignerEnded(_)
        ) {}
        self
    }
}

/// A closed end is permanent; other errors, as a lack of memory, are temporary.
fn received_error(error: Errno) -> Received {
    match error {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::BADF => {
            Received::Broken(error.to_string())
        }
        _ => Received::Failed(error.to_string()),
    }
}

/// Checks that a message fits into a frame.
pub(super) fn check_length(message: &[u8]) -> Result<(), EngineError> {
    // A request's other fields are shorter than this.
    let most = MAX_FRAME_LEN - 1024;
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
