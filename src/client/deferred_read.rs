//! A stream whose first read returns `Pending`, also if data is available.
//!
//! The first poll of a handshake runs on the application's thread (see [`offload_after_first_poll`]). It sends the
//! ClientHello and must not reach the signature, which blocks, even if the server's response arrives within that poll.
//!
//! [`offload_after_first_poll`]: crate::engine::handshake_threads::offload_after_first_poll

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::read_after_epipe::ReadAfterEpipe;

/// A TCP stream whose first read is deferred to the next poll.
#[derive(Debug)]
pub struct DeferredRead {
    tcp: ReadAfterEpipe,
    was_deferred: bool,
}

impl DeferredRead {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp: ReadAfterEpipe::new(tcp),
            was_deferred: false,
        }
    }

    fn tcp(self: Pin<&mut Self>) -> Pin<&mut ReadAfterEpipe> {
        Pin::new(&mut self.get_mut().tcp)
    }
}

impl AsyncRead for DeferredRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.was_deferred {
            self.was_deferred = true;
            ready!(self.tcp.poll_read_ready(task))?;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.tcp().poll_read(task, buffer)
    }
}

impl AsyncWrite for DeferredRead {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tcp().poll_write(task, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tcp().poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn available_data_is_read_by_the_second_poll() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (mut server, _) = listener.accept().await?;
        tokio::io::AsyncWriteExt::write_all(&mut server, b"early").await?;
        client.readable().await?;
        let mut stream = DeferredRead::new(client);
        let mut response = [0; 5];
        {
            let mut first = pin!(stream.read(&mut response));
            let mut context = Context::from_waker(Waker::noop());
            assert!(first.as_mut().poll(&mut context).is_pending());
        }
        stream.read_exact(&mut response).await?;
        assert_eq!(&response, b"early");
        Ok(())
    }
}
