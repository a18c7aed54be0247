//! The error of an identity: that of the stage that failed.

use thiserror::Error;

use super::sig4::Sig4Error;
use crate::certificate::CertificateError;
use crate::diagnostic::Diagnostic;
use crate::engine::EngineError;
use crate::exit_code::ExitCode;
use crate::key::KeyError;
use crate::ledger::LedgerError;
use crate::token::TokenError;
use crate::token::fault::DeviceState;
use crate::token::guard::PinError;

/// Why there is no identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A certificate, or the trust anchors.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The module or the token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A signature.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The signing identity.
    #[error(transparent)]
    Sig4(#[from] Sig4Error),
}

impl IdentityError {
    fn of_stage(&self) -> &dyn Diagnostic {
        match self {
            Self::Certificate(error) => error,
            Self::Token(error) => error,
            Self::Key(error) => error,
            Self::Engine(error) => error,
            Self::Ledger(error) => error,
            Self::Sig4(error) => error,
        }
    }

    /// The state of the device that the cause names, if it names one.
    fn state(&self) -> Option<DeviceState> {
        match self {
            Self::Token(error) => error.fault()?.device_state(),
            Self::Key(KeyError::Call(fault)) => fault.device_state(),
            Self::Engine(error) => error.state(),
            Self::Sig4(Sig4Error::Identity(error)) => error.state(),
            _ => None,
        }
    }

    /// As [`EngineError::device_state`].
    pub(crate) fn device_state(&self) -> Option<&'static str> {
        self.state().map(DeviceState::name)
    }

    /// Whether the module fails, or does not show its token, so that another process may find it: not where a person has
    /// to act, and not where no PIN was sent.
    pub(crate) fn may_need_new_process(&self) -> bool {
        let is_failure = match self {
            Self::Token(TokenError::Pin(error)) => matches!(error, PinError::Call(_)),
            Self::Token(error) => {
                error.fault().is_some()
                    || matches!(error, TokenError::Empty | TokenError::NoMatch { .. })
            }
            Self::Key(KeyError::Call(_)) => true,
            Self::Engine(error) => error.fault().is_some(),
            Self::Sig4(Sig4Error::Identity(error)) => return error.may_need_new_process(),
            _ => false,
        };
        let stays = self.state().is_some_and(DeviceState::outlasts_process);
        is_failure && self.exit_code() == ExitCode::Token && !stays
    }

    /// As [`EngineError::class`], and `configuration` for certificates.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Certificate(_) => "configuration",
            Self::Token(error) => EngineError::from(error).class(),
            Self::Key(error) => EngineError::from(error).class(),
            Self::Engine(error) => error.class(),
            Self::Ledger(error) => EngineError::from(error).class(),
            Self::Sig4(Sig4Error::Identity(error)) => error.class(),
            Self::Sig4(Sig4Error::NoPs256 { .. }) => "mechanism",
            Self::Sig4(_) => "configuration",
        }
    }
}

impl Diagnostic for IdentityError {
    fn hint(&self) -> String {
        self.of_stage().hint()
    }

    fn exit_code(&self) -> ExitCode {
        self.of_stage().exit_code()
    }

    fn is_transient(&self) -> bool {
        self.of_stage().is_transient()
    }
}
