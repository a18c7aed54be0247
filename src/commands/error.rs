//! The stages' errors, gathered, and what a command can fail with beside them.

use hsm_mtls::certificate::CertificateError;
use hsm_mtls::client::ClientError;
use hsm_mtls::config::ConfigError;
use hsm_mtls::csr::CsrError;
use hsm_mtls::diagnostic::Diagnostic;
use hsm_mtls::engine::EngineError;
use hsm_mtls::exit_code::ExitCode;
use hsm_mtls::identity::IdentityError;
use hsm_mtls::key::KeyError;
use hsm_mtls::ledger::LedgerError;
use hsm_mtls::proxy::ProxyError;
use hsm_mtls::signer::SignerError;
use hsm_mtls::tls::TlsError;
use hsm_mtls::token::TokenError;
use thiserror::Error as ThisError;

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
    Csr(#[from] CsrError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
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
            Self::Csr(error) => error,
            Self::Identity(error) => error,
            Self::Signer(error) => error,
            Self::Tls(error) => error,
            Self::Client(error) => error,
            Self::Proxy(error) => error,
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

/// Why a command could not do its work.
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
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: hint.into(),
            code: ExitCode::Configuration,
        }
    }

    pub(super) fn stage(error: impl Into<Error>) -> Self {
        Self::Stage(error.into())
    }
}
