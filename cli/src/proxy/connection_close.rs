//! How a connection of an application ends while it may still be sending (RFC 9112, section 9.6):
//! the answer, the end of our side, and then what comes is read and forgotten, within bounds.
//!
//! A socket that is closed with unread input resets the connection, and what the application has not
//! read yet is lost with it. One that writes all of its request before it reads would never learn why
//! it was refused.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::client_connection::Stop;
use super::client_stream::{ClientStream, RequestActivity};

/// How much is read of somebody who was answered, beyond the longest body, in bytes.
const BEYOND: u64 = 64 << 20;
/// For how long, as other servers do it.
const LONGEST: Duration = Duration::from_secs(30);
/// For how long a connection stays one over which requests can follow.
const LONGEST_KEPT: Duration = Duration::from_secs(5);
/// For how long nothing may come meanwhile.
const SILENCE: Duration = Duration::from_secs(5);
/// The same two when the proxy stops.
const LONGEST_STOPPING: Duration = Duration::from_secs(5);
const SILENCE_STOPPING: Duration = Duration::from_secs(2);
/// So many leave the places of those who are served while they are read to their end.
const MOST: u32 = 256;

/// What all closing connections share.
#[derive(Debug)]
pub(super) struct ConnectionClose {
    bytes: u64,
    places: Arc<Semaphore>,
    stop: Stop,
}

impl ConnectionClose {
    pub(super) fn new(longest_body: u64, stop: Stop) -> Self {
        Self {
            bytes: longest_body + BEYOND,
            places: Arc::new(Semaphore::new(MOST as usize)),
            stop,
        }
    }

    /// Ends a connection over which all was said. Its place is another's meanwhile, where there is
    /// room for it here.
    pub(super) async fn close_in_stages(&self, stream: ClientStream, place: OwnedSemaphorePermit) {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(own) => {
                drop(place);
                own
            }
            Err(_) => place,
        };
        self.close(stream).await;
        drop(place);
    }

    /// Ends our side, and reads on until the other side ends as well.
    pub(super) async fn close(&self, mut stream: ClientStream) {
        // Whoever has gone already misses nothing.
        let _ = poll_fn(|task| stream.poll_shutdown(task)).await;
        self.read_on(LONGEST, |task| stream.poll_forget(task)).await;
    }

    /// Reads a body that nobody wants, so that its sender comes to reading the answer. Where that
    /// takes too long, or the connection is to end, the body is cut off, and the connection with it.
    /// Whether it came to its end.
    pub(super) async fn discard(&self, mut body: Incoming, activity: &RequestActivity) -> bool {
        let mut broken = false;
        let reading = self.read_on(LONGEST_KEPT, |task| {
            // hyper says so before it says that there is no further frame.
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
            () = activity.ends.notified() => false,
            // No request can follow: what is left is read as of every connection that ends.
            _ = stop.wait_for(|stop| *stop) => false,
            ended = reading => ended,
        };
        let whole = ended && !broken;
        if !whole {
            activity.cut.store(true, Ordering::Relaxed);
        }
        whole
    }

    /// Waits until no connection is closing any more.
    pub(super) async fn over(&self) {
        drop(self.places.acquire_many(MOST).await);
    }

    /// Reads piece by piece, until there is none, within the bounds. Whether it came to the end.
    async fn read_on(
        &self,
        longest: Duration,
        mut piece: impl FnMut(&mut Context<'_>) -> Poll<Option<usize>>,
    ) -> bool {
        let mut stop = self.stop.clone();
        let (mut left, mut silence) = (self.bytes, SILENCE);
        let mut end = Instant::now() + longest;
        let mut quiet = Instant::now() + silence;
        let mut stopping = false;
        loop {
            let come = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    silence = SILENCE_STOPPING;
                    let now = Instant::now();
                    (end, quiet) = (end.min(now + LONGEST_STOPPING), quiet.min(now + silence));
                    continue;
                }
                come = timeout_at(end.min(quiet), poll_fn(&mut piece)) => come,
            };
            let length = match come {
                Ok(Some(length)) => length as u64,
                Ok(None) => return true,
                Err(_) => return false,
            };
            let Some(rest) = left.checked_sub(length) else {
                return false;
            };
            left = rest;
            // Also where more is always there.
            let now = Instant::now();
            if now >= end {
                return false;
            }
            if length > 0 {
                quiet = now + silence;
            }
        }
    }
}
