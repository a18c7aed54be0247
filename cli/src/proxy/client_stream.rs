//! An application's connection: a Unix socket or loopback TCP, what was read of it early, and a
//! watch over answers that nobody reads.

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

/// How long a last word may take to be handed over.
const LAST_WORD: Duration = Duration::from_secs(5);
/// What is forgotten at once, in bytes.
const FORGOTTEN: usize = 16 << 10;
/// What is read at once of a next request, in bytes.
const PIECE: usize = 4096;

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
        let mut forgotten = [MaybeUninit::uninit(); FORGOTTEN];
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
pub(super) struct RequestActivity {
    /// Requests whose head was read, since the beginning.
    begun: AtomicU32,
    /// Those whose answer is not at its end.
    under_way: AtomicU32,
    /// The body of the last request was read to its end.
    read: AtomicBool,
    /// Something of an answer waits to be read by the application.
    blocked: AtomicBool,
    /// Told where an answer has come to its end, or was read on.
    paused: Notify,
    /// A body was not read to its end: what comes next is no request.
    pub(super) cut: AtomicBool,
    /// To be told where the connection ends with the answer that is given now.
    pub(super) ends: Notify,
}

impl RequestActivity {
    /// The head of a request was read.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.read.store(false, Ordering::Relaxed);
        self.enter();
    }

    /// Something is under way until it leaves again.
    pub(super) fn enter(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.paused.notify_one();
    }

    /// The body of the request that began as the so-manyth was read to its end: what comes next is
    /// another. It may have begun already.
    pub(super) fn has_read(&self, begun: u32) {
        if self.begun() == begun {
            self.read.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// Waits until something left, or what waited was read: then there may be nothing to do.
    pub(super) async fn paused(&self) {
        self.paused.notified().await;
    }

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
    stream: ClientStream,
    early: Bytes,
    /// What comes behind a request that is there as a whole, and not for who answers that.
    later: Option<BytesMut>,
    activity: Arc<RequestActivity>,
    patience: Duration,
    unread: Option<Pin<Box<Sleep>>>,
}

impl Io {
    pub(super) fn new(
        stream: ClientStream,
        early: Bytes,
        later: Option<BytesMut>,
        activity: Arc<RequestActivity>,
        patience: Duration,
    ) -> Self {
        Self {
            stream,
            early,
            later,
            activity,
            patience,
            unread: None,
        }
    }

    /// Whether it was given one request, which is there as a whole.
    pub(super) fn is_whole(&self) -> bool {
        self.later.is_some()
    }

    /// The stream, and what was read of the next request, perhaps by hyper.
    pub(super) fn into_stream(self, by_hyper: Bytes) -> (ClientStream, BytesMut) {
        // Where that request was all that hyper had, what is left is of a body that nobody read.
        let next = self.later.unwrap_or_else(|| {
            let mut next = BytesMut::from(by_hyper);
            next.extend_from_slice(&self.early);
            next
        });
        (self.stream, next)
    }

    /// Whether the application has gone; what it says meanwhile is kept for later.
    fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(later) = self.later.as_mut().filter(|later| later.is_empty()) else {
            return Poll::Pending;
        };
        let mut piece = [0; PIECE];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(self.stream.poll_read(task, &mut piece))?;
        if piece.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        later.extend_from_slice(piece.filled());
        Poll::Pending
    }

    /// An answer that the application leaves unread for too long ends the connection.
    fn watch<T>(
        &mut self,
        task: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.unread.take().is_some() {
                self.activity.blocked.store(false, Ordering::Relaxed);
                self.activity.paused.notify_one();
            }
            return written;
        }
        self.activity.blocked.store(true, Ordering::Relaxed);
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
            return match self.is_whole() {
                true => self.poll_gone(task),
                false => self.stream.poll_read(task, into),
            };
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
