//! The signer's health for `/readyz`: queried from the signer process on a blocking thread, and cached for a moment.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::problem_details::signature_stage;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::signer::{RemoteKey, SignerHealth};

/// A status that is younger than this is not queried again.
const CACHE_TIME: Duration = Duration::from_millis(250);

/// Queries the signer that is in use, and caches its status.
pub(super) struct SignerHealthMonitor {
    key: Mutex<Arc<RemoteKey>>,
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
}

impl SignerHealthMonitor {
    pub(super) fn of(key: Arc<RemoteKey>) -> Arc<Self> {
        Arc::new(Self {
            key: Mutex::new(key),
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

    /// Switches to another signer.
    pub(super) async fn switch_signer(&self, key: Arc<RemoteKey>) {
        // Waits for a query in progress, whose result would be cached as the new signer's.
        let mut last = self.last.lock().await;
        *self.key.lock().ignore_poison() = key;
        *last = None;
    }

    async fn query(&self) -> SignerStatus {
        let key = self.key.lock().ignore_poison().clone();
        let queried = tokio::task::spawn_blocking(move || key.health()).await;
        match queried.unwrap_or(Err(EngineError::SignerSilent)) {
            Ok(health) => SignerStatus {
                error: health.error(),
                health: Some(health),
                recovered_at: None,
            },
            Err(error) => SignerStatus {
                error: Some(error),
                health: None,
                recovered_at: None,
            },
        }
    }
}

impl SignerStatus {
    fn silent() -> Self {
        Self {
            health: None,
            error: Some(EngineError::SignerSilent),
            recovered_at: None,
        }
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
        let error = self.error.as_ref()?;
        Some((signature_stage(error), error.to_string(), error.hint()))
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

fn signed_at(millis_ago: u64) -> u64 {
    rfc3339::unix_now().saturating_sub(millis_ago / 1000)
}
