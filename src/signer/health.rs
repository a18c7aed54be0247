//! What a signer says of itself when it is asked how it is: at once, whatever it is at, because it asks
//! nobody else.

use serde::{Deserialize, Serialize};

use super::not_understood;
use crate::engine::{Condition, EngineError, Told};
use crate::exit_code::ExitCode;

/// How a signer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It does not know yet whether there will be a key.
    Starting,
    /// It has its key.
    Ready(AtWork),
    /// It has none, and tries again.
    Failed(Told),
    /// It is about to end.
    Over,
}

/// A signer that has its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtWork {
    /// Sessions that are at work on a signature.
    pub in_use: usize,
    /// The most there may be.
    pub at_most: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// The token is lost, and looked for.
    pub down: Option<DownSince>,
    /// Milliseconds since the last good signature. None: there was none yet.
    pub last_signature_ms: Option<u64>,
}

/// The token is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownSince {
    /// RFC 3339
    pub since: String,
    /// What a signature is told meanwhile.
    pub told: Told,
}

impl AtWork {
    pub(super) fn of(condition: Condition) -> Self {
        Self {
            in_use: condition.in_use,
            at_most: condition.at_most,
            waiting: condition.waiting,
            down: condition.down.map(|down| DownSince {
                told: Told::of(down.error().into()),
                since: down.since,
            }),
            last_signature_ms: condition
                .last_signature
                .map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl Health {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready(_) => "ready",
            Self::Failed(_) => "failed",
            Self::Over => "over",
        }
    }

    /// Why a signature that is asked for now would not be made; `None` where it would.
    pub fn trouble(&self) -> Option<EngineError> {
        let told = match self {
            Self::Ready(AtWork { down: None, .. }) => return None,
            Self::Ready(AtWork {
                down: Some(down), ..
            }) => down.told.clone(),
            Self::Failed(told) => told.clone(),
            Self::Over => return Some(EngineError::Stopped),
            Self::Starting => Told {
                message: "the signer process is being started: it has no key yet".to_owned(),
                hint: "wait for it; where it takes long, look at the way to the HSM".to_owned(),
                class: "token-down".to_owned(),
                exit: ExitCode::Token as u8,
                transient: false,
            },
        };
        Some(EngineError::Told(Box::new(told)))
    }

    /// As it comes over a channel.
    pub(super) fn read(json: &[u8]) -> Result<Self, EngineError> {
        // Both sides are one program: this does not happen, and says so where it does.
        serde_json::from_slice(json).map_err(|error| EngineError::SignerGone {
            why: not_understood(&error.to_string()).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_work() -> AtWork {
        AtWork {
            in_use: 1,
            at_most: 8,
            waiting: 0,
            down: None,
            last_signature_ms: Some(7),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_nothing_else_is() {
        let told = Told {
            message: "the token is down".to_owned(),
            hint: "wait".to_owned(),
            class: "pin".to_owned(),
            exit: 4,
            transient: false,
        };
        let down = DownSince {
            since: "2026-01-02T03:04:05Z".to_owned(),
            told: told.clone(),
        };
        for (health, class) in [
            (Health::Starting, Some("token-down")),
            (Health::Ready(at_work()), None),
            (
                Health::Ready(AtWork {
                    down: Some(down),
                    ..at_work()
                }),
                Some("pin"),
            ),
            (Health::Failed(told), Some("pin")),
            (Health::Over, Some("stopped")),
        ] {
            let json = serde_json::to_vec(&health).unwrap();
            assert_eq!(Health::read(&json).unwrap(), health);
            let trouble = health.trouble();
            assert_eq!(
                trouble.as_ref().map(EngineError::class),
                class,
                "{health:?}"
            );
        }
        let more = br#"{"ready":{"in_use":1,"at_most":8,"waiting":0,"down":null,"last_signature_ms":null,"pin":"1"}}"#;
        for bad in [&b""[..], b"{}", b"\"well\"", b"{\"ready\":{}}", more] {
            assert!(
                Health::read(bad).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }
}
