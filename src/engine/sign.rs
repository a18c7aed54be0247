//! A request for a signature, and what makes one: [`Sign`] does not tell whether the token is used in this process or in the signer
//! process.

use std::fmt::{self, Debug, Display};
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::EngineError;
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::metrics::KeyMetrics;

/// The number of signatures that may be waited for at once. A queue refuses further callers; handshakes wait before it. It bounds
/// memory; deadlines bound the waiting time.
pub(crate) const MAX_WAITING: usize = 512;

/// The purpose of a signature. The ledger records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// CertificateVerify of TLS 1.3 (RFC 8446, section 4.4.3).
    Tls13ClientAuth,
    /// CertificateVerify of TLS 1.2 (RFC 5246, section 7.4.8): over the whole handshake.
    Tls12ClientAuth,
    /// A certificate request (RFC 2986).
    Csr,
    /// Proof of possession: a random challenge that shows that key and certificate belong together.
    Proof,
    /// A measurement that the operator asked for.
    SelfTest,
    /// A token of JWT Auth (RFC 7515, section 5.1), by the Sig4 key only.
    Jwt,
}

impl Purpose {
    /// The name in ledger records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls13ClientAuth => "tls13-client-auth",
            Self::Tls12ClientAuth => "tls12-client-auth",
            Self::Csr => "csr",
            Self::Proof => "proof",
            Self::SelfTest => "self-test",
            Self::Jwt => "jwt",
        }
    }
}

impl Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The transcript hash in the message that a client signs in a CertificateVerify of TLS 1.3 (RFC 8446, section 4.4.3): it
/// follows 64 spaces, the context string and a zero byte. `None` if the message begins with anything else.
pub(crate) fn tls13_transcript_hash(message: &[u8]) -> Option<&[u8]> {
    const SPACES: [u8; 64] = [b' '; 64];
    const CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
    message.strip_prefix(&SPACES)?.strip_prefix(CONTEXT)
}

/// A request for a signature. It holds the message and not its hash, because a hash does not show what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignRequest<'a> {
    /// The message.
    pub message: &'a [u8],
    /// The signature scheme.
    pub scheme: Scheme,
    /// The purpose.
    pub purpose: Purpose,
    /// The time at which the caller stops waiting.
    pub deadline: Instant,
    /// The TLS peer that the signature is for. The ledger records it as the caller's claim.
    pub peer: Peer<'a>,
}

/// The TLS peer that a signature is for, as far as the caller knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer<'a> {
    /// `host:port`, or `host` if the port is not known.
    pub name: Option<&'a str>,
    /// `x-fapi-interaction-id` of the request that the connection is made for.
    pub interaction_id: Option<&'a str>,
}

/// A signature, verified.
pub struct Signature {
    /// The signature in the form that TLS and X.509 use (ECDSA: DER).
    pub bytes: Vec<u8>,
    /// The time from the request to the verified signature, including the wait in the queue.
    pub elapsed: Duration,
}

/// A key that signs.
pub trait Sign: Debug + Send + Sync {
    /// The key's PKCS#11 URI, for messages and records.
    fn key_uri(&self) -> String;

    /// Its public key.
    fn public_key(&self) -> &PublicKey;

    /// The schemes that it can sign with, preferred first; never empty.
    fn schemes(&self) -> &[Scheme];

    /// The deadline of a signature that is requested now.
    fn deadline(&self) -> Instant;

    /// Signs. Blocks until the signature is made and verified, or the deadline has passed.
    ///
    /// # Errors
    /// There is no verified signature by the deadline: [`EngineError`].
    fn sign(&self, request: &SignRequest<'_>) -> Result<Signature, EngineError>;

    /// As [`Sign::sign`], but the future waits and not the thread. Handshakes of [`Client`](crate::Client) call it. Unless it is
    /// implemented, [`Sign::sign`] is called at once, and blocks: that is for keys which take no time.
    ///
    /// Dropping the future does not stop a signature that the token is making: it is on record as any other.
    fn sign_async<'a>(&'a self, request: &'a SignRequest<'a>) -> SignatureFuture<'a> {
        Box::pin(std::future::ready(self.sign(request)))
    }
}

/// A signature that is being made: the future of [`Sign::sign_async`].
pub type SignatureFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Signature, EngineError>> + Send + 'a>>;

/// A signature that is awaited. Where nobody waits for its end, it is counted as `cancelled`.
pub(crate) struct AwaitedSignature<'a> {
    metrics: &'a KeyMetrics,
    purpose: Purpose,
    started: Instant,
    ended: bool,
}

impl<'a> AwaitedSignature<'a> {
    pub(crate) fn begin(metrics: &'a KeyMetrics, purpose: Purpose) -> Self {
        Self {
            metrics,
            purpose,
            started: Instant::now(),
            ended: false,
        }
    }

    /// The signature has ended, after this time.
    pub(crate) fn end(mut self) -> Duration {
        self.ended = true;
        self.started.elapsed()
    }
}

impl Drop for AwaitedSignature<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let elapsed = self.started.elapsed();
            self.metrics
                .signature(self.purpose.name(), "cancelled", elapsed);
        }
    }
}
