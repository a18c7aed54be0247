//! The signing policy: which requests the signer signs. They come from a process that parses the network and may have
//! been taken over, so the signer checks each message itself: a key that signs any message can be used by anybody.

use std::time::Instant;

use super::rate_limit::TokenBucket;
use crate::config::trust::Fingerprint;
use crate::engine::{self, Purpose, SignRequest};
use crate::key::scheme::Scheme;

/// The lengths of SHA-256 and SHA-384, the hashes of TLS 1.3's cipher suites.
const TLS13_HASH_LENGTHS: [usize; 2] = [32, 48];

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

/// The rate limit of refusals in the ledger.
const REFUSALS_PER_SECOND: u32 = 10;
const REFUSALS_BURST: u32 = 100;

/// Why a request is refused.
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

/// The policy of one key.
#[derive(Debug)]
pub(super) struct SigningPolicy {
    spki: Fingerprint,
    schemes: Vec<Scheme>,
    per_second: u32,
    signatures: TokenBucket,
    refusals: TokenBucket,
    /// Refusals since the last that was recorded.
    left_out: u64,
}

impl SigningPolicy {
    pub(super) fn new(spki: Fingerprint, schemes: &[Scheme], per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            spki,
            schemes: schemes.to_vec(),
            per_second,
            signatures: TokenBucket::new(per_second, per_second, now),
            refusals: TokenBucket::new(REFUSALS_PER_SECOND, REFUSALS_BURST, now),
            left_out: 0,
        }
    }

    /// Whether the key with this SubjectPublicKeyInfo may sign this request now.
    pub(super) fn check(
        &mut self,
        spki: Fingerprint,
        request: &SignRequest<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        if spki != self.spki {
            return Err(Refusal::Key);
        }
        check_message(request)?;
        if !self.schemes.contains(&request.scheme) {
            return Err(Refusal::Scheme(request.scheme));
        }
        // Last: a request that is refused does not use up the rate limit of others.
        match self.signatures.take(now) {
            true => Ok(()),
            false => Err(Refusal::Rate(self.per_second)),
        }
    }

    /// Whether a refusal may be recorded, and how many before it were not. The limit keeps a front end that was taken
    /// over from filling the ledger's disk.
    pub(super) fn may_record(&mut self, now: Instant) -> Option<u64> {
        match self.refusals.take(now) {
            true => Some(std::mem::take(&mut self.left_out)),
            false => {
                self.left_out += 1;
                None
            }
        }
    }
}

/// Whether the message has the form of its purpose. No message has the form of two purposes: their first bytes are
/// 0x20, 0x01 and the `h` of a challenge.
fn check_message(request: &SignRequest<'_>) -> Result<(), Refusal> {
    let (fits, refusal) = match request.purpose {
        Purpose::Tls13ClientAuth if !request.scheme.in_tls13() => {
            return Err(Refusal::NotOfTls13(request.scheme));
        }
        Purpose::Tls13ClientAuth => (
            is_tls13_client_auth(request.message),
            Refusal::NoTls13ClientAuth,
        ),
        Purpose::Tls12ClientAuth => (
            is_tls12_client_auth(request.message),
            Refusal::NoTls12ClientAuth,
        ),
        Purpose::Proof => (engine::is_challenge(request.message), Refusal::NoProof),
        // Only commands that use the token without a signer process make these.
        Purpose::Csr | Purpose::SelfTest => return Err(Refusal::Purpose(request.purpose)),
    };
    match fits {
        true => Ok(()),
        false => Err(refusal),
    }
}

fn is_tls13_client_auth(message: &[u8]) -> bool {
    engine::tls13_transcript_hash(message)
        .is_some_and(|hash| TLS13_HASH_LENGTHS.contains(&hash.len()))
}

/// Whether these are the messages of a handshake with client authentication that its client signs (RFC 5246, section
/// 7.4.8): from ClientHello to ClientKeyExchange.
fn is_tls12_client_auth(transcript: &[u8]) -> bool {
    let Some(kinds) = handshake_messages(transcript) else {
        return false;
    };
    let mut kinds = kinds.iter().copied().peekable();
    let mut next = |kind: u8| kinds.next_if_eq(&kind).is_some();
    let up_to_certificate = next(CLIENT_HELLO) && next(SERVER_HELLO) && next(CERTIFICATE);
    // A server may omit these two.
    let _ = next(CERTIFICATE_STATUS);
    let _ = next(SERVER_KEY_EXCHANGE);
    up_to_certificate
        && next(CERTIFICATE_REQUEST)
        && next(SERVER_HELLO_DONE)
        && next(CERTIFICATE)
        && next(CLIENT_KEY_EXCHANGE)
        && kinds.next().is_none()
}

/// The types of the handshake messages. `None` where the bytes are anything else, or a hello is not of TLS 1.2.
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

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
