//! The signer's health for `/readyz`: queried from the signer process on a blocking thread, and cached for a moment.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::opened_keys::Signers;
use super::problem_details::signature_stage;
use hsm_mtls::internal::client::failover::TokenState;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::signer::{RemoteKey, SignerHealth};

/// A status that is younger than this is not queried again.
const CACHE_TIME: Duration = Duration::from_millis(250);

/// Queries the signers that are in use, and caches their status.
pub(super) struct SignerHealthMonitor {
    signers: Mutex<Signers>,
    /// The last status and its time. Locked during a query: concurrent requests wait for its result.
    last: tokio::sync::Mutex<Option<(Instant, Arc<SignerStatus>)>>,
}

/// The result of a query.
#[derive(Debug)]
pub(super) struct SignerStatus {
    /// None: the signer did not respond.
    health: Option<SignerHealth>,
    /// Why a signature would fail now.
    error: Option<EngineError>,
    /// When the signer was first seen ready again after an error, in Unix time.
    recovered_at: Option<u64>,
    /// Of several tokens: each, in the order of the configuration.
    tokens: Vec<TokenStatus>,
}

/// One of several tokens that hold a key for the connections.
#[derive(Debug)]
struct TokenStatus {
    token: TokenState,
    status: Option<SignerStatus>,
}

impl SignerHealthMonitor {
    pub(super) fn of(signers: Signers) -> Arc<Self> {
        Arc::new(Self {
            signers: Mutex::new(signers),
            last: tokio::sync::Mutex::new(None),
        })
    }

    /// The current status, or the cached one.
    pub(super) async fn status(self: &Arc<Self>) -> Arc<SignerStatus> {
        let monitor = Arc::clone(self);
        // A task of its own: a client that disconnects must not cancel the query for the others.
        let queried = tokio::spawn(async move {
            let mut last = monitor.last.lock().await;
            match &*last {
                Some((at, status)) if at.elapsed() < CACHE_TIME => Arc::clone(status),
                before => {
                    let before = before.as_ref().map(|(_, status)| status.as_ref());
                    let status = Arc::new(monitor.query().await.compared_with(before));
                    *last = Some((Instant::now(), Arc::clone(&status)));
                    status
                }
            }
        });
        queried
            .await
            .unwrap_or_else(|_| Arc::new(SignerStatus::silent()))
    }

    /// Switches to other signers.
    pub(super) async fn switch_signers(&self, signers: Signers) {
        // Waits for a query in progress, whose result would be cached as the new signer's.
        let mut last = self.last.lock().await;
        *self.signers.lock().ignore_poison() = signers;
        *last = None;
    }

    async fn query(&self) -> SignerStatus {
        let signers = self.signers.lock().ignore_poison().clone();
        let tokens = match signers {
            Signers::One(key) => return query_one(key).await,
            Signers::Several(tokens) => tokens.states(),
        };
        // All at once: one that does not answer takes a second.
        let queries: Vec<_> = tokens
            .into_iter()
            .map(|token| {
                let query = token.signer.clone().map(query_one).map(tokio::spawn);
                (token, query)
            })
            .collect();
        let mut tokens = Vec::new();
        for (token, query) in queries {
            let status = match query {
                Some(query) => Some(query.await.unwrap_or_else(|_| SignerStatus::silent())),
                None => None,
            };
            tokens.push(TokenStatus { token, status });
        }
        SignerStatus::of_several(tokens)
    }
}

async fn query_one(key: Arc<RemoteKey>) -> SignerStatus {
    let queried = tokio::task::spawn_blocking(move || key.health()).await;
    match queried.unwrap_or(Err(EngineError::SignerSilent)) {
        Ok(health) => SignerStatus {
            error: health.error(),
            health: Some(health),
            recovered_at: None,
            tokens: Vec::new(),
        },
        Err(error) => SignerStatus {
            error: Some(error),
            health: None,
            recovered_at: None,
            tokens: Vec::new(),
        },
    }
}

impl TokenStatus {
    /// Stage, detail and hint of what keeps it from signing now.
    fn problem(&self) -> Option<(&'static str, String, String)> {
        match &self.token.problem {
            Some(problem) => Some(problem_of(&EngineError::Reported(Box::new(
                problem.clone(),
            )))),
            None => self.status.as_ref()?.problem(),
        }
    }

    fn report(&self) -> Value {
        let mut report = json!({ "name": &*self.token.name, "good": self.problem().is_none() });
        if let Some((_, detail, hint)) = self.problem() {
            report["detail"] = detail.into();
            report["hint"] = hint.into();
            report["since"] = self.token.since.clone().into();
        }
        if let Some(status) = &self.status {
            report["signer"] = status.report();
        }
        report
    }
}

impl SignerStatus {
    fn silent() -> Self {
        Self {
            health: None,
            error: Some(EngineError::SignerSilent),
            recovered_at: None,
            tokens: Vec::new(),
        }
    }

    /// Of several tokens, one that signs is enough: the status is that of the first which does, or else of the first.
    fn of_several(mut tokens: Vec<TokenStatus>) -> Self {
        let signing = tokens.iter().position(|token| token.problem().is_none());
        let shown = tokens.get_mut(signing.unwrap_or(0));
        let mut status = shown
            .and_then(|shown| {
                let status = shown.status.as_ref()?;
                Some(Self {
                    health: status.health.clone(),
                    error: None,
                    recovered_at: None,
                    tokens: Vec::new(),
                })
            })
            .unwrap_or_else(Self::silent);
        let of_first = || {
            let first = tokens.first()?;
            let of_signer = || Some(first.status.as_ref()?.error.as_ref()?.into());
            first.token.problem.clone().or_else(of_signer)
        };
        status.error = match signing {
            Some(_) => None,
            None => Some(match of_first() {
                Some(problem) => EngineError::Reported(Box::new(problem)),
                None => EngineError::SignerSilent,
            }),
        };
        status.tokens = tokens;
        status
    }

    pub(super) fn has_several_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Of several tokens, each; empty where there is one.
    pub(super) fn tokens(&self) -> Vec<Value> {
        self.tokens.iter().map(TokenStatus::report).collect()
    }

    /// Sets `recovered_at` by comparison with the previous status.
    fn compared_with(mut self, before: Option<&Self>) -> Self {
        self.recovered_at = match (before, &self.error) {
            (Some(before), None) if before.error.is_some() => Some(rfc3339::unix_now()),
            (Some(before), None) => before.recovered_at,
            (_, Some(_)) | (None, _) => None,
        };
        self
    }

    /// Whether a token failure at that time (Unix time) is outdated: the signer has recovered or signed since.
    pub(super) fn outdates(&self, failed_at: u64) -> bool {
        let Some(SignerHealth::Ready(engine)) =
            self.health.as_ref().filter(|_| self.error.is_none())
        else {
            return false;
        };
        let signed = engine.last_signature_ms.map(signed_at);
        [self.recovered_at, signed]
            .into_iter()
            .flatten()
            .any(|since| since > failed_at)
    }

    /// Stage, detail and hint of the error with which a signature would fail now.
    pub(super) fn problem(&self) -> Option<(&'static str, String, String)> {
        self.error.as_ref().map(problem_of)
    }

    /// The state of the device, if the error names one.
    pub(super) fn device_state(&self) -> Option<&'static str> {
        self.error.as_ref()?.device_state()
    }

    /// The signer's part of the readiness report.
    pub(super) fn report(&self) -> Value {
        let Some(health) = &self.health else {
            return json!({ "state": "silent" });
        };
        let mut report = json!({ "state": health.state() });
        let down = health.outage();
        report["down_since"] = down.map(|down| down.since.as_str()).into();
        if let Some(replaced) = health.replaced() {
            report["replaced"] = replaced.into();
        }
        if let SignerHealth::Ready(engine) = health {
            report["sessions_in_use"] = engine.sessions_in_use.into();
            report["sessions_at_most"] = engine.max_sessions.into();
            report["waiting"] = engine.waiting.into();
            let signed = engine.last_signature_ms.map(signed_at);
            let signed = signed.map(rfc3339::of_unix);
            report["last_signature"] = signed.into();
        }
        report
    }
}

fn problem_of(error: &EngineError) -> (&'static str, String, String) {
    (signature_stage(error), error.to_string(), error.hint())
}

fn signed_at(millis_ago: u64) -> u64 {
    rfc3339::unix_now().saturating_sub(millis_ago / 1000)
}
