//! The error of an engine in another process, as text.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::EngineError;
use crate::diagnostic::Diagnostic as _;
use crate::token::fault::DeviceState;

/// An error that another process reported, as text. Its causes stay in that process.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ReportedError {
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// As [`EngineError::class`].
    pub class: String,
    /// The exit code of a command that fails with it.
    pub exit: u8,
    /// As [`crate::diagnostic::Diagnostic::is_transient`].
    #[serde(default)]
    pub transient: bool,
    /// As [`EngineError::device_state`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_state: Option<String>,
}

/// The classes that another process may report.
const REPORTED_CLASSES: [&str; 21] = [
    "ledger",
    "pin",
    "deadline",
    "token-down",
    "queue-full",
    "stopped",
    "mechanism",
    "token",
    "key",
    "wrong-signature",
    "not-the-pair",
    "no-random",
    "configuration",
    "refused-by-signer",
    "rate",
    "session",
    "device",
    "login",
    "session-limit",
    "refused",
    "signer-gone",
];

impl ReportedError {
    /// Its class, if that is one that another process may report.
    pub(super) fn known_class(&self) -> &'static str {
        let known = REPORTED_CLASSES
            .into_iter()
            .find(|class| *class == self.class);
        known.unwrap_or("token")
    }

    /// The state of the device that it names.
    pub(crate) fn state(&self) -> Option<DeviceState> {
        DeviceState::named(self.device_state.as_deref()?)
    }
}

impl From<EngineError> for ReportedError {
    fn from(error: EngineError) -> Self {
        Self::from(&error)
    }
}

impl From<&EngineError> for ReportedError {
    fn from(error: &EngineError) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint(),
            class: error.class().to_owned(),
            exit: error.exit_code() as u8,
            transient: error.is_transient(),
            device_state: error.device_state().map(str::to_owned),
        }
    }
}
