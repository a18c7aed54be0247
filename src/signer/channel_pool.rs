//! The channels to a signer process: a pool of them, from which a request takes one. Callers wait for a channel, and for the
//! response, on their thread or as a task of a runtime.

use std::fmt;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::channel::{Channel, OwnedResponse, Received, RegisteredSocket};
use super::frame::{MAX_FRAME_LEN, Request};
use crate::engine::block_on::block_on_until;
use crate::engine::{EngineError, MAX_WAITING};
use crate::poison::IgnorePoison as _;

/// The shortest interval between polls of the late channels.
const LATE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long a caller waits for an idle channel before it looks at the late ones.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// The channels to a signer process.
pub(super) struct Channels {
    state: Mutex<ChannelPool>,
    /// One permit for each idle channel. Closed when no channel can be used any more.
    idle: Semaphore,
    ids: AtomicU64,
}

struct ChannelPool {
    idle: Vec<Channel>,
    /// Channels whose caller returned before the response arrived.
    late: Vec<Channel>,
    all: usize,
    waiting: usize,
    /// When the late channels were polled last.
    polled: Instant,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} channels", self.lock().all)
    }
}

impl Channels {
    pub(super) fn new(sockets: Vec<OwnedFd>) -> Self {
        let idle: Vec<_> = sockets.into_iter().map(Channel::new).collect();
        Self {
            idle: Semaphore::new(idle.len()),
            state: Mutex::new(ChannelPool {
                all: idle.len(),
                idle,
                late: Vec::new(),
                waiting: 0,
                polled: Instant::now(),
            }),
            ids: AtomicU64::new(1),
        }
    }

    /// The numbers of waiting callers, of channels in use, and of all channels.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.waiting, state.all - state.idle.len(), state.all)
    }

    /// Sends a request and waits for its response on this thread. Sends it once more if the signer ended before it responded.
    pub(super) fn request(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<OwnedResponse, EngineError> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let mut failure = String::new();
        for _ in 0..2 {
            let mut lease = self.acquire(deadline, timeout)?;
            let received = match lease.send(self.next_id(), request) {
                Ok(channel) => channel.wait(deadline),
                Err(failed) => failed,
            };
            match self.conclude(lease, received, timeout) {
                Ok(result) => return result,
                Err(why) => failure = why,
            }
        }
        Err(EngineError::SignerGone { why: failure })
    }

    /// As [`Channels::request`], as a task of the current runtime.
    pub(super) async fn request_async(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<OwnedResponse, EngineError> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let mut failure = String::new();
        for _ in 0..2 {
            let mut lease = self.acquire_async(deadline, timeout).await?;
            // Before the request is sent: a failure to wait must not have it made twice.
            let received = match lease.register() {
                Err(failed) => failed,
                Ok(socket) => match lease.send(self.next_id(), request) {
                    Ok(channel) => channel.wait_async(socket, deadline).await,
                    Err(failed) => failed,
                },
            };
            match self.conclude(lease, received, timeout) {
                Ok(result) => return result,
                Err(why) => failure = why,
            }
        }
        Err(EngineError::SignerGone { why: failure })
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The result of a request, or why it is to be sent once more.
    fn conclude(
        &self,
        lease: Lease<'_>,
        received: Received,
        timeout: Duration,
    ) -> Result<Result<OwnedResponse, EngineError>, String> {
        match received {
            Received::Response(response) => {
                lease.release();
                Ok(Ok(response))
            }
            Received::SignerEnded(why) | Received::Failed(why) => {
                lease.release();
                Err(why)
            }
            // The lease is dropped: the response is late.
            Received::Nothing => Ok(Err(EngineError::Deadline(timeout))),
            Received::Broken(why) => {
                lease.discard();
                Err(why)
            }
        }
    }

    fn acquire(&self, deadline: Instant, timeout: Duration) -> Result<Lease<'_>, EngineError> {
        let _waiting = self.wait()?;
        // One for the whole wait, which keeps its place in the queue.
        let mut idle = pin!(self.idle.acquire());
        loop {
            let until = deadline.min(Instant::now() + WAIT_INTERVAL);
            let permit = block_on_until(until, idle.as_mut());
            if let Some(lease) = self.lease(permit, deadline, timeout)? {
                return Ok(lease);
            }
        }
    }

    async fn acquire_async(
        &self,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Lease<'_>, EngineError> {
        let _waiting = self.wait()?;
        let mut idle = pin!(self.idle.acquire());
        loop {
            let until = deadline.min(Instant::now() + WAIT_INTERVAL);
            let permit = timeout_at(until.into(), idle.as_mut()).await.ok();
            if let Some(lease) = self.lease(permit, deadline, timeout)? {
                return Ok(lease);
            }
        }
    }

    /// Takes the idle channel of a permit. Without a permit, late channels whose response has arrived become idle.
    fn lease(
        &self,
        permit: Option<Result<SemaphorePermit<'_>, AcquireError>>,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Option<Lease<'_>>, EngineError> {
        let now = Instant::now();
        if now >= deadline {
            return Err(EngineError::Deadline(timeout));
        }
        match permit {
            None => {
                self.reclaim_late(now);
                Ok(None)
            }
            Some(Err(_)) => Err(EngineError::Stopped),
            Some(Ok(permit)) => {
                permit.forget();
                let channel = self.lock().idle.pop();
                // There is one for each permit.
                let channel = channel.ok_or(EngineError::Stopped)?;
                Ok(Some(Lease {
                    pool: self,
                    channel: Some(channel.drained()),
                }))
            }
        }
    }

    fn wait(&self) -> Result<WaitingCaller<'_>, EngineError> {
        let mut state = self.lock();
        if state.waiting >= MAX_WAITING {
            return Err(EngineError::QueueFull(state.waiting));
        }
        state.waiting += 1;
        // An idle channel is better than a late one; with none, one of these may have its response.
        let has_idle = !state.idle.is_empty();
        drop(state);
        if !has_idle {
            self.reclaim_late(Instant::now());
        }
        Ok(WaitingCaller(self))
    }

    fn reclaim_late(&self, now: Instant) {
        let mut state = self.lock();
        if state.late.is_empty() || now.saturating_duration_since(state.polled) < LATE_POLL_INTERVAL
        {
            return;
        }
        state.polled = now;
        let has_response = |channel: &mut Channel| !matches!(channel.receive(), Received::Nothing);
        let completed: Vec<_> = state.late.extract_if(.., has_response).collect();
        let count = completed.len();
        state.idle.extend(completed);
        drop(state);
        self.idle.add_permits(count);
    }

    fn lock(&self) -> MutexGuard<'_, ChannelPool> {
        self.state.lock().ignore_poison()
    }
}

/// A channel in use. Dropped with a request in progress, it is late.
struct Lease<'a> {
    pool: &'a Channels,
    /// Taken when the lease ends.
    channel: Option<Channel>,
}

impl Lease<'_> {
    /// Sends the request, and returns the channel to wait for the response.
    fn send(&mut self, id: u64, request: &Request<'_>) -> Result<&mut Channel, Received> {
        let channel = self.channel.as_mut().ok_or_else(lease_ended)?;
        channel.send(id, request)?;
        Ok(channel)
    }

    /// Registers the channel with the event loop of the current runtime.
    fn register(&mut self) -> Result<RegisteredSocket, Received> {
        let channel = self.channel.as_mut().ok_or_else(lease_ended)?;
        channel
            .register()
            .map_err(|error| Received::Failed(error.to_string()))
    }

    /// The request has ended: the channel is idle.
    fn release(mut self) {
        if let Some(channel) = self.channel.take() {
            self.pool.lock().idle.push(channel);
            self.pool.idle.add_permits(1);
        }
    }

    /// The channel cannot be used any more.
    fn discard(mut self) {
        if self.channel.take().is_some() {
            let mut state = self.pool.lock();
            state.all -= 1;
            if state.all == 0 {
                self.pool.idle.close();
            }
        }
    }
}

fn lease_ended() -> Received {
    Received::Failed("its lease has ended".to_owned())
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            self.pool.lock().late.push(channel);
        }
    }
}

/// A caller in the count of those that wait for a channel.
struct WaitingCaller<'a>(&'a Channels);

impl Drop for WaitingCaller<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
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
#[path = "channel_pool_tests.rs"]
mod tests;
