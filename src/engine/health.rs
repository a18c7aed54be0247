//! The health of an engine, known without a PKCS#11 call: a health check neither waits for a call nor makes one.

use serde::{Deserialize, Serialize};

use super::ReportedError;

/// Health of an engine: the use of its sessions, and the outage of its token if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineHealth {
    /// Sessions that are in use for a signature.
    pub sessions_in_use: usize,
    /// The session limit.
    pub max_sessions: usize,
    /// Requests that wait for a session.
    pub waiting: usize,
    /// Set while the token is lost.
    pub outage: Option<TokenOutage>,
    /// Milliseconds since the last good signature; `None` before the first.
    pub last_signature_ms: Option<u64>,
}

/// The token is lost and not recovered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenOutage {
    /// RFC 3339
    pub since: String,
    /// The error of signatures during the outage.
    pub error: ReportedError,
}
