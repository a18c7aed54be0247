//! A TCP stream that can still be read after a write failed with EPIPE or ECONNRESET.
//!
//! A server may respond before it has read the whole request, and close the connection. Further writes fail then, but the
//! response, which has the reason, has arrived: it must be read before the failure is reported.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport_stream::TransportStream;

/// The stream. The write error, if there was one, is reported at the end of its input.
#[derive(Debug)]
pub(super) struct ReadAfterEpipe {
    tcp: TransportStream,
    /// The error of a write; reported at the end of the input.
    write_error: Option<ErrorKind>,
}

impl ReadAfterEpipe {
    pub(super) fn new(tcp: TransportStream) -> Self {
        Self {
            tcp,
            write_error: None,
        }
    }

    /// Reports EPIPE and ECONNRESET as success and keeps the error: further output is discarded.
    fn absorb_error(
        &mut self,
        length: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Err(error)) = &written else {
            return written;
        };
        match error.kind() {
            kind @ (ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                self.write_error = Some(kind);
                Poll::Ready(Ok(length))
            }
            _ => written,
        }
    }
}

impl AsyncRead for ReadAfterEpipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(task, into);
        let ended = matches!(read, Poll::Ready(Ok(()))) && into.filled().len() == before;
        match self.write_error {
            // The system reports a socket's error once (SO_ERROR), and the write has received it.
            Some(kind) if ended && into.remaining() > 0 => Poll::Ready(Err(kind.into())),
            _ => read,
        }
    }
}

impl AsyncWrite for ReadAfterEpipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_error.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.tcp).poll_write(task, bytes);
        self.absorb_error(bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.write_error.is_some() {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.tcp).poll_write_vectored(task, slices);
        self.absorb_error(length, written)
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
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// The peer closes with unread input, which makes the system send a RST.
    #[tokio::test]
    async fn input_before_a_reset_is_read_and_then_the_error() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (mut server, _) = listener.accept().await?;
        let mut client = ReadAfterEpipe::new(client.into());
        client.write_all(b"unread").await?;
        server.readable().await?;
        server.write_all(b"too large").await?;
        drop(server);
        // Until the RST arrives, writes succeed.
        while client.write_error.is_none() {
            client.write_all(&[0; 4096]).await?;
            tokio::task::yield_now().await;
        }
        client.write_all(&[0; 4096]).await?;
        let mut response = [0; 9];
        client.read_exact(&mut response).await?;
        assert_eq!(&response, b"too large");
        let end = client.read(&mut response).await;
        let expected = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(end.is_err_and(|error| expected.contains(&error.kind())));
        Ok(())
    }
}
