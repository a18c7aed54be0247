//! The engine's reaction to each error of a signature, as a table.

use super::EngineError;
use crate::key::KeyError;
use crate::token::TokenError;
use crate::token::fault::{Fault, FaultClass};

/// The engine's reaction to a failed signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Open a new session and find the key in it.
    NewSession,
    /// Select the token and log in again.
    RecoverToken,
    /// Lower the session limit.
    FewerSessions,
    /// None: a retry would fail in the same way.
    None,
}

/// The table of remedies: a lost session or handle is opened again, a lost token is recovered, and a refused PIN is never
/// sent again.
pub(super) fn remedy(error: &EngineError) -> Remedy {
    let of_fault = |fault: &Fault| match fault.class() {
        FaultClass::Session | FaultClass::Key => Remedy::NewSession,
        FaultClass::Device | FaultClass::Login => Remedy::RecoverToken,
        FaultClass::SessionLimit => Remedy::FewerSessions,
        FaultClass::Pin | FaultClass::Mechanism | FaultClass::Refused => Remedy::None,
    };
    match error {
        EngineError::Call(fault) => of_fault(fault),
        EngineError::Token(TokenError::Call(fault)) | EngineError::Key(KeyError::Call(fault)) => {
            match of_fault(fault) {
                // A new session failed with the error of a stale one: the login was lost.
                Remedy::NewSession => Remedy::RecoverToken,
                other => other,
            }
        }
        // The key existed when the engine was started.
        EngineError::Key(KeyError::NoMatch { .. } | KeyError::NoneShown { .. }) => {
            Remedy::RecoverToken
        }
        EngineError::Token(TokenError::Pin(_) | TokenError::Ledger(_)) => Remedy::None,
        EngineError::Token(_) => Remedy::RecoverToken,
        _ => Remedy::None,
    }
}
