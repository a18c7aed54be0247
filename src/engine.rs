//! The signing engine: makes a signature of a message with a scheme, for a purpose, by a deadline.
//!
//! [`Sign`] is the interface: callers do not know whether the token is used in this process or in the signer
//! process. [`TokenEngine`] is the engine in this process. Every engine verifies a signature with the public key
//! before it returns it: tokens do return wrong signatures, and no peer should see an invalid signature of a bank's
//! key.

mod error;
pub(crate) mod handshake_threads;
mod health;
mod outage;
mod proof;
mod queue;
mod remedy;
mod reported_error;
mod session_limit;
mod session_pool;
mod signing;
mod token_recovery;
mod worker_pool;

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::TokenConfig;
use crate::key::Key;
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
use crate::log_target;
use crate::metrics::KeyMetrics;
use crate::token::Token;
pub use error::EngineError;
pub use health::{EngineHealth, TokenOutage};
pub(crate) use outage::delay_after_failed_start;
pub(crate) use proof::is_challenge;
pub use proof::{challenge, challenge_by, prove};
pub use reported_error::ReportedError;
use session_pool::SessionPool;
use signing::TokenSigner;
pub(crate) use token_recovery::MAX_RECOVERIES_IN_VAIN;
use token_recovery::TokenRecovery;
use worker_pool::WorkerPool;

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
}

/// The engine in this process: signs with a key of a token, over a bounded number of sessions.
#[derive(Debug)]
pub struct TokenEngine {
    token: Arc<Token>,
    uri: String,
    public_key: PublicKey,
    schemes: Vec<Scheme>,
    signer: Arc<TokenSigner>,
    call_threads: CallThreads,
    keep_alive: Duration,
    metrics: KeyMetrics,
}

/// The threads that make the PKCS#11 calls.
#[derive(Debug)]
enum CallThreads {
    /// Worker threads: a caller returns at its deadline even if the call hangs.
    Workers(WorkerPool),
    /// The callers' threads.
    Callers(Arc<SessionPool>),
}

impl TokenEngine {
    /// Starts an engine that calls the module on worker threads. `public_key` is the certificate's, if there is one.
    /// Sessions are opened when they are first needed.
    ///
    /// # Errors
    /// Token and key have no signing mechanism in common.
    pub fn start(
        token: Arc<Token>,
        key: Key,
        public_key: PublicKey,
        config: &TokenConfig,
    ) -> Result<Self, EngineError> {
        Self::start_with(token, key, public_key, config, |signer, max_sessions| {
            CallThreads::Workers(WorkerPool::new(signer, max_sessions, config.keep_alive))
        })
    }

    /// Starts an engine that calls the module on its callers' threads. Deadlines do not interrupt calls: this engine is
    /// for a process whose supervisor kills it when a call hangs.
    ///
    /// # Errors
    /// As [`TokenEngine::start`].
    pub fn start_on_caller_threads(
        token: Arc<Token>,
        key: Key,
        public_key: PublicKey,
        config: &TokenConfig,
    ) -> Result<Self, EngineError> {
        Self::start_with(token, key, public_key, config, |_, max_sessions| {
            CallThreads::Callers(Arc::new(SessionPool::new(max_sessions)))
        })
    }

    fn start_with(
        token: Arc<Token>,
        key: Key,
        public_key: PublicKey,
        config: &TokenConfig,
        call_threads: impl FnOnce(Arc<TokenSigner>, usize) -> CallThreads,
    ) -> Result<Self, EngineError> {
        let mechanisms = key.signing_mechanisms(token.mechanisms(), &public_key);
        let uri = key.uri().to_string();
        if mechanisms.is_empty() {
            return Err(EngineError::NoMechanism {
                uri,
                algorithm: public_key.algorithm(),
                listed: token.mechanisms().signing(),
            });
        }
        let schemes = mechanisms.iter().map(|(scheme, _)| *scheme).collect();
        let sessions = token.session_limit(config.sessions);
        let metrics = KeyMetrics::new(&uri);
        let recovery = TokenRecovery::new(Arc::clone(&token), key, metrics.clone());
        let signer = Arc::new(TokenSigner::new(recovery, mechanisms, public_key.clone()));
        Ok(Self {
            token,
            uri,
            public_key,
            schemes,
            call_threads: call_threads(Arc::clone(&signer), sessions),
            signer,
            keep_alive: config.keep_alive,
            metrics,
        })
    }

    /// Checks one session that was idle for `keep_alive`, so that no firewall drops its connection; returns whether
    /// there may be more of them. Worker threads do this by themselves; an engine on its callers' threads needs this
    /// call at intervals.
    pub fn keep_alive(&self) -> bool {
        match &self.call_threads {
            CallThreads::Callers(pool) => pool.keep_alive(&self.signer, self.keep_alive),
            CallThreads::Workers(_) => false,
        }
    }

    /// Shares the token's sessions with the engine of another key of the same token: where the token has no session for one
    /// key, the other gives one up. For engines on their callers' threads.
    pub(crate) fn share_sessions(&self, other: &Self) {
        if let (CallThreads::Callers(pool), CallThreads::Callers(others)) =
            (&self.call_threads, &other.call_threads)
        {
            pool.share_with(others);
            others.share_with(pool);
        }
    }

    /// The engine's health. Neither blocks nor calls the module.
    pub fn health(&self) -> EngineHealth {
        let (waiting, sessions_in_use, max_sessions) = match &self.call_threads {
            CallThreads::Workers(pool) => pool.counts(),
            CallThreads::Callers(pool) => pool.counts(),
        };
        let status = self.signer.token_status();
        let elapsed = status.last_signature.map(|at| at.elapsed());
        EngineHealth {
            sessions_in_use,
            max_sessions,
            waiting,
            outage: status.outage.map(|outage| TokenOutage {
                error: outage.error().into(),
                since: outage.since,
            }),
            last_signature_ms: elapsed
                .map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            replaced: 0,
        }
    }

    /// The recoveries in vain since the last good signature.
    pub(crate) fn recoveries_in_vain(&self) -> u32 {
        let outage = self.signer.token_status().outage;
        outage.map_or(0, |outage| outage.in_vain)
    }

    /// The CKM_ names of the mechanisms for a scheme: the one that is used is the last, and before it are those that the token
    /// has refused although it lists them.
    pub fn signing_mechanisms(&self, scheme: Scheme) -> Vec<String> {
        self.signer.mechanisms(scheme)
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
        let result = match &self.call_threads {
            CallThreads::Workers(pool) => pool.sign(request),
            CallThreads::Callers(pool) => pool.sign(&self.signer, request),
        };
        let elapsed = started.elapsed();
        let micros = elapsed.as_micros() as u64;
        let class = result.as_ref().map_or_else(EngineError::class, |_| "good");
        self.metrics.signature(purpose.name(), class, elapsed);
        match result {
            Ok(bytes) => {
                tracing::debug!(%purpose, %scheme, key = self.uri, message_len = message.len(), micros, "signed");
                Ok(Signature { bytes, elapsed })
            }
            Err(error) => {
                tracing::warn!(target: log_target::ENGINE, %purpose, %scheme, key = self.uri, micros, class, %error, "not signed");
                Err(error)
            }
        }
    }
}
