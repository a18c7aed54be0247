//! What the signer says of itself, for `/readyz`: asked on another thread than the one that serves, and
//! not more often than it can change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::problem::stage_of;
use crate::engine::EngineError;
use crate::rfc3339;
use crate::signer::{Health, WalledKey};

/// Who asks within this time is told the same.
const FRESH: Duration = Duration::from_millis(250);

/// Asks the signer of now.
pub(super) struct Pulse {
    key: Mutex<WalledKey>,
    // Held while it is asked: whoever comes meanwhile waits for that answer.
    last: tokio::sync::Mutex<Option<(Instant, Arc<Felt>)>>,
}

/// What came of the question.
#[derive(Debug)]
pub(super) struct Felt {
    health: Option<Health>,
    trouble: Option<EngineError>,
}

impl Pulse {
    pub(super) fn of(key: WalledKey) -> Arc<Self> {
        Arc::new(Self {
            key: Mutex::new(key),
            last: tokio::sync::Mutex::new(None),
        })
    }

    /// What it says now, or said a moment ago.
    pub(super) async fn feel(self: &Arc<Self>) -> Arc<Felt> {
        let pulse = Arc::clone(self);
        // On its own: an operator who hangs up must not leave the question to the next.
        let asked = tokio::spawn(async move {
            let mut last = pulse.last.lock().await;
            match &*last {
                Some((at, felt)) if at.elapsed() < FRESH => Arc::clone(felt),
                _ => {
                    let felt = Arc::new(pulse.ask().await);
                    *last = Some((Instant::now(), Arc::clone(&felt)));
                    felt
                }
            }
        });
        asked.await.unwrap_or_else(|_| Arc::new(Felt::silent()))
    }

    /// From now on another signer is asked.
    pub(super) async fn follow(&self, key: WalledKey) {
        // Not while one is being asked: its answer would be taken for the other's.
        let mut last = self.last.lock().await;
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
        *last = None;
    }

    async fn ask(&self) -> Felt {
        let key = self
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let asked = tokio::task::spawn_blocking(move || key.health()).await;
        match asked.unwrap_or(Err(EngineError::SignerSilent)) {
            Ok(health) => Felt {
                trouble: health.trouble(),
                health: Some(health),
            },
            Err(error) => Felt {
                trouble: Some(error),
                health: None,
            },
        }
    }
}

impl Felt {
    fn silent() -> Self {
        Self {
            health: None,
            trouble: Some(EngineError::SignerSilent),
        }
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
        let mut report = json!({ "state": health.name() });
        if let Health::Ready(at_work) = health {
            report["sessions_in_use"] = at_work.in_use.into();
            report["sessions_at_most"] = at_work.at_most.into();
            report["waiting"] = at_work.waiting.into();
            let down = at_work.down.as_ref();
            report["down_since"] = down.map(|down| down.since.as_str()).into();
            let signed = at_work.last_signature_ms.map(|ago| {
                let at = rfc3339::unix_now().saturating_sub(ago / 1000);
                rfc3339::of_unix(at)
            });
            report["last_signature"] = signed.into();
        }
        report
    }
}
