//! The stream of a connection to the hub, watched for how it ends.
//!
//! In TLS 1.3 a server refuses a certificate after the client believes the handshake done: the
//! alert comes with the first read, and hyper's HTTP/2 hands on only its text.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hub_connection::ConnectionState;
use hsm_mtls::internal::client::connector::HubStream;
use hsm_mtls::internal::tls::{Ending, diagnose, ending_of};

/// The stream of a connection; the first error of reading is kept.
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
                    self.state.ended(Ending::Orderly);
                }
                self.state.look();
            }
            Poll::Ready(Err(error)) => {
                if let Some(heard) = diagnose(error) {
                    self.state.heard(heard);
                } else if let Some(how) = ending_of(error.kind()) {
                    self.state.ended(how);
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
