//! What the TLS with the hub runs over: a TCP connection, or the tunnel of a forward proxy, which is a TCP connection too, or a
//! TLS connection with the forward proxy. That outer TLS never has our certificate.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The stream, and through which forward proxy it goes.
#[derive(Debug)]
pub struct TransportStream {
    stream: Stream,
    via: Option<Arc<str>>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<TcpStream> for TransportStream {
    fn from(tcp: TcpStream) -> Self {
        Self {
            stream: Stream::Tcp(tcp),
            via: None,
        }
    }
}

impl From<TlsStream<TcpStream>> for TransportStream {
    fn from(tls: TlsStream<TcpStream>) -> Self {
        Self {
            stream: Stream::Tls(Box::new(tls)),
            via: None,
        }
    }
}

impl TransportStream {
    /// The same, which is a tunnel of this forward proxy.
    pub(super) fn in_tunnel_of(self, proxy: &Arc<str>) -> Self {
        Self {
            via: Some(Arc::clone(proxy)),
            ..self
        }
    }

    /// The forward proxy whose tunnel it is.
    pub fn via(&self) -> Option<&Arc<str>> {
        self.via.as_ref()
    }

    /// The address of the other end of the TCP connection.
    ///
    /// # Errors
    /// It has ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Tcp(tcp) => tcp.peer_addr(),
            Stream::Tls(tls) => tls.get_ref().0.peer_addr(),
        }
    }
}

macro_rules! of_either {
    ($stream:ident, $either:ident => $call:expr) => {
        match &mut $stream.get_mut().stream {
            Stream::Tcp($either) => {
                let $either = Pin::new($either);
                $call
            }
            Stream::Tls($either) => {
                let $either = Pin::new(&mut **$either);
                $call
            }
        }
    };
}

impl AsyncRead for TransportStream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_read(task, into))
    }
}

impl AsyncWrite for TransportStream {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        of_either!(self, stream => stream.poll_write(task, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_either!(self, stream => stream.poll_write_vectored(task, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_flush(task))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_shutdown(task))
    }
}
