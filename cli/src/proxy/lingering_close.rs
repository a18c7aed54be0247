//! Lingering close (RFC 9112, section 9.6): after the response the proxy closes its own side of a connection, and then
//! reads and discards, within limits, what the application still sends.
//!
//! A socket that is closed with unread input resets the connection, and what the application has not read yet is lost
//! with it. An application that writes its whole request before it reads would never learn why it was refused.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::client_stream::{ClientStream, RequestActivity};
use super::connection_slots::ConnectionSlot;
use super::receive_request::Stop;

/// The most bytes that are discarded of a connection, beyond the longest body that is allowed.
const MAX_EXCESS_BYTES: u64 = 64 << 20;
/// The longest time that a closing connection is read, as in other servers.
const MAX_TIME: Duration = Duration::from_secs(30);
/// The longest time that a body is discarded while its connection stays open for further requests.
const MAX_TIME_OF_BODY: Duration = Duration::from_secs(5);
/// The longest time without any input.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same two limits while the proxy stops.
const MAX_TIME_STOPPING: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT_STOPPING: Duration = Duration::from_secs(2);
/// So many closing connections do not count as clients.
pub(super) const MAX_CLOSING: u32 = 256;

/// The limits that all closing connections share.
#[derive(Debug)]
pub(super) struct LingeringClose {
    max_bytes: u64,
    permits: Arc<Semaphore>,
    stop: Stop,
}

impl LingeringClose {
    pub(super) fn new(max_body: u64, stop: Stop) -> Self {
        Self {
            max_bytes: max_body + MAX_EXCESS_BYTES,
            permits: Arc::new(Semaphore::new(MAX_CLOSING as usize)),
            stop,
        }
    }

    /// Closes a connection whose last response was sent. Its slot is free at once, unless too many connections are
    /// closing already.
    pub(super) async fn close_with_slot(&self, stream: ClientStream, slot: ConnectionSlot) {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let slot = permit.is_err().then_some(slot);
        self.close(stream).await;
        drop((permit, slot));
    }

    /// Shuts the proxy's side down, and reads until the application closes its own.
    pub(super) async fn close(&self, mut stream: ClientStream) {
        // An error means that the application has gone already.
        let _ = poll_fn(|task| stream.poll_shutdown(task)).await;
        self.discard_all(MAX_TIME, |task| stream.poll_discard(task))
            .await;
    }

    /// Discards the rest of a body that the hub does not want, so that the application gets to reading the response.
    /// If that takes too long or the connection is to be closed, the body is cut off, and the connection with it.
    pub(super) async fn discard_body(&self, mut body: Incoming, activity: &RequestActivity) {
        let mut broken = false;
        let discarding = self.discard_all(MAX_TIME_OF_BODY, |task| {
            // hyper reports the end of the stream before it reports that there is no further frame.
            if body.is_end_stream() {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut body).poll_frame(task)).transpose();
            broken = frame.is_err();
            let frame = frame.unwrap_or_default();
            Poll::Ready(frame.map(|frame| frame.data_ref().map_or(0, Bytes::len)))
        });
        let mut stop = self.stop.clone();
        let ended = tokio::select! {
            biased;
            () = activity.closes.notified() => false,
            // No further request is served on this connection: the rest is discarded when it closes.
            _ = stop.wait_for(|stop| *stop) => false,
            ended = discarding => ended,
        };
        if !ended || broken {
            activity.body_cut.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until no connection is closing any more.
    pub(super) async fn wait_for_all(&self) {
        drop(self.permits.acquire_many(MAX_CLOSING).await);
    }

    /// Reads with `poll_read` until it returns None, or a limit is reached. Returns whether the end was reached.
    async fn discard_all(
        &self,
        max_time: Duration,
        mut poll_read: impl FnMut(&mut Context<'_>) -> Poll<Option<usize>>,
    ) -> bool {
        let mut stop = self.stop.clone();
        let (mut bytes_left, mut idle_timeout) = (self.max_bytes, IDLE_TIMEOUT);
        let mut deadline = Instant::now() + max_time;
        let mut idle_deadline = Instant::now() + idle_timeout;
        let mut stopping = false;
        loop {
            let read = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    idle_timeout = IDLE_TIMEOUT_STOPPING;
                    let now = Instant::now();
                    deadline = deadline.min(now + MAX_TIME_STOPPING);
                    idle_deadline = idle_deadline.min(now + idle_timeout);
                    continue;
                }
                read = timeout_at(deadline.min(idle_deadline), poll_fn(&mut poll_read)) => read,
            };
            let length = match read {
                Ok(Some(length)) => length as u64,
                Ok(None) => return true,
                Err(_) => return false,
            };
            let Some(left) = bytes_left.checked_sub(length) else {
                return false;
            };
            bytes_left = left;
            // If there is always more to read, the timeout above never fires.
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            if length > 0 {
                idle_deadline = now + idle_timeout;
            }
        }
    }
}
