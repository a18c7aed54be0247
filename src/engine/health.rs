//! The health of an engine, known without a PKCS#11 call: a health check neither waits for a call nor makes one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EngineError, ReportedError};
use crate::exit_code::ExitCode;

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
    /// Signer processes that were replaced, because the token could not be recovered in them; 0 without a signer process.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replaced: u32,
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

impl TokenOutage {
    /// The outage of a token that was in use before, in a process that cannot open it. An error of the PIN, which a person
    /// has to mend, stays that.
    pub(crate) fn while_starting(since: &str, error: &ReportedError) -> Self {
        let is_outage = error.exit == ExitCode::Token as u8;
        let down = || EngineError::TokenDown {
            since: since.to_owned(),
            last: Some(Arc::new(EngineError::Reported(Box::new(error.clone())))),
            in_vain: 0,
        };
        Self {
            since: since.to_owned(),
            error: match is_outage {
                true => down().into(),
                false => error.clone(),
            },
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
