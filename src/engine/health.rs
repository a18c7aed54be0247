//! A key's health as its engine knows it without a PKCS#11 call: a health check neither waits for a call nor causes
//! one.

use serde::{Deserialize, Serialize};

/// Health of an engine: use of its sessions, and the outage of its token where there is one. `E` is the error that
/// signatures fail with during an outage, as a value or in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineHealth<E> {
    /// Sessions that are in use for a signature.
    pub sessions_in_use: usize,
    /// The session limit.
    pub max_sessions: usize,
    /// Requests that wait for a session.
    pub waiting: usize,
    /// Set while the token is lost.
    pub outage: Option<TokenOutage<E>>,
    /// Milliseconds since the last good signature; `None` before the first.
    pub last_signature_ms: Option<u64>,
}

/// The token is lost and not recovered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenOutage<E> {
    /// RFC 3339
    pub since: String,
    /// What a signature fails with meanwhile.
    pub error: E,
}

impl<E> EngineHealth<E> {
    /// The same with another form of the error.
    pub fn map_error<F>(self, map: impl FnOnce(E) -> F) -> EngineHealth<F> {
        EngineHealth {
            sessions_in_use: self.sessions_in_use,
            max_sessions: self.max_sessions,
            waiting: self.waiting,
            outage: self.outage.map(|outage| TokenOutage {
                since: outage.since,
                error: map(outage.error),
            }),
            last_signature_ms: self.last_signature_ms,
        }
    }
}
