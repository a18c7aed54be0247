//! The TCP stream of a handshake with two runs (see [`crate::tls::replay`]): it records what the first receives and sends, and the
//! second receives the same again.
//!
//! What the second run sends has to begin with what the first has sent. That is compared, and not sent again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client_hello;
use super::read_after_epipe::ReadAfterEpipe;
use super::transport_stream::TransportStream;
use crate::tls::replay::Replay;

/// The longest input of a first run, in bytes: rustls takes handshake messages of up to 64 KiB, of which there are five.
const MAX_INPUT: usize = 1 << 20;

/// The stream. After the handshake it is the TCP stream.
#[derive(Debug)]
pub struct HandshakeStream {
    tcp: ReadAfterEpipe,
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    replay: Arc<Replay>,
    is_second_run: bool,
    received: Vec<u8>,
    /// How much of it the second run has read.
    read: usize,
    sent: Vec<u8>,
    /// How much of it the second run has sent.
    matched: usize,
}

impl HandshakeStream {
    /// The stream of a first run.
    pub(super) fn new(tcp: TransportStream, replay: &Arc<Replay>) -> Self {
        Self {
            tcp: ReadAfterEpipe::new(tcp),
            recording: Some(Box::new(Recording {
                replay: Arc::clone(replay),
                is_second_run: false,
                received: Vec::new(),
                read: 0,
                sent: Vec::new(),
                matched: 0,
            })),
        }
    }

    /// The stream of the second run.
    pub(super) fn rewound(mut self) -> Self {
        if let Some(recording) = &mut self.recording {
            recording.is_second_run = true;
        }
        self
    }

    /// Whether the first run has sent a ticket: a ClientHello with the extension pre_shared_key.
    pub(super) fn has_sent_ticket(&self) -> bool {
        let sent = self.recording.as_ref().map(|recording| &recording.sent[..]);
        sent.is_some_and(|sent| client_hello::has_pre_shared_key(sent).unwrap_or(false))
    }

    /// The handshake has no second run.
    pub(super) fn stop_recording(&mut self) {
        self.recording = None;
    }

    fn tcp(&mut self) -> Pin<&mut ReadAfterEpipe> {
        Pin::new(&mut self.tcp)
    }

    /// Ends the recording when the second run has come to where the first ended.
    fn drop_if_done(&mut self) {
        let is_done = |recording: &Recording| {
            recording.read == recording.received.len() && recording.matched == recording.sent.len()
        };
        if self.recording.as_deref().is_some_and(is_done) {
            self.recording = None;
        }
    }
}

impl Recording {
    /// Sends again what the first run has sent: returns how many bytes that is.
    fn match_sent(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let expected = self.sent.get(self.matched..).unwrap_or_default();
        let length = expected.len().min(bytes.len());
        if expected[..length] != bytes[..length] {
            self.replay.differs();
            return Err(io::Error::other("it differs from what was sent before"));
        }
        self.matched += length;
        Ok(length)
    }
}

impl AsyncRead for HandshakeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let Some(recording) = &mut stream.recording else {
            return stream.tcp().poll_read(task, into);
        };
        if recording.is_second_run && recording.read < recording.received.len() {
            let rest = recording.received.get(recording.read..).unwrap_or_default();
            let length = rest.len().min(into.remaining());
            into.put_slice(&rest[..length]);
            recording.read += length;
            stream.drop_if_done();
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut stream.tcp).poll_read(task, into))?;
        if !recording.is_second_run {
            let received = into.filled().get(before..).unwrap_or_default();
            if recording.received.len() + received.len() > MAX_INPUT {
                return Poll::Ready(Err(io::Error::other("its handshake is too long")));
            }
            recording.received.extend_from_slice(received);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let Some(recording) = &mut stream.recording else {
            return stream.tcp().poll_write(task, bytes);
        };
        if recording.is_second_run && recording.matched < recording.sent.len() {
            let matched = recording.match_sent(bytes);
            stream.drop_if_done();
            return Poll::Ready(matched);
        }
        // The run has ended: what it would send now is sent by the second.
        if !recording.is_second_run && recording.replay.has_asked() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let length = ready!(Pin::new(&mut stream.tcp).poll_write(task, bytes))?;
        if !recording.is_second_run {
            let sent = bytes.get(..length).unwrap_or_default();
            recording.sent.extend_from_slice(sent);
        }
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.recording.is_none() {
            return self.get_mut().tcp().poll_write_vectored(task, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(task, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp().poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp().poll_shutdown(task)
    }
}

#[cfg(test)]
#[path = "handshake_stream_tests.rs"]
mod tests;
