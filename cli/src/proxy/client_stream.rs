//! The stream of an application's connection (Unix socket or loopback TCP), with the bytes that were read before hyper
//! got it, and a timeout for responses that the application does not read.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep, timeout};

use super::body_framing::BodyFraming;

/// The longest time to write the last response of a connection.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The size of a read whose bytes are discarded.
const DISCARD_BUFFER: usize = 16 << 10;
/// The size of a read while a request is being answered.
const READ_BUFFER: usize = 4096;

/// A connection as it was accepted.
#[derive(Debug)]
pub(super) enum ClientStream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl ClientStream {
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.readable().await,
            Self::Tcp(stream) => stream.readable().await,
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tcp(stream) => stream.try_read(buffer),
        }
    }

    /// Writes the last response of a connection, which is closed afterwards.
    pub(super) async fn write_final(&self, bytes: &[u8]) {
        let mut left = bytes;
        let writing = async {
            while !left.is_empty() {
                let written = match self {
                    Self::Unix(stream) => {
                        stream.writable().await?;
                        stream.try_write(left)
                    }
                    Self::Tcp(stream) => {
                        stream.writable().await?;
                        stream.try_write(left)
                    }
                };
                match written {
                    Ok(length) => left = left.get(length..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        // An application that has gone or does not read needs no response.
        let _ = timeout(FINAL_WRITE_TIMEOUT, writing).await;
    }

    /// Reads and discards what is available: the number of bytes. None: the end of the stream, or an error.
    pub(super) fn poll_discard(&mut self, task: &mut Context<'_>) -> Poll<Option<usize>> {
        let mut buffer = [MaybeUninit::uninit(); DISCARD_BUFFER];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        let read = ready!(self.poll_read(task, &mut buffer));
        let length = buffer.filled().len();
        Poll::Ready(read.ok().map(|()| length).filter(|length| *length > 0))
    }

    fn poll_read(
        &mut self,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_read(task, into),
            Self::Tcp(stream) => Pin::new(stream).poll_read(task, into),
        }
    }

    fn poll_write(
        &mut self,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(task, slices),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(task, slices),
        }
    }

    pub(super) fn poll_shutdown(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}

/// What the requests of a connection are doing: decides when the connection is idle, and whether it can be reused.
#[derive(Debug, Default)]
pub(super) struct RequestActivity {
    /// The number of requests whose head was read.
    requests: AtomicU32,
    /// Responses that have not ended, and bodies that are being discarded.
    active: AtomicU32,
    /// All bytes of the last request were received, and no byte beyond it was given to hyper.
    received: AtomicBool,
    /// The application does not read the response at the moment.
    write_blocked: AtomicBool,
    /// Notified when a response has ended or is read on, or the request was received.
    may_be_idle: Notify,
    /// A body was not read to its end: the bytes that follow are not a request.
    pub(super) body_cut: AtomicBool,
    /// Notified when the connection is to be closed after the current response.
    pub(super) closes: Notify,
}

impl RequestActivity {
    /// The head of a request was read. To be followed by [`Self::end`].
    pub(super) fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.begin();
    }

    /// The connection is busy until [`Self::end`].
    pub(super) fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.may_be_idle.notify_one();
    }

    /// Whether all bytes of the last request were received.
    pub(super) fn is_received(&self) -> bool {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until a response has ended or is read on: the connection may be idle then.
    pub(super) async fn may_be_idle(&self) {
        self.may_be_idle.notified().await;
    }

    /// Whether all responses have ended and were written, and all bodies were read.
    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::Relaxed) == 0
            && !self.write_blocked.load(Ordering::Relaxed)
            && !self.body_cut.load(Ordering::Relaxed)
    }

    /// The number of requests whose head was read.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// A client stream as hyper reads and writes it: with one request, and no byte beyond it.
#[derive(Debug)]
pub(super) struct ClientIo {
    stream: ClientStream,
    /// What was read before hyper got the stream.
    read_ahead: Bytes,
    /// The rest of the body, which hyper reads.
    body: BodyFraming,
    /// The bytes after the request, which hyper does not see.
    next_request: BytesMut,
    activity: Arc<RequestActivity>,
    /// How long the application may leave the response unread.
    write_timeout: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    /// `read_ahead` holds the request as far as it was received, `body` what is to come of it, and `next_request` what
    /// was received beyond it.
    pub(super) fn new(
        stream: ClientStream,
        read_ahead: Bytes,
        body: BodyFraming,
        next_request: BytesMut,
        activity: Arc<RequestActivity>,
        write_timeout: Duration,
    ) -> Self {
        activity.received.store(body.is_over(), Ordering::Relaxed);
        Self {
            stream,
            read_ahead,
            body,
            next_request,
            activity,
            write_timeout,
            write_timer: None,
        }
    }

    /// The stream, and what was read of the next request. What hyper has in its buffer is of a body that nobody read.
    pub(super) fn into_stream(self) -> (ClientStream, BytesMut) {
        (self.stream, self.next_request)
    }

    /// Ready when the application has closed its side. What it sends meanwhile is kept as the next request.
    fn poll_closed(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.next_request.is_empty() {
            return Poll::Pending;
        }
        let mut buffer = [0; READ_BUFFER];
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(self.stream.poll_read(task, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.next_request.extend_from_slice(buffer.filled());
        Poll::Pending
    }

    /// Reads what is to come of the body, and keeps what comes after it as the next request.
    fn poll_body(
        &mut self,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let malformed = || Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        if self.body == BodyFraming::Malformed {
            return malformed();
        }
        let before = into.filled().len();
        ready!(self.stream.poll_read(task, into))?;
        let bytes = &into.filled()[before..];
        let end = self.body.advance(bytes);
        if self.body == BodyFraming::Malformed && end == 0 {
            into.set_filled(before);
            return malformed();
        }
        if self.body.is_over() {
            self.next_request.extend_from_slice(&bytes[end..]);
            self.activity.received.store(true, Ordering::Relaxed);
            // The response may have ended before.
            self.activity.may_be_idle.notify_one();
        }
        into.set_filled(before + end);
        Poll::Ready(Ok(()))
    }

    /// Fails with a timeout if the application leaves the response unread for too long.
    fn with_write_timeout<T>(
        &mut self,
        task: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.write_timer.take().is_some() {
                self.activity.write_blocked.store(false, Ordering::Relaxed);
                self.activity.may_be_idle.notify_one();
            }
            return written;
        }
        self.activity.write_blocked.store(true, Ordering::Relaxed);
        let timeout = self.write_timeout;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep(timeout)));
        match timer.as_mut().poll(task) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            return match self.body.is_over() {
                true => self.poll_closed(task),
                false => self.poll_body(task, into),
            };
        }
        let length = self.read_ahead.len().min(into.remaining());
        into.put_slice(&self.read_ahead.split_to(length));
        if self.read_ahead.is_empty() {
            // Frees the buffer that it is a slice of.
            self.read_ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(task, &[io::IoSlice::new(bytes)]);
        self.with_write_timeout(task, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(task, slices);
        self.with_write_timeout(task, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(task)
    }
}
