//! What the signer signs. It is asked by a process that parses the network and may have been taken
//! over, so it looks at each message itself: a key that signs whatever it is given is everybody's.

use std::time::{Duration, Instant};

use super::frame::SignFrame;
use crate::engine::{self, Purpose};
use crate::key::scheme::Scheme;

/// SHA-256 and SHA-384 are the hashes of TLS 1.3's suites.
const TLS13_HASHES: [usize; 2] = [32, 48];

// Handshake messages (RFC 5246, section 7.4; certificate_status: RFC 6066).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const CERTIFICATE_STATUS: u8 = 22;
const TLS12: [u8; 2] = [3, 3];

/// So many refusals are recorded in a second, and so many more at once.
const RECORDED_PER_SECOND: u32 = 10;
const RECORDED_AT_ONCE: u32 = 100;

/// Why something is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{} is nothing that a front end has a use for", .0.name())]
    Purpose(Purpose),
    #[error("another key is asked for than the one that is configured")]
    Key,
    #[error("{0} is no scheme of this key")]
    Scheme(Scheme),
    #[error("{0} is no scheme of TLS 1.3")]
    NotOfTls13(Scheme),
    #[error("the message is no client's CertificateVerify of TLS 1.3")]
    NoTls13ClientAuth,
    #[error("the message is no handshake of TLS 1.2 up to the client's CertificateVerify")]
    NoTls12ClientAuth,
    #[error("the message is no challenge of a proof")]
    NoProof,
    #[error("more than {0} signatures in a second")]
    Rate(u32),
}

/// Looks at each request.
#[derive(Debug)]
pub(super) struct Policy {
    key: [u8; 32],
    schemes: Vec<Scheme>,
    rate: Rate,
    refusals: Rate,
    left_out: u64,
}

impl Policy {
    pub(super) fn new(key: [u8; 32], schemes: &[Scheme], per_second: u32) -> Self {
        Self {
            key,
            schemes: schemes.to_vec(),
            rate: Rate::new(per_second, per_second, Instant::now()),
            refusals: Rate::new(RECORDED_PER_SECOND, RECORDED_AT_ONCE, Instant::now()),
            left_out: 0,
        }
    }

    /// Whether this may be signed, now.
    pub(super) fn permits(&mut self, frame: &SignFrame<'_>, now: Instant) -> Result<(), Refusal> {
        if frame.key != self.key {
            return Err(Refusal::Key);
        }
        form(frame)?;
        match self.schemes.contains(&frame.scheme) {
            // What is refused does not count: nobody's requests are turned away for another's.
            true => self.rate.take(now),
            false => Err(Refusal::Scheme(frame.scheme)),
        }
    }

    /// Whether something that was refused is to be recorded: how many before it were not. A front
    /// end that was taken over must not fill the ledger's disk.
    pub(super) fn records(&mut self, now: Instant) -> Option<u64> {
        match self.refusals.take(now) {
            Ok(()) => Some(std::mem::take(&mut self.left_out)),
            Err(_) => {
                self.left_out += 1;
                None
            }
        }
    }
}

/// Whether the message is what the purpose says. No message fits two purposes: 0x20, 0x01 and the
/// `h` of the proof's context are their first bytes.
fn form(frame: &SignFrame<'_>) -> Result<(), Refusal> {
    let (fits, otherwise) = match frame.purpose {
        Purpose::Tls13ClientAuth if !frame.scheme.in_tls13() => {
            return Err(Refusal::NotOfTls13(frame.scheme));
        }
        Purpose::Tls13ClientAuth => (is_tls13(frame.message), Refusal::NoTls13ClientAuth),
        Purpose::Tls12ClientAuth => (is_tls12(frame.message), Refusal::NoTls12ClientAuth),
        Purpose::Proof => (engine::is_challenge(frame.message), Refusal::NoProof),
        // Made by commands that have the token to themselves.
        Purpose::Csr | Purpose::SelfTest => return Err(Refusal::Purpose(frame.purpose)),
    };
    match fits {
        true => Ok(()),
        false => Err(otherwise),
    }
}

fn is_tls13(message: &[u8]) -> bool {
    engine::tls13_transcript_hash(message).is_some_and(|hash| TLS13_HASHES.contains(&hash.len()))
}

/// A whole handshake with client authentication, message by message, as far as its client signs it
/// (RFC 5246, section 7.4.8): from ClientHello to ClientKeyExchange.
fn is_tls12(transcript: &[u8]) -> bool {
    let Some(kinds) = handshake_messages(transcript) else {
        return false;
    };
    let mut kinds = kinds.iter().copied().peekable();
    let mut next = |kind: u8| kinds.next_if_eq(&kind).is_some();
    let begun = next(CLIENT_HELLO) && next(SERVER_HELLO) && next(CERTIFICATE);
    // These two a server may leave out.
    let _ = next(CERTIFICATE_STATUS);
    let _ = next(SERVER_KEY_EXCHANGE);
    begun
        && next(CERTIFICATE_REQUEST)
        && next(SERVER_HELLO_DONE)
        && next(CERTIFICATE)
        && next(CLIENT_KEY_EXCHANGE)
        && kinds.next().is_none()
}

/// The kinds of the messages, where the bytes are handshake messages and nothing else, and both
/// hellos speak of TLS 1.2.
fn handshake_messages(mut transcript: &[u8]) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    while let Some(([kind, length @ ..], rest)) = transcript.split_first_chunk::<4>() {
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        let (body, rest) = rest.split_at_checked(length)?;
        if matches!(*kind, CLIENT_HELLO | SERVER_HELLO) && !body.starts_with(&TLS12) {
            return None;
        }
        kinds.push(*kind);
        transcript = rest;
    }
    transcript.is_empty().then_some(kinds)
}

/// So many in a second, and so many at once.
#[derive(Debug)]
struct Rate {
    per_second: u32,
    at_once: f64,
    left: f64,
    filled: Instant,
}

impl Rate {
    fn new(per_second: u32, at_once: u32, now: Instant) -> Self {
        Self {
            per_second,
            at_once: f64::from(at_once),
            left: f64::from(at_once),
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> Result<(), Refusal> {
        let passed: Duration = now.saturating_duration_since(self.filled);
        let more = passed.as_secs_f64() * f64::from(self.per_second);
        self.left = (self.left + more).min(self.at_once);
        self.filled = self.filled.max(now);
        if self.left < 1.0 {
            return Err(Refusal::Rate(self.per_second));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
