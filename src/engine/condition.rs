//! How the way to a key is, as its engine knows it without asking the token: for those who only want
//! to know, and must neither wait for a call nor cause one.

use std::sync::Arc;
use std::time::Duration;

use super::EngineError;

/// How the way to a key is.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Sessions that are at work on a signature.
    pub in_use: usize,
    /// The most there may be.
    pub at_most: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// The token is lost, and not found again yet.
    pub down: Option<Down>,
    /// How long ago the last good signature was made. None: there was none yet.
    pub last_signature: Option<Duration>,
}

/// The token is not where it was.
#[derive(Clone, Debug)]
pub struct Down {
    /// RFC 3339
    pub since: String,
    /// What the last attempt to find it met.
    pub last: Option<Arc<EngineError>>,
}

impl Down {
    /// What a signature is told meanwhile.
    pub fn error(&self) -> EngineError {
        EngineError::TokenDown {
            since: self.since.clone(),
            last: self.last.clone(),
        }
    }
}
