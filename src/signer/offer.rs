//! What supervisor and front end say to each other of a reload, over the socket that the front end was
//! given its channels over.
//!
//! ```text
//! supervisor ── offer 7: another signer's channels, the configuration's text ──► front end
//!            ◄─ 7 is taken (or: kept what there was) ──────────────────────────
//!            ◄─ 7: nobody signs with the one before any more ──────────────────
//! ```
//!
//! The supervisor is believed. The front end parses the network and is not: see `succession`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::SignerError;
use super::frame::VERSION;
use super::handover::{receive, send_all, text_of};
use crate::engine::ReportedError;

/// What comes first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    version: u8,
    id: u64,
    channels: usize,
    /// There is no other signer, and why.
    refused: Option<ReportedError>,
}

/// What a front end answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The new signer is in use.
    Taken,
    /// Everything stays as it was.
    Kept,
    /// Nobody signs with the one before any more.
    LetGo,
}

const WORDS: [(u8, Word); 3] = [(b'T', Word::Taken), (b'K', Word::Kept), (b'G', Word::LetGo)];

/// A word is so long.
const WORD_LEN: usize = 9;

/// Makes an offer, without waiting: a front end that does not read gets none.
pub(super) fn make(
    control: BorrowedFd<'_>,
    id: u64,
    offered: Result<(&str, &[OwnedFd]), &ReportedError>,
) -> io::Result<()> {
    let (text, channels) = match offered {
        Ok((text, channels)) => (Some(text), channels),
        Err(_) => (None, &[][..]),
    };
    let opening = Opening {
        version: VERSION,
        id,
        channels: channels.len(),
        refused: offered.err().cloned(),
    };
    let words = serde_json::to_vec(&opening)?;
    let channels: Vec<_> = channels.iter().map(AsFd::as_fd).collect();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    send_all(control, &words, &channels, text, flags)
}

/// The socket, watched by the runtime that this is called in. It keeps messages apart, as datagrams are.
pub(super) fn watched(control: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = net::UnixDatagram::from(control);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// What a front end said; `None` where it ended its side.
pub(super) async fn hear(control: &UnixDatagram) -> io::Result<Option<Vec<u8>>> {
    let said = control.async_io(Interest::READABLE, || {
        let mut bytes = [0; WORD_LEN + 1];
        let taken = retry_on_intr(|| recv(control, &mut bytes, RecvFlags::DONTWAIT));
        let (length, _) = taken?;
        Ok(bytes.get(..length).unwrap_or_default().to_vec())
    });
    let said = said.await?;
    Ok((!said.is_empty()).then_some(said))
}

/// Reads a word, and the offer that it is about.
pub(super) fn read_word(bytes: &[u8]) -> Option<(Word, u64)> {
    let (code, id) = bytes.split_first()?;
    let id = u64::from_le_bytes(id.try_into().ok()?);
    let found = WORDS.iter().find(|(known, _)| known == code);
    found.map(|(_, word)| (*word, id))
}

/// The front end's end of that socket. To be kept: it is closed when the supervisor has gone.
#[derive(Debug)]
pub struct Offers(UnixDatagram);

/// Another signer, proposed in place of the one that there is.
#[derive(Debug)]
pub struct Offer {
    /// To be named in each answer.
    pub id: u64,
    /// The configuration to go by from then on, and channels to a signer that goes by it; or why there
    /// is none.
    pub offered: Result<(String, Vec<OwnedFd>), ReportedError>,
}

impl Offers {
    /// Within a runtime.
    ///
    /// # Errors
    /// The system does not watch it.
    pub fn over(control: OwnedFd) -> Result<Self, SignerError> {
        watched(control)
            .map(Self)
            .map_err(|error| SignerError::handover(&error))
    }

    /// The next one. Where the supervisor has gone, there is none, and this process is about to end too.
    ///
    /// # Errors
    /// What came is none: another version's, or too many descriptors.
    pub async fn next(&self) -> Result<Offer, SignerError> {
        let mut channels = Vec::new();
        let opening = self.message(&mut channels).await?;
        let opening: Opening =
            serde_json::from_slice(&opening).map_err(|error| SignerError::handover(&error))?;
        if opening.version != VERSION {
            return Err(SignerError::handover(&"an offer of another version"));
        }
        if let Some(told) = opening.refused {
            return Ok(Offer {
                id: opening.id,
                offered: Err(told),
            });
        }
        while channels.len() < opening.channels {
            self.message(&mut channels).await?;
        }
        let text = text_of(self.message(&mut Vec::new()).await?)?;
        Ok(Offer {
            id: opening.id,
            offered: Ok((text, channels)),
        })
    }

    async fn message(&self, channels: &mut Vec<OwnedFd>) -> Result<Vec<u8>, SignerError> {
        let read = || receive(self.0.as_fd(), channels, RecvFlags::DONTWAIT);
        let came = self.0.async_io(Interest::READABLE, read).await;
        match came {
            Ok(came) if came.is_empty() => std::future::pending().await,
            Ok(came) => Ok(came),
            Err(error) => Err(SignerError::handover(&error)),
        }
    }

    /// The new signer is in use from now on.
    ///
    /// # Errors
    /// The supervisor was not told.
    pub fn taken(&self, id: u64) -> Result<(), SignerError> {
        self.say(Word::Taken, id)
    }

    /// Everything stays as it was.
    ///
    /// # Errors
    /// The supervisor was not told.
    pub fn kept(&self, id: u64) -> Result<(), SignerError> {
        self.say(Word::Kept, id)
    }

    /// Nobody signs with the signer before any more.
    ///
    /// # Errors
    /// The supervisor was not told.
    pub fn let_go(&self, id: u64) -> Result<(), SignerError> {
        self.say(Word::LetGo, id)
    }

    fn say(&self, word: Word, id: u64) -> Result<(), SignerError> {
        let code = WORDS.iter().find(|(_, known)| *known == word);
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
    use super::super::handover::pair;
    use super::*;

    #[tokio::test]
    async fn an_offer_is_read_as_it_was_made_and_so_is_its_answer() {
        let (supervisor, front_end) = pair().unwrap();
        let offers = Offers::over(front_end).unwrap();
        let told = ReportedError {
            message: "no".to_owned(),
            hint: "yes".to_owned(),
            class: "configuration".to_owned(),
            exit: 2,
            transient: false,
        };
        // More than one message holds.
        let channels: Vec<_> = (0..70).map(|_| pair().unwrap().0).collect();
        make(supervisor.as_fd(), 1, Err(&told)).unwrap();
        make(supervisor.as_fd(), 2, Ok(("x = 1", &channels))).unwrap();
        let first = offers.next().await.unwrap();
        assert_eq!((first.id, first.offered.unwrap_err()), (1, told));
        let second = offers.next().await.unwrap();
        let (text, given) = second.offered.unwrap();
        assert_eq!((second.id, text.as_str(), given.len()), (2, "x = 1", 70));
        let control = watched(supervisor).unwrap();
        for (said, word) in [
            (offers.taken(2), Word::Taken),
            (offers.kept(2), Word::Kept),
            (offers.let_go(2), Word::LetGo),
        ] {
            said.unwrap();
            let heard = hear(&control).await.unwrap().unwrap();
            assert_eq!(read_word(&heard), Some((word, 2)));
        }
        drop(offers);
        assert_eq!(hear(&control).await.unwrap(), None);
    }

    #[test]
    fn what_is_no_word_is_none() {
        let whole = [b"T".as_slice(), &7_u64.to_le_bytes()].concat();
        assert_eq!(read_word(&whole), Some((Word::Taken, 7)));
        for length in 0..whole.len() {
            assert_eq!(read_word(&whole[..length]), None);
        }
        assert_eq!(read_word(&[&whole[..], b"x"].concat()), None);
        assert_eq!(read_word(&[b"t", &whole[1..]].concat()), None);
    }

    #[test]
    fn a_front_end_that_does_not_read_gets_none_and_holds_up_nobody() {
        let (supervisor, _front_end) = pair().unwrap();
        let text = "x".repeat(30 << 10);
        let full = (0..1000).find_map(|id| make(supervisor.as_fd(), id, Ok((&text, &[]))).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        let long = "x".repeat(65 << 10);
        assert!(make(supervisor.as_fd(), 1, Ok((&long, &[]))).is_err());
    }
}
