//! The stream of a connection to the hub. It records how the connection ends.
//!
//! In TLS 1.3 a server refuses a client certificate after the client's handshake is done: the alert comes with the first
//! read, and hyper's HTTP/2 reports only its text.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hub_connection::ConnectionState;
use hsm_mtls::internal::client::connector::HubStream;
use hsm_mtls::internal::tls::{Ending, diagnose, ending_of};

/// A stream that records its first read error, or its end, in the state of the connection.
pub(super) struct ObservedStream {
    pub(super) stream: HubStream,
    pub(super) state: Arc<ConnectionState>,
}

impl AsyncRead for ObservedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (into.filled().len(), into.remaining());
        let read = Pin::new(&mut self.stream).poll_read(task, into);
        match &read {
            Poll::Ready(Ok(())) => {
                if into.filled().len() == before && room > 0 {
                    self.state.set_ending(Ending::Orderly);
                }
                self.state.wake_driver();
            }
            Poll::Ready(Err(error)) => {
                if let Some(error) = diagnose(error) {
                    self.state.set_tls_error(error);
                } else if let Some(ending) = ending_of(error.kind()) {
                    self.state.set_ending(ending);
                }
            }
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for ObservedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
