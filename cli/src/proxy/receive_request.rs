//! Receives the head of a request, and its body if that is small, before hyper gets any of it. What another server could
//! read differently is refused here, and so is what takes too long.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::access_control::late_token_problem;
use super::body_framing::BodyFraming;
use super::client_stream::ClientStream;
use super::connection_slots::ConnectionSlot;
use super::forward::body_problem;
use super::problem_details::Problem;
use super::request_body::{BodyFault, READ_AHEAD};
use super::request_syntax;

/// When the proxy stops, a connection that had no request so far is waited for this long.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);
/// The size of a read while a request is incomplete, in bytes.
const READ_BUFFER: usize = 4096;
/// The caller token has to come within so many bytes of a head.
const UNKNOWN_HEAD: usize = 8 << 10;

/// Becomes true when the proxy stops.
pub(super) type Stop = watch::Receiver<bool>;

/// The limits of a client connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    /// The longest head in bytes.
    pub(super) head: usize,
    /// For a head: the first from accept(2), further ones from their first byte.
    pub(super) head_timeout: Duration,
    /// For a body, and for how long the application may leave a response unread.
    pub(super) body_timeout: Duration,
    /// For how long a connection may be idle after a response.
    pub(super) keep_alive: Duration,
    /// For how long a connection that was accepted is waited for when the proxy stops.
    pub(super) stop_timeout: Duration,
}

/// What was received.
pub(super) enum Received {
    /// A request as far as it came, and what is to come of its body.
    Request { end: usize, body: BodyFraming },
    /// Nothing: the application closed the connection or was silent for too long, or the proxy stops.
    Nothing,
    /// A request that is refused with this response.
    Invalid(Problem),
    /// TLS.
    Tls,
}

/// A connection that waits for a request.
pub(super) struct WaitingConnection<'a> {
    pub(super) limits: &'a ClientLimits,
    pub(super) stream: &'a ClientStream,
    pub(super) slot: &'a mut ConnectionSlot,
    /// When it was accepted, if this is its first request.
    pub(super) accepted: Option<Instant>,
    pub(super) stop: &'a mut Stop,
}

impl WaitingConnection<'_> {
    /// Receives a request. `shows_caller` looks whether the first bytes of a head show the token.
    pub(super) async fn receive(
        mut self,
        buffer: &mut BytesMut,
        shows_caller: impl Fn(&[u8]) -> bool,
    ) -> Received {
        if buffer.is_empty() && !self.first_bytes(buffer).await {
            return Received::Nothing;
        }
        // Old clients send an empty line before a request (RFC 9112, section 2.2). Empty lines count as bytes of the head,
        // and their time as its time.
        let mut empty_lines = 0;
        let mut searched = 0;
        let deadline = self.accepted.unwrap_or_else(Instant::now) + self.limits.head_timeout;
        let head = loop {
            while buffer.starts_with(b"\r\n") {
                buffer.advance(2);
                empty_lines += 2;
                searched = 0;
            }
            if request_syntax::is_tls(buffer) {
                return Received::Tls;
            }
            let found = match request_syntax::end_of_head(buffer, searched) {
                Ok(found) => found,
                Err(problem) => return Received::Invalid(problem),
            };
            searched = buffer.len();
            let length = found.unwrap_or(searched);
            if let Err(problem) = self.check_caller(&buffer[..length], found, &shows_caller) {
                return Received::Invalid(problem);
            }
            if empty_lines + length > self.limits.head {
                let problem = request_syntax::too_large_problem(buffer, self.limits.head);
                return Received::Invalid(problem);
            }
            if let Some(head) = found {
                break head;
            }
            match self.read(buffer, deadline).await {
                Read::Some => {}
                Read::End => return Received::Nothing,
                Read::TimedOut => return Received::Invalid(head_timeout_problem()),
            }
        };
        let announced = match request_syntax::check(&mut buffer[..head]) {
            Ok(announced) => announced,
            Err(problem) => return Received::Invalid(problem),
        };
        let mut body = announced.framing;
        let small = matches!(body, BodyFraming::Length(length) if length <= READ_AHEAD as u64);
        // No byte of a body is waited for before the caller is known, or has to be told to send it.
        if small && !announced.awaits_continue && !self.slot.is_unknown() {
            let deadline = Instant::now() + self.limits.body_timeout;
            let mut end = head + body.advance(&buffer[head..]);
            while !body.is_over() {
                match self.read(buffer, deadline).await {
                    Read::Some => end += body.advance(&buffer[end..]),
                    Read::End => return Received::Nothing,
                    Read::TimedOut => return Received::Invalid(body_problem(BodyFault::TooSlow)),
                }
            }
            return Received::Request { end, body };
        }
        let end = head + body.advance(&buffer[head..]);
        Received::Request { end, body }
    }

    /// Looks for the token in a head of which this has come, and whose end is known if `end`. Without the token it is not
    /// waited for more than its first bytes.
    fn check_caller(
        &mut self,
        head: &[u8],
        end: Option<usize>,
        shows_caller: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Problem> {
        if !self.slot.is_unknown() || (end.is_none() && head.len() <= UNKNOWN_HEAD) {
            return Ok(());
        }
        let first = &head[..head.len().min(UNKNOWN_HEAD)];
        if shows_caller(first) {
            return match self.slot.admit() {
                true => Ok(()),
                false => Err(Problem::overload(
                    "all connections of this listener are in use",
                    "max_clients",
                )),
            };
        }
        match head.len() <= UNKNOWN_HEAD {
            // The request is refused with its other mistakes.
            true => Ok(()),
            false => Err(late_token_problem(UNKNOWN_HEAD)),
        }
    }

    /// Waits for the first bytes of a request. Returns false if none come.
    async fn first_bytes(&mut self, buffer: &mut BytesMut) -> bool {
        let mut deadline = match self.accepted {
            Some(accepted) => accepted + self.limits.head_timeout,
            None => Instant::now() + self.limits.keep_alive,
        };
        let mut stopping = false;
        loop {
            // The socket may have bytes for which no task was woken.
            match try_read(self.stream, buffer) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return false,
                Err(_) => {}
            }
            tokio::select! {
                biased;
                readable = timeout_at(deadline, self.stream.readable()) => match readable {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return false,
                },
                _ = self.stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    // The first request of an accepted connection may be on its way, and no other process would answer it.
                    deadline = match self.accepted {
                        Some(_) => Instant::now() + FIRST_REQUEST_GRACE.min(self.limits.stop_timeout),
                        None => Instant::now(),
                    };
                }
            }
        }
    }

    /// Reads more of a request.
    async fn read(&self, buffer: &mut BytesMut, deadline: Instant) -> Read {
        // Where there is always more to read, the timeout below never fires.
        if Instant::now() >= deadline {
            return Read::TimedOut;
        }
        match timeout_at(deadline, self.stream.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Read::End,
            Err(_) => return Read::TimedOut,
        }
        match try_read(self.stream, buffer) {
            Ok(0) => Read::End,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Read::End,
            _ => Read::Some,
        }
    }
}

/// The outcome of a read.
enum Read {
    /// There may be more in the buffer.
    Some,
    End,
    TimedOut,
}

fn try_read(stream: &ClientStream, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut bytes = [0; READ_BUFFER];
    let length = stream.try_read(&mut bytes)?;
    buffer.extend_from_slice(&bytes[..length]);
    Ok(length)
}

fn head_timeout_problem() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "deadline-head",
        "the head of the request did not come in time",
        "send it at once, or raise `head_timeout` of [proxy]",
    )
}
