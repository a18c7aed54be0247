//! The signing engine: makes a signature of a message with a scheme, for a purpose, by a deadline.
//!
//! [`Sign`] is the interface: callers do not know whether the token is used in this process or in the signer
//! process. [`TokenEngine`] is the engine in this process. Every engine verifies a signature with the public key
//! before it returns it: tokens do return wrong signatures, and no peer should see an invalid signature of a bank's
//! key.

pub(crate) mod block_on;
mod error;
#[cfg(feature = "reqwest")]
pub(crate) mod handshake_threads;
mod health;
mod outage;
mod proof;
mod queue;
mod remedy;
mod reported_error;
mod session_limit;
mod session_pool;
mod sign;
mod signing;
mod token_recovery;
mod worker_pool;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument as _;

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
#[cfg(feature = "front-end")]
pub(crate) use proof::challenge_async;
pub(crate) use proof::is_challenge;
pub use proof::{challenge, challenge_by, prove};
pub use reported_error::ReportedError;
use session_pool::SessionPool;
pub(crate) use sign::{AwaitedSignature, MAX_WAITING, tls13_transcript_hash};
pub use sign::{Peer, Purpose, Sign, SignRequest, Signature, SignatureFuture};
use signing::TokenSigner;
pub(crate) use token_recovery::MAX_RECOVERIES_IN_VAIN;
use token_recovery::TokenRecovery;
use worker_pool::WorkerPool;

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
        let span = signature_span(request);
        let _entered = span.enter();
        let started = Instant::now();
        let result = match &self.call_threads {
            CallThreads::Workers(pool) => pool.sign(request),
            CallThreads::Callers(pool) => pool.sign(&self.signer, request),
        };
        self.observed(request, started.elapsed(), result)
    }

    fn sign_async<'a>(&'a self, request: &'a SignRequest<'a>) -> SignatureFuture<'a> {
        let CallThreads::Workers(pool) = &self.call_threads else {
            // In the signer process, whose threads wait.
            return Box::pin(std::future::ready(self.sign(request)));
        };
        let signing = async move {
            let awaited = AwaitedSignature::begin(&self.metrics, request.purpose);
            let result = pool.sign_async(request).await;
            self.observed(request, awaited.end(), result)
        };
        Box::pin(signing.instrument(signature_span(request)))
    }
}

fn signature_span(request: &SignRequest<'_>) -> tracing::Span {
    tracing::debug_span!("signature", purpose = %request.purpose)
}

impl TokenEngine {
    /// Counts and logs a signature.
    fn observed(
        &self,
        request: &SignRequest<'_>,
        elapsed: Duration,
        result: Result<Vec<u8>, EngineError>,
    ) -> Result<Signature, EngineError> {
        let SignRequest {
            message,
            scheme,
            purpose,
            ..
        } = *request;
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
