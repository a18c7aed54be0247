//! The reload protocol between supervisor and front end: the supervisor offers a new signer, the front end answers. It uses
//! the socket over which the front end received its channels.
//!
//! ```text
//! supervisor ── offer 7: the new signer's channels, the configuration's text ──► front end
//!            ◄─ 7 accepted (or: rejected, everything stays) ─────────────────────
//!            ◄─ 7 released: the signer before is no longer in use ───────────────
//! ```
//!
//! The front end trusts the supervisor. The supervisor does not trust the front end, which parses the network: see
//! `supervisor_reload`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::SignerError;
use super::fd_passing::{configuration_text, receive_with_descriptors, send_with_descriptors};
use super::frame::VERSION;
use crate::engine::ReportedError;

/// The first message of an offer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferHeader {
    version: u8,
    id: u64,
    channels: usize,
    /// Why there is no new signer; `None` if there is one.
    error: Option<ReportedError>,
}

/// A front end's answer to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfferAnswer {
    /// The new signer is in use.
    Accepted,
    /// The signer before stays in use.
    Rejected,
    /// The signer before is no longer in use.
    Released,
}

const ANSWER_CODES: [(u8, OfferAnswer); 3] = [
    (b'T', OfferAnswer::Accepted),
    (b'K', OfferAnswer::Rejected),
    (b'G', OfferAnswer::Released),
];

/// The length of an encoded answer: code and id.
const ANSWER_LEN: usize = 9;

/// Sends an offer. Does not block: it fails if the front end does not read its socket.
pub(super) fn send_offer(
    control: BorrowedFd<'_>,
    id: u64,
    offered: Result<(&str, &[OwnedFd]), &ReportedError>,
) -> io::Result<()> {
    let (text, channels) = match offered {
        Ok((text, channels)) => (Some(text), channels),
        Err(_) => (None, &[][..]),
    };
    let header = OfferHeader {
        version: VERSION,
        id,
        channels: channels.len(),
        error: offered.err().cloned(),
    };
    let header = serde_json::to_vec(&header)?;
    let channels: Vec<_> = channels.iter().map(AsFd::as_fd).collect();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    send_with_descriptors(control, &header, &channels, text, flags)
}

/// The socket, registered with the current runtime: as a datagram socket, because it keeps message boundaries.
pub(super) fn async_socket(control: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = net::UnixDatagram::from(control);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// Receives the next message of a front end; `None` if it has closed its end.
pub(super) async fn receive_message(control: &UnixDatagram) -> io::Result<Option<Vec<u8>>> {
    let message = control.async_io(Interest::READABLE, || {
        let mut bytes = [0; ANSWER_LEN + 1];
        let received = retry_on_intr(|| recv(control, &mut bytes, RecvFlags::DONTWAIT));
        let (length, _) = received?;
        Ok(bytes.get(..length).unwrap_or_default().to_vec())
    });
    let message = message.await?;
    Ok((!message.is_empty()).then_some(message))
}

/// Decodes an answer, and the id of the offer that it answers.
pub(super) fn decode_answer(bytes: &[u8]) -> Option<(OfferAnswer, u64)> {
    let (code, id) = bytes.split_first()?;
    let id = u64::from_le_bytes(id.try_into().ok()?);
    let found = ANSWER_CODES.iter().find(|(known, _)| known == code);
    found.map(|(_, answer)| (*answer, id))
}

/// The front end's end of the reload protocol. Keep it open: the supervisor's end is closed when the supervisor has ended.
#[derive(Debug)]
pub struct ReloadOffers(UnixDatagram);

/// The offer of a new signer in place of the present one.
#[derive(Debug)]
pub struct ReloadOffer {
    /// The id that each answer repeats.
    pub id: u64,
    /// The new configuration and the channels to a signer that uses it; or why there is none.
    pub offered: Result<(String, Vec<OwnedFd>), ReportedError>,
}

impl ReloadOffers {
    /// Receives offers over the inherited socket. To be called within a runtime.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub fn new(control: OwnedFd) -> Result<Self, SignerError> {
        async_socket(control)
            .map(Self)
            .map_err(|error| SignerError::handover(&error))
    }

    /// Receives the next offer. `None`: the supervisor has ended.
    ///
    /// # Errors
    /// The message is not an offer of this version, or has too many descriptors.
    pub async fn next(&self) -> Result<Option<ReloadOffer>, SignerError> {
        let mut channels = Vec::new();
        let header = self.message(&mut channels).await?;
        if header.is_empty() {
            return Ok(None);
        }
        let header: OfferHeader =
            serde_json::from_slice(&header).map_err(|error| SignerError::handover(&error))?;
        if header.version != VERSION {
            return Err(SignerError::handover(&"an offer of another version"));
        }
        if let Some(error) = header.error {
            return Ok(Some(ReloadOffer {
                id: header.id,
                offered: Err(error),
            }));
        }
        while channels.len() < header.channels {
            if self.message(&mut channels).await?.is_empty() {
                return Ok(None);
            }
        }
        let text = configuration_text(self.message(&mut Vec::new()).await?)?;
        Ok(Some(ReloadOffer {
            id: header.id,
            offered: Ok((text, channels)),
        }))
    }

    /// The next message; empty at the end of the socket.
    async fn message(&self, channels: &mut Vec<OwnedFd>) -> Result<Vec<u8>, SignerError> {
        let read = || receive_with_descriptors(self.0.as_fd(), channels, RecvFlags::DONTWAIT);
        let received = self.0.async_io(Interest::READABLE, read).await;
        received.map_err(|error| SignerError::handover(&error))
    }

    /// Answers that the new signer is in use from now on.
    ///
    /// # Errors
    /// The answer was not sent.
    pub fn accept(&self, id: u64) -> Result<(), SignerError> {
        self.answer(OfferAnswer::Accepted, id)
    }

    /// Answers that the signer before stays in use.
    ///
    /// # Errors
    /// The answer was not sent.
    pub fn reject(&self, id: u64) -> Result<(), SignerError> {
        self.answer(OfferAnswer::Rejected, id)
    }

    /// Answers that the signer before is no longer in use.
    ///
    /// # Errors
    /// The answer was not sent.
    pub fn release(&self, id: u64) -> Result<(), SignerError> {
        self.answer(OfferAnswer::Released, id)
    }

    fn answer(&self, answer: OfferAnswer, id: u64) -> Result<(), SignerError> {
        let code = ANSWER_CODES.iter().find(|(_, known)| *known == answer);
        let mut bytes = vec![code.map_or(0, |(code, _)| *code)];
        bytes.extend(id.to_le_bytes());
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = retry_on_intr(|| send(&self.0, &bytes, flags));
        sent.map(drop)
            .map_err(|error| SignerError::handover(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fd_passing::socket_pair;
    use super::*;

    #[tokio::test]
    async fn offers_and_answers_survive_the_socket() {
        let (supervisor, front_end) = socket_pair().unwrap();
        let offers = ReloadOffers::new(front_end).unwrap();
        let error = ReportedError {
            message: "no".to_owned(),
            hint: "yes".to_owned(),
            class: "configuration".to_owned(),
            exit: 2,
            transient: false,
            device_state: None,
        };
        // More than one message holds.
        let channels: Vec<_> = (0..70).map(|_| socket_pair().unwrap().0).collect();
        send_offer(supervisor.as_fd(), 1, Err(&error)).unwrap();
        send_offer(supervisor.as_fd(), 2, Ok(("x = 1", &channels))).unwrap();
        let first = offers.next().await.unwrap().unwrap();
        assert_eq!((first.id, first.offered.unwrap_err()), (1, error));
        let second = offers.next().await.unwrap().unwrap();
        let (text, received) = second.offered.unwrap();
        assert_eq!((second.id, text.as_str(), received.len()), (2, "x = 1", 70));
        let control = async_socket(supervisor).unwrap();
        for (sent, answer) in [
            (offers.accept(2), OfferAnswer::Accepted),
            (offers.reject(2), OfferAnswer::Rejected),
            (offers.release(2), OfferAnswer::Released),
        ] {
            sent.unwrap();
            let message = receive_message(&control).await.unwrap().unwrap();
            assert_eq!(decode_answer(&message), Some((answer, 2)));
        }
        drop(offers);
        assert_eq!(receive_message(&control).await.unwrap(), None);
    }

    #[test]
    fn malformed_answers_are_refused() {
        let whole = [b"T".as_slice(), &7_u64.to_le_bytes()].concat();
        assert_eq!(decode_answer(&whole), Some((OfferAnswer::Accepted, 7)));
        for length in 0..whole.len() {
            assert_eq!(decode_answer(&whole[..length]), None);
        }
        assert_eq!(decode_answer(&[&whole[..], b"x"].concat()), None);
        assert_eq!(decode_answer(&[b"t", &whole[1..]].concat()), None);
    }

    #[test]
    fn an_offer_to_a_front_end_that_does_not_read_fails_at_once() {
        let (supervisor, _front_end) = socket_pair().unwrap();
        let text = "x".repeat(30 << 10);
        let full =
            (0..1000).find_map(|id| send_offer(supervisor.as_fd(), id, Ok((&text, &[]))).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        let long = "x".repeat(65 << 10);
        assert!(send_offer(supervisor.as_fd(), 1, Ok((&long, &[]))).is_err());
    }
}
