//! An application's connection: a Unix socket or loopback TCP, what was read of it early, and a
//! watch over answers that nobody reads.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep, timeout};

/// How long a last word may take to be handed over.
const LAST_WORD: Duration = Duration::from_secs(5);
/// What is forgotten at once, in bytes.
const PIECE: usize = 16 << 10;

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

    /// A last word, to be followed by the end of the connection.
    pub(super) async fn say(&self, bytes: &[u8]) {
        let mut left = bytes;
        let saying = async {
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
        // Whoever has gone already, or does not listen, misses nothing.
        let _ = timeout(LAST_WORD, saying).await;
    }

    /// Reads what is there, and keeps nothing of it. None: there will be no more.
    pub(super) fn poll_forget(&mut self, task: &mut Context<'_>) -> Poll<Option<usize>> {
        let mut forgotten = [MaybeUninit::uninit(); PIECE];
        let mut forgotten = ReadBuf::uninit(&mut forgotten);
        let read = ready!(self.poll_read(task, &mut forgotten));
        let length = forgotten.filled().len();
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

/// What a connection is at, for who decides about its end.
#[derive(Debug, Default)]
pub(super) struct Business {
    /// Requests whose head was read, since the beginning.
    pub(super) begun: AtomicU32,
    /// Those whose answer is not at its end.
    pub(super) under_way: AtomicU32,
    /// Something of an answer waits to be read by the application.
    blocked: AtomicBool,
    /// A body was not read to its end: what comes next is no request.
    pub(super) cut: AtomicBool,
    /// To be told where the connection ends with the answer that is given now.
    pub(super) ends: Notify,
}

impl Business {
    /// Nothing is under way, and nothing waits to be read.
    pub(super) fn rests(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
            && !self.blocked.load(Ordering::Relaxed)
            && !self.cut.load(Ordering::Relaxed)
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
