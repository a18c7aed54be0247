//! The signing policy: which requests the signer accepts. They come from a process that parses the network and may have been
//! taken over, so the signer checks the form of each message: an attacker must not get arbitrary messages signed.

use std::time::Instant;

use super::rate_limit::TokenBucket;
use crate::config::signature_rate::SignatureLimit;
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
const REFUSALS_PER_SECOND: f64 = 10.0;
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
    #[error(
        "more than {} signatures at once, and then more than {} in a second",
        .0.burst, .0.per_second
    )]
    Rate(SignatureLimit),
}

/// The policy of one key, and its rate limits.
#[derive(Debug)]
pub(super) struct SigningPolicy {
    spki: Fingerprint,
    schemes: Vec<Scheme>,
    limit: SignatureLimit,
    signatures: TokenBucket,
    refusals: TokenBucket,
    /// The refusals since the last one that was recorded.
    left_out: u64,
}

impl SigningPolicy {
    pub(super) fn new(spki: Fingerprint, schemes: &[Scheme], limit: SignatureLimit) -> Self {
        let now = Instant::now();
        Self {
            spki,
            schemes: schemes.to_vec(),
            limit,
            signatures: TokenBucket::new(limit.per_second.as_f64(), limit.burst, now),
            refusals: TokenBucket::new(REFUSALS_PER_SECOND, REFUSALS_BURST, now),
            left_out: 0,
        }
    }

    /// Checks whether the key with this SubjectPublicKeyInfo may sign this request now.
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
        // The last check, so that a request that is refused does not count for the rate limit.
        match self.signatures.take(now) {
            true => Ok(()),
            false => Err(Refusal::Rate(self.limit)),
        }
    }

    /// Whether a refusal may be recorded: the number of refusals before it that were not. `None`: the rate limit is reached.
    /// The limit prevents a front end that was taken over from filling the ledger's disk.
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

/// Checks that the message has the form of its purpose. No message has the form of two purposes: the first byte is 0x20,
/// 0x01, or the `h` of a challenge.
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
        // Only commands that use the token without a signer process need these signatures.
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

/// Whether these are the handshake messages that a client signs in its CertificateVerify (RFC 5246, section 7.4.8): from
/// ClientHello to ClientKeyExchange.
fn is_tls12_client_auth(transcript: &[u8]) -> bool {
    let Some(types) = handshake_messages(transcript) else {
        return false;
    };
    let mut types = types.iter().copied().peekable();
    let mut next = |message_type: u8| types.next_if_eq(&message_type).is_some();
    let up_to_certificate = next(CLIENT_HELLO) && next(SERVER_HELLO) && next(CERTIFICATE);
    // These two are optional.
    let _ = next(CERTIFICATE_STATUS);
    let _ = next(SERVER_KEY_EXCHANGE);
    up_to_certificate
        && next(CERTIFICATE_REQUEST)
        && next(SERVER_HELLO_DONE)
        && next(CERTIFICATE)
        && next(CLIENT_KEY_EXCHANGE)
        && types.next().is_none()
}

/// The types of the handshake messages. `None`: the bytes are not handshake messages, or a hello is not of TLS 1.2.
fn handshake_messages(mut transcript: &[u8]) -> Option<Vec<u8>> {
    let mut types = Vec::new();
    while let Some(([message_type, length @ ..], rest)) = transcript.split_first_chunk::<4>() {
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        let (body, rest) = rest.split_at_checked(length)?;
        if matches!(*message_type, CLIENT_HELLO | SERVER_HELLO) && !body.starts_with(&TLS12) {
            return None;
        }
        types.push(*message_type);
        transcript = rest;
    }
    transcript.is_empty().then_some(types)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
