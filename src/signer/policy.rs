//! The signing policy: which requests the signer accepts. They come from a process that parses the network and may have been
//! taken over, so the signer checks the form of each message: an attacker must not get arbitrary messages signed.

use std::sync::Mutex;
use std::time::Instant;

use super::jwt_policy::{JwtPolicy, JwtRefusal};
use super::rate_limit::TokenBucket;
use super::tls12_policy::{Tls12Policy, Tls12Refusal};
use crate::config::signature_rate::SignatureLimit;
use crate::config::trust::Fingerprint;
use crate::engine::{self, Purpose, SignRequest};
use crate::key::scheme::Scheme;
use crate::poison::IgnorePoison as _;
use crate::rfc3339;

/// The lengths of SHA-256 and SHA-384, the hashes of TLS 1.3's cipher suites.
const TLS13_HASH_LENGTHS: [usize; 2] = [32, 48];

/// The rate limit of refusals in the ledger.
const REFUSALS_PER_SECOND: f64 = 10.0;
const REFUSALS_BURST: u32 = 100;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{} is nothing that a front end has a use for", .0.name())]
    Purpose(Purpose),
    #[error("{} is no purpose of this key", .0.name())]
    PurposeOfAnotherKey(Purpose),
    #[error("another key is asked for than the one that is configured")]
    Key,
    #[error("{0} is no scheme of this key")]
    Scheme(Scheme),
    #[error("{0} is no scheme of TLS 1.3")]
    NotOfTls13(Scheme),
    #[error("the message is no client's CertificateVerify of TLS 1.3")]
    NoTls13ClientAuth,
    #[error(transparent)]
    Tls12(#[from] Tls12Refusal),
    #[error(transparent)]
    Jwt(#[from] JwtRefusal),
    #[error("the message is no challenge of a proof")]
    NoProof,
    #[error(
        "more than {} signatures at once, and then more than {} in a second",
        .0.burst, .0.per_second
    )]
    Rate(SignatureLimit),
}

/// What a key may sign, beside challenges.
#[derive(Debug)]
pub(super) enum KeyUse {
    /// C3: handshakes.
    ClientAuth(Box<Tls12Policy>),
    /// Sig4: tokens.
    Jwt(JwtPolicy),
}

/// The policy of one key, and its rate limits.
#[derive(Debug)]
pub(super) struct SigningPolicy {
    spki: Fingerprint,
    schemes: Vec<Scheme>,
    key_use: KeyUse,
    limit: SignatureLimit,
    signatures: Mutex<TokenBucket>,
    refusals: Mutex<RefusalRecords>,
}

/// Which refusals are recorded.
#[derive(Debug)]
struct RefusalRecords {
    allowed: TokenBucket,
    /// The refusals since the last one that was recorded.
    left_out: u64,
}

impl SigningPolicy {
    pub(super) fn new(
        spki: Fingerprint,
        schemes: &[Scheme],
        limit: SignatureLimit,
        key_use: KeyUse,
    ) -> Self {
        let now = Instant::now();
        let signatures = TokenBucket::new(limit.per_second.as_f64(), limit.burst, now);
        Self {
            spki,
            schemes: schemes.to_vec(),
            key_use,
            limit,
            signatures: Mutex::new(signatures),
            refusals: Mutex::new(RefusalRecords {
                allowed: TokenBucket::new(REFUSALS_PER_SECOND, REFUSALS_BURST, now),
                left_out: 0,
            }),
        }
    }

    /// Checks whether the key with this SubjectPublicKeyInfo may sign this request now.
    pub(super) fn check(
        &self,
        spki: Fingerprint,
        request: &SignRequest<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        if spki != self.spki {
            return Err(Refusal::Key);
        }
        if !self.schemes.contains(&request.scheme) {
            return Err(Refusal::Scheme(request.scheme));
        }
        self.check_message(request)?;
        // The last check, so that a request that is refused does not count for the rate limit.
        match self.signatures.lock().ignore_poison().take(now) {
            true => Ok(()),
            false => Err(Refusal::Rate(self.limit)),
        }
    }

    /// A request that was accepted was not attempted, because the token is lost or busy: it does not count for the rate
    /// limit. Otherwise an outage would use up the burst that is needed after it.
    pub(super) fn not_attempted(&self) {
        self.signatures.lock().ignore_poison().give_back();
    }

    /// Whether a refusal may be recorded: the number of refusals before it that were not. `None`: the rate limit is reached.
    /// The limit prevents a front end that was taken over from filling the ledger's disk.
    pub(super) fn may_record(&self, now: Instant) -> Option<u64> {
        let mut records = self.refusals.lock().ignore_poison();
        match records.allowed.take(now) {
            true => Some(std::mem::take(&mut records.left_out)),
            false => {
                records.left_out += 1;
                None
            }
        }
    }

    /// Checks that the message has the form of its purpose. No message has the form of two purposes: the first byte is 0x20,
    /// 0x01, the `h` of a challenge, or the `e` of a JSON object in base64url.
    fn check_message(&self, request: &SignRequest<'_>) -> Result<(), Refusal> {
        let fits_or = |fits: bool, refusal| match fits {
            true => Ok(()),
            false => Err(refusal),
        };
        match (request.purpose, &self.key_use) {
            (Purpose::Tls13ClientAuth, KeyUse::ClientAuth(_)) if !request.scheme.in_tls13() => {
                Err(Refusal::NotOfTls13(request.scheme))
            }
            (Purpose::Tls13ClientAuth, KeyUse::ClientAuth(_)) => fits_or(
                is_tls13_client_auth(request.message),
                Refusal::NoTls13ClientAuth,
            ),
            (Purpose::Tls12ClientAuth, KeyUse::ClientAuth(tls12)) => {
                Ok(tls12.check(request.message, request.scheme)?)
            }
            (Purpose::Jwt, KeyUse::Jwt(jwt)) => {
                Ok(jwt.check(request.message, request.scheme, rfc3339::unix_now())?)
            }
            (Purpose::Proof, _) => fits_or(engine::is_challenge(request.message), Refusal::NoProof),
            // Only commands that use the token without a signer process need these signatures.
            (Purpose::Csr | Purpose::SelfTest, _) => Err(Refusal::Purpose(request.purpose)),
            (Purpose::Tls13ClientAuth | Purpose::Tls12ClientAuth, KeyUse::Jwt(_))
            | (Purpose::Jwt, KeyUse::ClientAuth(_)) => {
                Err(Refusal::PurposeOfAnotherKey(request.purpose))
            }
        }
    }
}

fn is_tls13_client_auth(message: &[u8]) -> bool {
    engine::tls13_transcript_hash(message)
        .is_some_and(|hash| TLS13_HASH_LENGTHS.contains(&hash.len()))
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
