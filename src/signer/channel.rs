//! One channel to a signer process: a socket with at most one request in progress.
//!
//! A channel whose response is late is not used again until the response arrives, or the supervisor's notice that the
//! signer has ended. So no response is taken for that of another request.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::runtime::{self, Handle};
use tokio::time::timeout_at;

use super::frame::{self, Request, Response};
use super::timespec;
use crate::engine::ReportedError;

/// The longest response, in bytes: a description with a certificate.
const MAX_RESPONSE_LEN: usize = 64 << 10;

/// A signer's response. The JSON of a description and of health is not decoded yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OwnedResponse {
    Described(Vec<u8>),
    Signed(Vec<u8>),
    Failed(ReportedError),
    Health(Vec<u8>),
}

/// A channel's socket in the event loop of a runtime.
pub(super) type RegisteredSocket = (runtime::Id, UnixDatagram);

pub(super) struct Channel {
    socket: OwnedFd,
    /// The socket in the event loop of the runtime that waited for it last.
    registered: Option<RegisteredSocket>,
    /// The id of the last request.
    request_id: u64,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// The outcome of a receive.
pub(super) enum Received {
    Response(OwnedResponse),
    /// The supervisor's notice: the signer that had the request has ended.
    SignerEnded(String),
    /// No response has arrived yet, or none by the deadline.
    Nothing,
    /// A system call failed; the channel can be used again.
    Failed(String),
    /// The other end is closed, or violated the protocol: the channel cannot be used again.
    Broken(String),
}

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            registered: None,
            request_id: 0,
            request: Vec::new(),
            response: vec![0; MAX_RESPONSE_LEN],
        }
    }

    /// Sends a request. `id` is one that no other request has.
    pub(super) fn send(&mut self, id: u64, request: &Request<'_>) -> Result<(), Received> {
        self.request_id = id;
        frame::encode_request(&mut self.request, id, request);
        // DONTWAIT: a full channel means that the signer does not read it.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = retry_on_intr(|| send(&self.socket, &self.request, flags));
        sent.map(drop).map_err(received_error)
    }

    /// Waits for the response on this thread.
    pub(super) fn wait(&mut self, deadline: Instant) -> Received {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match retry_on_intr(|| poll(&mut fds, Some(&timespec(left)))) {
                Ok(0) => return Received::Nothing,
                Ok(_) => {}
                Err(error) => return received_error(error),
            }
            match self.receive() {
                Received::Nothing => {}
                received => return received,
            }
        }
    }

    /// The socket in the event loop of the current runtime. A SOCK_SEQPACKET socket is read as one of datagrams.
    ///
    /// # Errors
    /// There is no descriptor or no memory for it.
    pub(super) fn register(&mut self) -> io::Result<RegisteredSocket> {
        let runtime = Handle::current().id();
        if let Some((at, socket)) = self.registered.take()
            && at == runtime
        {
            return Ok((at, socket));
        }
        let socket = net::UnixDatagram::from(self.socket.try_clone()?);
        socket.set_nonblocking(true)?;
        Ok((runtime, UnixDatagram::from_std(socket)?))
    }

    /// Waits for the response as a task of the current runtime.
    pub(super) async fn wait_async(
        &mut self,
        socket: RegisteredSocket,
        deadline: Instant,
    ) -> Received {
        let waiting = async {
            loop {
                // The runtime ends: nothing waits any more, and the response is late.
                if socket.1.readable().await.is_err() {
                    return Received::Nothing;
                }
                // WouldBlock lets the next `readable` wait.
                let received = socket
                    .1
                    .try_io(Interest::READABLE, || match self.receive() {
                        Received::Nothing => Err(io::ErrorKind::WouldBlock.into()),
                        received => Ok(received),
                    });
                if let Ok(received) = received {
                    return received;
                }
            }
        };
        let received = timeout_at(deadline.into(), waiting).await;
        self.registered = Some(socket);
        received.unwrap_or(Received::Nothing)
    }

    /// Receives the response to the last request, if it has arrived. Does not block.
    pub(super) fn receive(&mut self) -> Received {
        loop {
            let received =
                retry_on_intr(|| recv(&self.socket, &mut self.response[..], RecvFlags::DONTWAIT));
            let length = match received {
                Ok((0, _)) => return Received::Broken("its end of a channel is closed".to_owned()),
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(error) => return received_error(error),
            };
            let response = self.response.get(..length).unwrap_or_default();
            let (id, response) = match frame::decode_response(response) {
                Ok(decoded) => decoded,
                Err(error) => return Received::Broken(error.to_string()),
            };
            let response = match response {
                Response::SignerEnded(why) => return Received::SignerEnded(why.to_owned()),
                // The response to an earlier request, whose caller has returned.
                _ if id != self.request_id => continue,
                Response::Described(json) => OwnedResponse::Described(json.to_vec()),
                Response::Signed(bytes) => OwnedResponse::Signed(bytes.to_vec()),
                Response::Health(json) => OwnedResponse::Health(json.to_vec()),
                Response::Failed(json) => match serde_json::from_slice(json) {
                    Ok(error) => OwnedResponse::Failed(error),
                    Err(error) => return Received::Broken(error.to_string()),
                },
            };
            return Received::Response(response);
        }
    }

    /// Discards responses to earlier requests.
    pub(super) fn drained(mut self) -> Self {
        while matches!(
            self.receive(),
            Received::Response(_) | Received::SignerEnded(_)
        ) {}
        self
    }
}

/// A closed end is permanent; other errors, as a lack of memory, are temporary.
fn received_error(error: Errno) -> Received {
    match error {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::BADF => {
            Received::Broken(error.to_string())
        }
        _ => Received::Failed(error.to_string()),
    }
}
