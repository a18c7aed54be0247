//! An application's connection: a Unix socket or loopback TCP, what was read of it early, and a
//! watch over answers that nobody reads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

/// How long somebody who was refused may go on talking.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection as it was accepted.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
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

    /// A last word to somebody who may not listen. What they say meanwhile is read and forgotten for
    /// a moment: closing a socket with unread bytes can overtake what was sent before.
    pub(super) async fn farewell(&self, bytes: &[u8]) {
        // Whoever has gone already misses nothing.
        let _ = match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        };
        let until = Instant::now() + FAREWELL;
        while let Ok(Ok(())) = timeout_at(until, self.readable()).await {
            if !self.forget_some() {
                return;
            }
        }
    }

    /// Whether there may be more.
    fn forget_some(&self) -> bool {
        let mut forgotten = [0; 4096];
        match self.try_read(&mut forgotten) {
            Ok(length) => length > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
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

    fn poll_shutdown(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}

/// What a connection is at, for who decides about its end.
#[derive(Debug, Default)]
pub(super) struct Business {
    /// Requests whose head was read, since the beginning.
    pub(super) begun: AtomicU32,
    /// Those whose answer is not at its end.
    pub(super) under_way: AtomicU32,
    /// Something of an answer waits to be read by the application.
    blocked: AtomicBool,
}

impl Business {
    /// Nothing is under way, and nothing waits to be read.
    pub(super) fn rests(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && !self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }
}

/// A connection as hyper uses it.
#[derive(Debug)]
pub(super) struct Io {
    stream: Stream,
    early: Bytes,
    business: Arc<Business>,
    patience: Duration,
    unread: Option<Pin<Box<Sleep>>>,
}

impl Io {
    pub(super) fn new(
        stream: Stream,
        early: Bytes,
        business: Arc<Business>,
        patience: Duration,
    ) -> Self {
        Self {
            stream,
            early,
            business,
            patience,
            unread: None,
        }
    }

    pub(super) fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.early)
    }

    /// An answer that the application leaves unread for too long ends the connection.
    fn watch<T>(
        &mut self,
        task: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.unread.take().is_some() {
                self.business.blocked.store(false, Ordering::Relaxed);
            }
            return written;
        }
        self.business.blocked.store(true, Ordering::Relaxed);
        let patience = self.patience;
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(patience)));
        match unread.as_mut().poll(task) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return self.stream.poll_read(task, into);
        }
        let length = self.early.len().min(into.remaining());
        into.put_slice(&self.early.split_to(length));
        if self.early.is_empty() {
            // What it was cut from is let go.
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(task, &[io::IoSlice::new(bytes)]);
        self.watch(task, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(task, slices);
        self.watch(task, written)
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
