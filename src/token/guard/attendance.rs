//! Whether an operator is at a terminal, who can enter a PIN and confirm a login attempt.

use std::io;

use secrecy::{ExposeSecret, SecretString};

use super::error::PinError;
use crate::config::pin::PinSource;
use crate::token::info::{CKF_PROTECTED_AUTHENTICATION_PATH, TokenInfo};
use crate::token::pin::PinSourceError;

/// Asks the operator; the text is the question.
pub type OperatorPrompt = dyn Fn(&str) -> io::Result<SecretString> + Send + Sync;

/// Whether an operator is there to enter a PIN, and to confirm a login attempt that may lock the token.
pub enum Attendance {
    /// A service, a script, CI.
    Unattended,
    /// An operator at a terminal.
    Attended(Box<OperatorPrompt>),
}

/// Whether the operator enters the PIN, at the terminal or at the token's keypad, anew for each attempt.
pub(super) fn needs_operator(source: &PinSource) -> bool {
    matches!(source, PinSource::Prompt | PinSource::ProtectedPath)
}

impl Attendance {
    /// Asks the operator to confirm the attempt by typing `yes`. A terminal alone is no operator (a container with a
    /// pty has one too), so the answer counts.
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

    /// Checks that the token has a protected authentication path (a keypad) and that an operator is there: without
    /// one, C_Login would block.
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
