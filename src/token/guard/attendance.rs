//! Attendance: whether an operator at a terminal can enter a PIN and confirm a login attempt.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::error::PinError;
use crate::config::pin::PinSource;
use crate::token::info::{CKF_PROTECTED_AUTHENTICATION_PATH, TokenInfo};
use crate::token::pin::{self, OperatorPrompt, Pin, PinSourceError};

/// Whether an operator can be asked to enter a PIN, or to confirm a login attempt that may lock the token.
#[derive(Clone)]
pub enum Attendance {
    /// No operator can be asked: a service, a script, CI.
    Unattended,
    /// An operator at a terminal.
    Attended(Arc<OperatorPrompt>),
}

/// Whether the operator enters the PIN, at the terminal or at the token's keypad, anew for each attempt.
pub(super) fn needs_operator(source: &PinSource) -> bool {
    matches!(source, PinSource::Prompt | PinSource::ProtectedPath)
}

impl Attendance {
    /// Reads the PIN from its source, which may be the operator.
    pub(super) fn read_pin(&self, source: &PinSource) -> Result<Pin, PinError> {
        let prompt = match self {
            Self::Attended(prompt) => Some(&**prompt),
            Self::Unattended if needs_operator(source) => {
                return Err(PinError::NobodyThere(source.clone()));
            }
            Self::Unattended => None,
        };
        pin::read(source, prompt).map_err(|why| PinError::Source {
            pin_source: source.clone(),
            why,
        })
    }

    /// Asks the operator to confirm the attempt by typing `yes`. A terminal alone proves no operator: a container may have
    /// a pty.
    pub(super) fn confirms(&self, warning: &str, source: &PinSource) -> bool {
        let Self::Attended(ask) = self else {
            return false;
        };
        let question = format!(
            "{warning}. A few wrong PINs lock the token. Shall the PIN from {source} be tried all the \
             same? Type yes to try it"
        );
        ask(&question).is_ok_and(|answer| answer.expose_secret().trim() == "yes")
    }

    /// Checks that the token has a protected authentication path (a keypad) and that an operator can use it: otherwise
    /// C_Login would block.
    pub(super) fn check_keypad(
        &self,
        source: &PinSource,
        info: &TokenInfo,
    ) -> Result<(), PinError> {
        if !info.has(CKF_PROTECTED_AUTHENTICATION_PATH) {
            return Err(PinError::Source {
                pin_source: source.clone(),
                why: PinSourceError::NoKeypad,
            });
        }
        match self {
            Self::Attended(_) => Ok(()),
            Self::Unattended => Err(PinError::NobodyThere(source.clone())),
        }
    }
}
