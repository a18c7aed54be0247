//! The signer's health as `/readyz` reports it: asked on a thread of its own, and cached for as long as it cannot have
//! changed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::problem_details::stage_of;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::signer::{RemoteKey, SignerHealth};

/// Who asks within this time is told the same.
const FRESH: Duration = Duration::from_millis(250);

/// Asks the signer of now.
pub(super) struct SignerHealthMonitor {
    key: Mutex<Arc<RemoteKey>>,
    // Held while it is asked: whoever comes meanwhile waits for that answer.
    last: tokio::sync::Mutex<Option<(Instant, Arc<SignerStatus>)>>,
}

/// What came of the question.
#[derive(Debug)]
pub(super) struct SignerStatus {
    health: Option<SignerHealth>,
    trouble: Option<EngineError>,
    /// Since when it is ready, where it was seen not to be before: seconds after the beginning of 1970.
    back_since: Option<u64>,
}

impl SignerHealthMonitor {
    pub(super) fn of(key: Arc<RemoteKey>) -> Arc<Self> {
        Arc::new(Self {
            key: Mutex::new(key),
            last: tokio::sync::Mutex::new(None),
        })
    }

    /// What it says now, or said a moment ago.
    pub(super) async fn status(self: &Arc<Self>) -> Arc<SignerStatus> {
        let signer_health = Arc::clone(self);
        // On its own: an operator who hangs up must not leave the question to the next.
        let asked = tokio::spawn(async move {
            let mut last = signer_health.last.lock().await;
            match &*last {
                Some((at, signer)) if at.elapsed() < FRESH => Arc::clone(signer),
                before => {
                    let before = before.as_ref().map(|(_, signer)| signer.as_ref());
                    let signer = Arc::new(signer_health.ask().await.after(before));
                    *last = Some((Instant::now(), Arc::clone(&signer)));
                    signer
                }
            }
        });
        asked
            .await
            .unwrap_or_else(|_| Arc::new(SignerStatus::silent()))
    }

    /// From now on another signer is asked.
    pub(super) async fn follow(&self, key: Arc<RemoteKey>) {
        // Not while one is being asked: its answer would be taken for the other's.
        let mut last = self.last.lock().await;
        *self.key.lock().ignore_poison() = key;
        *last = None;
    }

    async fn ask(&self) -> SignerStatus {
        let key = self.key.lock().ignore_poison().clone();
        let asked = tokio::task::spawn_blocking(move || key.health()).await;
        match asked.unwrap_or(Err(EngineError::SignerSilent)) {
            Ok(health) => SignerStatus {
                trouble: health.error(),
                health: Some(health),
                back_since: None,
            },
            Err(error) => SignerStatus {
                trouble: Some(error),
                health: None,
                back_since: None,
            },
        }
    }
}

impl SignerStatus {
    fn silent() -> Self {
        Self {
            health: None,
            trouble: Some(EngineError::SignerSilent),
            back_since: None,
        }
    }

    fn after(mut self, before: Option<&Self>) -> Self {
        self.back_since = match (before, &self.trouble) {
            (Some(before), None) if before.trouble.is_some() => Some(rfc3339::unix_now()),
            (Some(before), None) => before.back_since,
            (_, Some(_)) | (None, _) => None,
        };
        self
    }

    /// Whether what failed at that time, for want of the token, says nothing of now: the signer has its key
    /// again since, or has signed since.
    pub(super) fn outdates(&self, failed_at: u64) -> bool {
        let Some(SignerHealth::Ready(engine)) =
            self.health.as_ref().filter(|_| self.trouble.is_none())
        else {
            return false;
        };
        let signed = engine.last_signature_ms.map(signed_at);
        [self.back_since, signed]
            .into_iter()
            .flatten()
            .any(|since| since > failed_at)
    }

    /// Stage, words and next step, where a signature would not be made now.
    pub(super) fn trouble(&self) -> Option<(&'static str, String, String)> {
        let error = self.trouble.as_ref()?;
        Some((stage_of(error), error.to_string(), error.hint()))
    }

    /// What operators read beside that.
    pub(super) fn report(&self) -> Value {
        let Some(health) = &self.health else {
            return json!({ "state": "silent" });
        };
        let mut report = json!({ "state": health.state() });
        if let SignerHealth::Ready(engine) = health {
            report["sessions_in_use"] = engine.sessions_in_use.into();
            report["sessions_at_most"] = engine.max_sessions.into();
            report["waiting"] = engine.waiting.into();
            let down = engine.outage.as_ref();
            report["down_since"] = down.map(|down| down.since.as_str()).into();
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
