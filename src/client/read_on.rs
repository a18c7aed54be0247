//! A TCP stream that is read to its end also where the peer takes no more.
//!
//! A server may answer before it has read a request, and close. What is written then fails, and the
//! answer has come nevertheless: it says why. Whoever gives up at the failure never reads it.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(super) struct ReadOn {
    tcp: TcpStream,
    /// Why nothing can be written any more; told at the end of what is to be read.
    failed: Option<ErrorKind>,
}

impl ReadOn {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, failed: None }
    }

    pub(super) fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_read_ready(task)
    }

    /// What the peer does not take is dropped.
    fn taken(
        &mut self,
        length: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Err(error)) = &written else {
            return written;
        };
        match error.kind() {
            gone @ (ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                self.failed = Some(gone);
                Poll::Ready(Ok(length))
            }
            _ => written,
        }
    }
}

impl AsyncRead for ReadOn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(task, into);
        let ended = matches!(read, Poll::Ready(Ok(()))) && into.filled().len() == before;
        match self.failed {
            // The system tells an error of a socket once, and that was to the write.
            Some(failed) if ended && into.remaining() > 0 => Poll::Ready(Err(failed.into())),
            _ => read,
        }
    }
}

impl AsyncWrite for ReadOn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.tcp).poll_write(task, bytes);
        self.taken(bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.failed.is_some() {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.tcp).poll_write_vectored(task, slices);
        self.taken(length, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a peer said before it closed with unread input is read, and then why it is gone.
    #[tokio::test]
    async fn what_came_before_a_reset_is_read() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let near = TcpStream::connect(listener.local_addr()?).await?;
        let (mut far, _) = listener.accept().await?;
        let mut near = ReadOn::new(near);
        near.write_all(b"unread").await?;
        far.readable().await?;
        far.write_all(b"too large").await?;
        drop(far);
        // Until the reset has come, it is the system that takes it.
        while near.failed.is_none() {
            near.write_all(&[0; 4096]).await?;
            tokio::task::yield_now().await;
        }
        near.write_all(&[0; 4096]).await?;
        let mut answer = [0; 9];
        near.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"too large");
        let end = near.read(&mut answer).await;
        let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(end.is_err_and(|error| gone.contains(&error.kind())));
        Ok(())
    }
}
