//! The signer's answer to a health check. It needs no call of the module and of no other process, so it never waits for
//! them.

use serde::{Deserialize, Serialize};

use super::not_understood;
use crate::engine::{EngineError, EngineHealth, ReportedError, TokenOutage};
use crate::exit_code::ExitCode;

/// The health of a signer process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignerHealth {
    /// It is opening token and key.
    Starting,
    /// It has its key.
    Ready(EngineHealth),
    /// It could not open token or key, and retries.
    Failed(ReportedError),
    /// The token is lost. This process replaces one that could not recover it, or is about to be replaced.
    Recovering {
        /// The outage of the token, which began in a process before this.
        outage: TokenOutage,
        /// Signer processes that were replaced since the supervisor's start.
        replaced: u32,
    },
    /// It is about to end.
    Stopping,
}

impl SignerHealth {
    /// The state in a word, as `/readyz` reports it.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready(_) => "ready",
            Self::Failed(_) => "failed",
            Self::Recovering { .. } => "recovering",
            Self::Stopping => "over",
        }
    }

    /// The outage of the token, if it was in use before.
    pub fn outage(&self) -> Option<&TokenOutage> {
        match self {
            Self::Ready(engine) => engine.outage.as_ref(),
            Self::Recovering { outage, .. } => Some(outage),
            Self::Starting | Self::Failed(_) | Self::Stopping => None,
        }
    }

    /// The signer processes that were replaced, because the token could not be recovered in them; `None` if this state
    /// does not say it.
    pub fn replaced(&self) -> Option<u32> {
        match self {
            Self::Ready(engine) => Some(engine.replaced),
            Self::Recovering { replaced, .. } => Some(*replaced),
            Self::Starting | Self::Failed(_) | Self::Stopping => None,
        }
    }

    /// The error that a signature would fail with now; `None` if there is none.
    pub fn error(&self) -> Option<EngineError> {
        let error = match self {
            Self::Ready(engine) => engine.outage.as_ref()?.error.clone(),
            Self::Failed(error) => error.clone(),
            Self::Recovering { outage, .. } => outage.error.clone(),
            Self::Stopping => return Some(EngineError::Stopped),
            Self::Starting => ReportedError {
                message: "the signer process is being started: it has no key yet".to_owned(),
                hint: "wait for it; where it takes long, look at the way to the HSM".to_owned(),
                class: "token-down".to_owned(),
                exit: ExitCode::Token as u8,
                transient: false,
                device_state: None,
            },
        };
        Some(EngineError::Reported(Box::new(error)))
    }

    /// Decodes a health response.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, EngineError> {
        // Both processes are of one build: a response that cannot be decoded is a bug.
        serde_json::from_slice(json).map_err(|error| EngineError::SignerGone {
            why: not_understood(&error.to_string()).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> EngineHealth {
        EngineHealth {
            sessions_in_use: 1,
            max_sessions: 8,
            waiting: 0,
            outage: None,
            last_signature_ms: Some(7),
            replaced: 0,
        }
    }

    #[test]
    fn health_survives_json_and_malformed_json_is_refused() {
        let error = ReportedError {
            message: "the token is down".to_owned(),
            hint: "wait".to_owned(),
            class: "pin".to_owned(),
            exit: 4,
            transient: false,
            device_state: None,
        };
        let outage = TokenOutage {
            since: "2026-01-02T03:04:05Z".to_owned(),
            error: error.clone(),
        };
        for (health, class) in [
            (SignerHealth::Starting, Some("token-down")),
            (SignerHealth::Ready(engine()), None),
            (
                SignerHealth::Ready(EngineHealth {
                    outage: Some(outage.clone()),
                    ..engine()
                }),
                Some("pin"),
            ),
            (
                SignerHealth::Recovering {
                    outage,
                    replaced: 2,
                },
                Some("pin"),
            ),
            (SignerHealth::Failed(error), Some("pin")),
            (SignerHealth::Stopping, Some("stopped")),
        ] {
            let json = serde_json::to_vec(&health).unwrap();
            assert_eq!(SignerHealth::from_json(&json).unwrap(), health);
            let error = health.error();
            assert_eq!(error.as_ref().map(EngineError::class), class, "{health:?}");
        }
        let more = br#"{"ready":{"sessions_in_use":1,"max_sessions":8,"waiting":0,"outage":null,"last_signature_ms":null,"pin":"1"}}"#;
        for bad in [&b""[..], b"{}", b"\"well\"", b"{\"ready\":{}}", more] {
            assert!(
                SignerHealth::from_json(bad).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }
}
