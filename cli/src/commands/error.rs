//! [`CommandError`]: why a command failed. [`Error`] gathers the errors of all stages.

use crate::proxy::ProxyError;
use hsm_mtls::internal::certificate::CertificateError;
use hsm_mtls::internal::certificate::crl_successor::CrlError;
use hsm_mtls::internal::certificate::new_anchors::AnchorError;
use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::client::download::DownloadError;
use hsm_mtls::internal::client::jwks_fetch::FetchError;
use hsm_mtls::internal::config::{ConfigError, KeyRole};
use hsm_mtls::internal::csr::CsrError;
use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::engine::EngineError;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::{IdentityError, Sig4Error};
use hsm_mtls::internal::jwks::JwksError;
use hsm_mtls::internal::key::KeyError;
use hsm_mtls::internal::ledger::LedgerError;
use hsm_mtls::internal::signer::SignerError;
use hsm_mtls::internal::tls::TlsError;
use hsm_mtls::internal::token::TokenError;
use thiserror::Error as ThisError;

use super::rotate::RotationError;
use super::token_process::TokenProcessError;

/// The error of any stage.
#[derive(Debug, ThisError)]
pub(crate) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error(transparent)]
    Crl(#[from] CrlError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Csr(#[from] CsrError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Sig4(#[from] Sig4Error),
    #[error(transparent)]
    Jwks(#[from] JwksError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    TokenProcess(#[from] TokenProcessError),
    #[error(transparent)]
    Rotation(#[from] RotationError),
}

impl Error {
    fn of_stage(&self) -> &dyn Diagnostic {
        match self {
            Self::Config(error) => error,
            Self::Token(error) => error,
            Self::Key(error) => error,
            Self::Ledger(error) => error,
            Self::Engine(error) => error,
            Self::Certificate(error) => error,
            Self::Anchor(error) => error,
            Self::Crl(error) => error,
            Self::Download(error) => error,
            Self::Csr(error) => error,
            Self::Identity(error) => error,
            Self::Sig4(error) => error,
            Self::Jwks(error) => error,
            Self::Fetch(error) => error,
            Self::Signer(error) => error,
            Self::Tls(error) => error,
            Self::Client(error) => error,
            Self::Proxy(error) => error,
            Self::TokenProcess(error) => error,
            Self::Rotation(error) => error,
        }
    }
}

impl Diagnostic for Error {
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

/// Why a command failed.
#[derive(Debug, ThisError)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Stage(#[from] Error),
    #[error("{message}")]
    Usage {
        message: String,
        hint: String,
        code: ExitCode,
    },
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
    #[error("the result cannot be made into JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CommandError {
    /// An error of the command line or the configuration: exit code 2.
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: hint.into(),
            code: ExitCode::Configuration,
        }
    }

    /// The same error of a command for this role, with advice that is worded for it.
    pub(super) fn of_role(self, role: KeyRole) -> Self {
        match self {
            Self::Stage(error) if role != KeyRole::C3 => Self::Usage {
                message: error.to_string(),
                hint: role.advice(&error.hint()),
                code: error.exit_code(),
            },
            Self::Usage {
                message,
                hint,
                code,
            } => Self::Usage {
                hint: role.advice(&hint),
                message,
                code,
            },
            other => other,
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Stage(error) => error.hint(),
            Self::Usage { hint, .. } => hint.clone(),
            Self::Output(_) => "check the disk and the permissions of where it goes".to_owned(),
            Self::Json(_) => "this is a fault of ours: please report it".to_owned(),
        }
    }

    /// The exit code of the command.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Stage(error) => error.exit_code(),
            Self::Usage { code, .. } => *code,
            Self::Output(_) => ExitCode::Configuration,
            Self::Json(_) => ExitCode::Bug,
        }
    }

    /// The same error with another exit code; a bug keeps its own.
    pub(super) fn with_exit_code(self, code: ExitCode) -> Self {
        match self.exit_code() {
            ExitCode::Bug => self,
            _ => Self::Usage {
                message: self.to_string(),
                hint: self.hint(),
                code,
            },
        }
    }

    /// The error of a stage.
    pub(super) fn stage(error: impl Into<Error>) -> Self {
        Self::Stage(error.into())
    }
}
