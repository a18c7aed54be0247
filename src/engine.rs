//! A signature, asked for with a message, a scheme, a purpose and a deadline.
//!
//! [`Sign`] is the seam: callers do not know whether the token is worked in this process or behind
//! a wall. [`TokenEngine`] is the engine in this process. Whatever the engine, a signature is
//! verified with the public key before it is released: tokens do answer wrongly, and an invalid
//! signature of a bank's key is nothing that a peer should see.

mod condition;
mod error;
mod here;
mod pool;
mod queue;
pub(crate) mod runtime;
mod station;
mod work;

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;

use crate::config::TokenConfig;
use crate::key::Key;
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::metrics::KeyMetrics;
use crate::token::Token;
pub use condition::{Condition, Down};
pub use error::{EngineError, Told};
use here::Here;
use pool::Pool;
use station::Station;
use work::Work;

/// What a signature is for. The ledger records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// CertificateVerify of TLS 1.3 (RFC 8446, section 4.4.3).
    Tls13ClientAuth,
    /// CertificateVerify of TLS 1.2 (RFC 5246, section 7.4.8): over the whole handshake.
    Tls12ClientAuth,
    /// A certificate request (RFC 2986).
    Csr,
    /// A random challenge that proves that key and certificate belong together.
    Proof,
    /// A measurement asked for by the operator.
    SelfTest,
}

impl Purpose {
    /// As records and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls13ClientAuth => "tls13-client-auth",
            Self::Tls12ClientAuth => "tls12-client-auth",
            Self::Csr => "csr",
            Self::Proof => "proof",
            Self::SelfTest => "self-test",
        }
    }
}

impl Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the message of a client's CertificateVerify of TLS 1.3 is, up to the transcript's hash (RFC
/// 8446, section 4.4.3): 64 spaces, the context string, a zero. `None` where it begins otherwise.
pub(crate) fn tls13_client_hash(message: &[u8]) -> Option<&[u8]> {
    const SPACES: [u8; 64] = [b' '; 64];
    const CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
    message.strip_prefix(&SPACES)?.strip_prefix(CONTEXT)
}

/// What is asked of an engine. The message, never its hash: a hash says nothing of what is signed.
#[derive(Clone, Copy)]
pub struct SignRequest<'a> {
    /// The message.
    pub message: &'a [u8],
    /// How to sign it.
    pub scheme: Scheme,
    /// What for.
    pub purpose: Purpose,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Who is to see it. The ledger records it as the caller's claim.
    pub peer: Peer<'a>,
}

/// Who is to see a signature, as far as the caller knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// `host:port`, or `host` where the port is not known.
    pub name: Option<&'a str>,
    /// `x-fapi-interaction-id` of the request that wants the connection.
    pub interaction_id: Option<&'a str>,
}

/// A signature that was verified.
pub struct Signature {
    /// In the form that TLS and X.509 use (ECDSA: DER).
    pub bytes: Vec<u8>,
    /// From the request to the verified signature, queueing included.
    pub elapsed: Duration,
}

/// A key that signs.
pub trait Sign: Debug + Send + Sync {
    /// The key's URI, for people and records.
    fn key_uri(&self) -> String;

    /// Its public half.
    fn public_key(&self) -> &PublicKey;

    /// What it can sign with, best first; never empty.
    fn schemes(&self) -> &[Scheme];

    /// When a signature that is asked for now must be there.
    fn deadline(&self) -> Instant;

    /// Signs. Blocks until the signature is there and verified, or the deadline has passed.
    ///
    /// # Errors
    /// There is no good signature in time: [`EngineError`].
    fn sign(&self, request: &SignRequest<'_>) -> Result<Signature, EngineError>;
}

/// The engine in this process: a key of a token, worked by a bounded pool of sessions.
#[derive(Debug)]
pub struct TokenEngine {
    token: Arc<Token>,
    uri: String,
    public_key: PublicKey,
    schemes: Vec<Scheme>,
    work: Arc<Work>,
    hands: Hands,
    keep_alive: Duration,
    meter: KeyMetrics,
}

/// Who makes the calls.
#[derive(Debug)]
enum Hands {
    /// Threads of the engine's: a caller goes away at its deadline, whatever the module does.
    Workers(Pool),
    /// The caller itself.
    Callers(Here),
}

impl TokenEngine {
    /// Puts a key to work. `public_key` is the certificate's where there is one. Sessions are
    /// opened when they are first needed.
    ///
    /// # Errors
    /// Token and key have no signing mechanism in common.
    pub fn start(
        token: Arc<Token>,
        key: Key,
        public_key: PublicKey,
        config: &TokenConfig,
    ) -> Result<Self, EngineError> {
        Self::with(token, key, public_key, config, |work, sessions| {
            Hands::Workers(Pool::new(work, sessions, config.keep_alive))
        })
    }

    /// The same for a process that is ended where a call hangs: signatures are made on the thread
    /// that asks. There a deadline bounds all but the call itself.
    ///
    /// # Errors
    /// As [`TokenEngine::start`].
    pub fn start_for_callers(
        token: Arc<Token>,
        key: Key,
        public_key: PublicKey,
        config: &TokenConfig,
    ) -> Result<Self, EngineError> {
        Self::with(token, key, public_key, config, |_, sessions| {
            Hands::Callers(Here::new(sessions))
        })
    }

    fn with(
        token: Arc<Token>,
        key: Key,
        public_key: PublicKey,
        config: &TokenConfig,
        hands: impl FnOnce(Arc<Work>, usize) -> Hands,
    ) -> Result<Self, EngineError> {
        let recipes = key.signing_mechanisms(token.mechanisms(), &public_key);
        let uri = key.uri().to_string();
        if recipes.is_empty() {
            return Err(EngineError::NoMechanism {
                uri,
                algorithm: public_key.algorithm(),
                listed: token.mechanisms().signing(),
            });
        }
        let schemes = recipes.iter().map(|(scheme, _)| *scheme).collect();
        let sessions = token.session_limit(config.sessions);
        let meter = KeyMetrics::new(&uri);
        let station = Station::new(Arc::clone(&token), key, meter.clone());
        let work = Arc::new(Work::new(station, recipes, public_key.clone()));
        Ok(Self {
            token,
            uri,
            public_key,
            schemes,
            hands: hands(Arc::clone(&work), sessions),
            work,
            keep_alive: config.keep_alive,
            meter,
        })
    }

    /// Asks the token about a session that nobody used lately, so that no firewall forgets it; says
    /// whether there may be more. The engine's own threads do it by themselves; without them somebody
    /// has to, now and then.
    pub fn keep_alive(&self) -> bool {
        match &self.hands {
            Hands::Callers(here) => here.keep_alive(&self.work, self.keep_alive),
            Hands::Workers(_) => false,
        }
    }

    /// How the way to the key is, as far as it is known: nothing is asked, and nobody waited for.
    pub fn condition(&self) -> Condition {
        let (waiting, in_use, at_most) = match &self.hands {
            Hands::Workers(pool) => pool.counts(),
            Hands::Callers(here) => here.counts(),
        };
        let seen = self.work.seen();
        Condition {
            in_use,
            at_most,
            waiting,
            down: seen.down,
            last_signature: seen.signed.map(|signed| signed.elapsed()),
        }
    }

    /// The token that holds the key.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl Sign for TokenEngine {
    fn key_uri(&self) -> String {
        self.uri.clone()
    }

    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    fn deadline(&self) -> Instant {
        self.token.deadline()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Signature, EngineError> {
        let SignRequest {
            message,
            scheme,
            purpose,
            ..
        } = *request;
        let span = tracing::debug_span!("signature", %purpose);
        let _entered = span.enter();
        let started = Instant::now();
        let result = match &self.hands {
            Hands::Workers(pool) => pool.sign(request),
            Hands::Callers(here) => here.sign(&self.work, request),
        };
        let elapsed = started.elapsed();
        let micros = elapsed.as_micros() as u64;
        let class = result.as_ref().map_or_else(EngineError::class, |_| "good");
        self.meter.signature(purpose.name(), class, elapsed);
        match result {
            Ok(bytes) => {
                tracing::debug!(%purpose, %scheme, key = self.uri, message_len = message.len(), micros, "signed");
                Ok(Signature { bytes, elapsed })
            }
            Err(error) => {
                tracing::warn!(%purpose, %scheme, key = self.uri, micros, class, %error, "not signed");
                Err(error)
            }
        }
    }
}

/// Begins the message of a proof, so that no proof is ever a message of another protocol.
const PROOF_CONTEXT: &[u8] = b"hsm-mtls proof of possession\0";
/// Bytes of randomness in it.
const NONCE_LEN: usize = 32;

/// Whether a message is a challenge of [`prove`] or [`challenge`].
pub(crate) fn is_challenge(message: &[u8]) -> bool {
    let nonce = message.strip_prefix(PROOF_CONTEXT);
    nonce.is_some_and(|nonce| nonce.len() == NONCE_LEN)
}

/// Proves that the key signs for its public half: a random challenge, signed and verified.
///
/// # Errors
/// There is no signature, or it is not of the expected key ([`EngineError::NotThePair`]).
pub fn prove(signer: &dyn Sign) -> Result<Duration, EngineError> {
    challenge(signer, Purpose::Proof).map_err(|error| match error.class() {
        // In another process too.
        "wrong-signature" => EngineError::NotThePair {
            uri: signer.key_uri(),
        },
        _ => error,
    })
}

/// Signs one random challenge with the best scheme and says how long it took.
///
/// # Errors
/// There is no good signature.
pub fn challenge(signer: &dyn Sign, purpose: Purpose) -> Result<Duration, EngineError> {
    let mut message = PROOF_CONTEXT.to_vec();
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| EngineError::NoRandom)?;
    message.extend_from_slice(&nonce);
    let scheme = *signer.schemes().first().ok_or(EngineError::Stopped)?;
    let request = SignRequest {
        message: &message,
        scheme,
        purpose,
        deadline: signer.deadline(),
        peer: Peer::default(),
    };
    signer.sign(&request).map(|signature| signature.elapsed)
}
