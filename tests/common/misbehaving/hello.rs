//! What goes wrong at the ClientHello: old servers, what is no TLS at all, and boxes on the way.

use std::io::{self, Write as _};
use std::net::TcpStream;

use super::records;

/// A hello with a post-quantum key share is longer, one without is shorter. What was built when
/// all hellos fitted a packet drops the longer ones.
const LARGE: usize = 1000;
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// What happens once the ClientHello has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// A load balancer that has no hub behind it.
    Closes,
    /// A firewall with a rule against us.
    Resets,
    /// A firewall that drops what it does not like.
    Swallows,
    /// The same, for large hellos only; others get a good hub.
    SwallowsLarge,
    /// A box that takes the first packet for the whole hello, and finds it broken.
    ClosesOnLarge,
    /// The same, less politely.
    ResetsOnLarge,
    /// A web server that was not told of TLS.
    PlainHttp,
    /// A server that has nothing in common with us, or no such name.
    Alert(u8),
    /// A ServerHello of TLS 1.1.
    OldVersion,
}

/// How the connection goes on.
pub enum AfterHello {
    /// With TLS; this record has been read already.
    GoOn(Vec<u8>),
    /// With an orderly end.
    Close,
    /// With a reset, which is what the system sends where unread bytes are closed over.
    Reset,
}

impl Hello {
    pub fn meet(self, tcp: &TcpStream) -> io::Result<AfterHello> {
        let mut tcp = tcp;
        let header = records::header(tcp)?;
        let large = records::length(&header) > LARGE;
        match self {
            Self::SwallowsLarge | Self::ClosesOnLarge | Self::ResetsOnLarge if !large => {
                return records::rest(tcp, &header).map(AfterHello::GoOn);
            }
            Self::Resets | Self::ResetsOnLarge => {
                // There must be a byte to close over.
                tcp.peek(&mut [0])?;
                return Ok(AfterHello::Reset);
            }
            _ => {}
        }
        records::rest(tcp, &header)?;
        match self {
            // Until the client leaves.
            Self::Swallows | Self::SwallowsLarge => {
                io::copy(&mut tcp, &mut io::sink())?;
            }
            Self::PlainHttp => tcp.write_all(PLAIN_HTTP)?,
            Self::Alert(code) => tcp.write_all(&records::alert(code))?,
            Self::OldVersion => tcp.write_all(&records::old_server_hello())?,
            Self::Closes | Self::ClosesOnLarge | Self::Resets | Self::ResetsOnLarge => {}
        }
        Ok(AfterHello::Close)
    }
}
