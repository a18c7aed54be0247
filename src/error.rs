//! The stages' errors, gathered: each says what is wrong, what to do next, and how the command ends.

use thiserror::Error as ThisError;

use crate::certificate::CertificateError;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::config::pin::PinSource;
use crate::csr::CsrError;
use crate::engine::EngineError;
use crate::key::KeyError;
use crate::ledger::LedgerError;
#[cfg(feature = "proxy")]
use crate::proxy::ProxyError;
use crate::signer::SignerError;
use crate::tls::TlsError;
use crate::token::TokenError;
use crate::token::fault::{Fault, FaultClass};
use crate::token::guard::PinError;

/// Any error of this crate.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The module or the token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A signature.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate request.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The signer process.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The TLS configuration or a handshake.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The network or the hub.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The local proxy.
    #[cfg(feature = "proxy")]
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// How a command ends; the numbers are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, and good.
    Good = 0,
    /// The check ran, and its subject falls short.
    Finding = 1,
    /// Usage or configuration, including a certificate that does not fit.
    Configuration = 2,
    /// The token is not available.
    Token = 3,
    /// The PIN was refused, is locked or guarded.
    Pin = 4,
    /// The network, the peer or its certificate was refused, or the peer refused us.
    Network = 5,
    /// A bug of ours.
    Bug = 70,
    /// Ended by SIGINT before it was done: 128 and the signal's number, as shells have it.
    Interrupted = 130,
}

impl ExitCode {
    /// The code of this number; what is none is a bug of ours.
    pub fn of(number: u8) -> Self {
        [
            Self::Good,
            Self::Finding,
            Self::Configuration,
            Self::Token,
            Self::Pin,
            Self::Network,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|code| *code as u8 == number)
        .unwrap_or(Self::Bug)
    }

    /// Of several causes, the one nearest to the token: 4 before 3 before 2 before 5 before 1.
    pub fn nearest_to_token(codes: impl IntoIterator<Item = Self>) -> Self {
        let rank = |code: &Self| match code {
            Self::Bug => 7,
            Self::Pin => 6,
            Self::Token => 5,
            Self::Configuration => 4,
            Self::Network => 3,
            // What failed before is known; what would have come after is not.
            Self::Interrupted => 2,
            Self::Finding => 1,
            Self::Good => 0,
        };
        codes.into_iter().max_by_key(rank).unwrap_or(Self::Good)
    }
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Config(error) => error.hint(),
            Self::Token(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Certificate(error) => error.hint(),
            Self::Csr(error) => error.hint(),
            Self::Signer(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Client(error) => error.hint(),
            #[cfg(feature = "proxy")]
            Self::Proxy(error) => error.hint(),
        }
    }

    /// Whether it may pass with time alone, also where its exit code says that somebody made a mistake: a
    /// clock that is not set yet, a disk that is full, a program that does not give the PIN yet. Nothing
    /// of it has cost a try of the PIN. Trying again later is right, and a service that gave up would be
    /// down for good.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Certificate(error) => matches!(error, CertificateError::NotYetValid { .. }),
            Self::Ledger(error) => error.is_transient(),
            Self::Token(TokenError::Pin(error)) => of_pin_transient(error),
            Self::Token(TokenError::Ledger(error)) => error.is_transient(),
            Self::Engine(error) => match error {
                EngineError::Reported(error) => error.transient,
                EngineError::Ledger(error)
                | EngineError::Token(TokenError::Ledger(error))
                | EngineError::Pin(PinError::Ledger(error)) => error.is_transient(),
                EngineError::Pin(error) | EngineError::Token(TokenError::Pin(error)) => {
                    of_pin_transient(error)
                }
                _ => self.exit_code() == ExitCode::Token,
            },
            #[cfg(feature = "proxy")]
            Self::Proxy(error) => error.is_transient(),
            // Token and network come back.
            _ => matches!(self.exit_code(), ExitCode::Token | ExitCode::Network),
        }
    }

    /// How a command ends that fails with this.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Ledger(_) | Self::Certificate(_) => ExitCode::Configuration,
            Self::Token(error) => of_token(error),
            Self::Key(error) => of_key(error),
            Self::Engine(error) => of_engine(error),
            Self::Csr(CsrError::Engine(error)) => of_engine(error),
            Self::Csr(CsrError::Encoding(_) | CsrError::NoAlgorithm(_)) => ExitCode::Bug,
            Self::Csr(CsrError::Subject { .. } | CsrError::SubjectMissing(_)) => {
                ExitCode::Configuration
            }
            Self::Signer(error) => error.exit_code(),
            Self::Tls(error) => of_tls(error),
            Self::Client(error) => error.exit_code(),
            #[cfg(feature = "proxy")]
            Self::Proxy(_) => ExitCode::Configuration,
        }
    }
}

impl ClientError {
    /// How a command ends that fails with this.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tls(error) => of_tls(error),
            Self::NotConfigured { .. } | Self::Request(_) => ExitCode::Configuration,
            Self::Setup(_) => ExitCode::Bug,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectDeadline { .. }
            | Self::Deadline { .. }
            | Self::NoAnswer(_)
            | Self::ConnectionLost(_)
            | Self::Http2(_)
            | Self::NoPing
            | Self::HalfAnswer(_)
            | Self::Body(_)
            | Self::Http(_)
            | Self::Malformed(_)
            | Self::HeadTooLong
            | Self::TooLong(_) => ExitCode::Network,
        }
    }
}

fn of_fault(fault: &Fault) -> ExitCode {
    match fault.class() {
        FaultClass::Pin => ExitCode::Pin,
        _ => ExitCode::Token,
    }
}

fn of_token(error: &TokenError) -> ExitCode {
    match error {
        TokenError::Pin(error) => of_pin(error),
        TokenError::Ledger(_) => ExitCode::Configuration,
        TokenError::Call(fault) => of_fault(fault),
        TokenError::OutOfReach { failed, .. } => of_token(failed),
        _ => ExitCode::Token,
    }
}

fn of_pin(error: &PinError) -> ExitCode {
    match error {
        // These heal by themselves: a restart later is right.
        PinError::Ledger(_) => ExitCode::Configuration,
        PinError::Call(_) | PinError::TooSoon { .. } | PinError::Busy { .. } => ExitCode::Token,
        _ => ExitCode::Pin,
    }
}

fn of_pin_transient(error: &PinError) -> bool {
    match error {
        PinError::Ledger(error) => error.is_transient(),
        // What was not given was not sent.
        PinError::Source { pin_source, .. } => match pin_source {
            // It asks others, who may not be up yet.
            PinSource::Command(_) => true,
            // Whoever puts it there may do so later than we start.
            PinSource::File(path) => !path.exists(),
            _ => false,
        },
        _ => of_pin(error) == ExitCode::Token,
    }
}

fn of_key(error: &KeyError) -> ExitCode {
    match error {
        KeyError::Call(fault) => of_fault(fault),
        KeyError::NotAsAsked { .. } | KeyError::CannotGenerate(_) => ExitCode::Token,
        _ => ExitCode::Configuration,
    }
}

fn of_engine(error: &EngineError) -> ExitCode {
    match error {
        EngineError::Pin(error) => of_pin(error),
        EngineError::Token(error) => of_token(error),
        EngineError::Key(error) => of_key(error),
        EngineError::Call(fault) => of_fault(fault),
        EngineError::NotThePair { .. } | EngineError::Ledger(_) => ExitCode::Configuration,
        EngineError::NoRandom => ExitCode::Bug,
        EngineError::Reported(error) => ExitCode::of(error.exit),
        EngineError::TokenDown {
            last: Some(last), ..
        } => of_engine(last),
        _ => ExitCode::Token,
    }
}

fn of_tls(error: &TlsError) -> ExitCode {
    match error {
        TlsError::Signature(error) => of_engine(error),
        TlsError::NoPublicRoots(_)
        | TlsError::Anchor(_)
        | TlsError::Crl { .. }
        | TlsError::NotYetValid { .. }
        | TlsError::UnsupportedCrl { .. }
        | TlsError::HostNotConfigured { .. } => ExitCode::Configuration,
        TlsError::NotObserved | TlsError::Setup(_) => ExitCode::Bug,
        _ => ExitCode::Network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_nearest_to_the_token_wins() {
        use ExitCode as E;
        let nearest = |codes: &[E]| E::nearest_to_token(codes.iter().copied());
        assert_eq!(nearest(&[]), E::Good);
        assert_eq!(nearest(&[E::Finding, E::Network]), E::Network);
        assert_eq!(nearest(&[E::Configuration, E::Network]), E::Configuration);
        assert_eq!(nearest(&[E::Token, E::Pin, E::Configuration]), E::Pin);
    }
}
