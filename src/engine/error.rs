//! The errors of a signature: message, hint and class of each, and the engine's remedy.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::key::KeyError;
use crate::key::ecdsa_signature::InvalidEcdsaSignature;
use crate::key::scheme::{KeyAlgorithm, Scheme};
use crate::ledger::{Failure, LedgerError};
use crate::token::TokenError;
use crate::token::fault::{Fault, FaultClass};
use crate::token::guard::PinError;
use crate::truncated_list::first_words;

/// Why there is no signature.
#[derive(Debug, Error)]
pub enum EngineError {
    /// There was no signature by the deadline. A PKCS#11 call may still be in progress.
    #[error("the token gave no signature within {} ms (C_SignInit, C_Sign)", .0.as_millis())]
    Deadline(Duration),
    /// The token is lost and not recovered yet.
    #[error("the token is down since {since}{}", last.as_ref().map_or_else(String::new, |last| format!(": {last}")))]
    TokenDown {
        /// RFC 3339
        since: String,
        /// Why the last recovery failed.
        last: Option<Arc<EngineError>>,
    },
    /// The ledger could not record the signature, so none was made or released.
    #[error("no signature without its record: {0}")]
    Ledger(#[from] LedgerError),
    /// The queue is full.
    #[error("{0} signatures wait for the token already")]
    QueueFull(usize),
    /// The engine was stopped.
    #[error("the signing engine has stopped")]
    Stopped,
    /// Token and key have no mechanism in common that TLS uses.
    #[error("the token has no mechanism for the {algorithm} key {uri}; it signs with {}", match listed.as_slice() { [] => "nothing".to_owned(), some => first_words(some, ", ") })]
    NoMechanism {
        /// The key.
        uri: String,
        /// Its algorithm.
        algorithm: KeyAlgorithm,
        /// The signing mechanisms that the token lists.
        listed: Vec<String>,
    },
    /// The key cannot sign with this scheme.
    #[error("the key cannot sign with {0}")]
    Scheme(Scheme),
    /// A PKCS#11 call failed.
    #[error("the token did not sign: {0}")]
    Call(Fault),
    /// There is no session or no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The key is not found or ambiguous.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The login before the signature failed.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The token's output is not a signature.
    #[error(transparent)]
    MalformedSignature(#[from] InvalidEcdsaSignature),
    /// The signature does not verify with the public key. It was not released.
    #[error("the token's {scheme} signature does not verify with the public key; it was not used")]
    WrongSignature {
        /// The scheme that was requested.
        scheme: Scheme,
    },
    /// A random challenge signed by the key does not verify with the certificate's public key.
    #[error(
        "the key {uri} did not sign a challenge that the certificate's public key verifies: they are no pair, or the token signs wrongly"
    )]
    NotThePair {
        /// The key.
        uri: String,
    },
    /// The operating system has no randomness for a challenge.
    #[error("the system gave no random bytes")]
    NoRandom,
    /// The signer process reported an error.
    #[error("{0}")]
    Reported(Box<ReportedError>),
    /// The signer process ended while it had the request, also at the second attempt.
    #[error("the signer process ended before it answered: {why}")]
    SignerGone {
        /// Its exit status, or why it was killed.
        why: String,
    },
    /// The signer process does not answer a health check.
    #[error("the signer process does not answer")]
    SignerSilent,
    /// The message is longer than a request to the signer process may be.
    #[error("a message of {length} bytes is to be signed; the signer process takes {most}")]
    MessageTooLong {
        /// Its length.
        length: usize,
        /// The longest message that fits.
        most: usize,
    },
}

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
    /// As [`Diagnostic::is_transient`].
    #[serde(default)]
    pub transient: bool,
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

impl EngineError {
    /// The error's class, for ledger records and metrics. Its text is a contract.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Ledger(_) | Self::Token(TokenError::Ledger(_)) => "ledger",
            _ if matches!(self.pin(), Some(PinError::Ledger(_))) => "ledger",
            _ if self.pin().is_some() => "pin",
            Self::Deadline(_) => "deadline",
            Self::TokenDown { .. } => "token-down",
            Self::QueueFull(_) => "queue-full",
            Self::Stopped => "stopped",
            Self::NoMechanism { .. } | Self::Scheme(_) => "mechanism",
            Self::Call(fault)
            | Self::Token(TokenError::Call(fault))
            | Self::Key(KeyError::Call(fault)) => fault.class().name(),
            Self::Token(_) | Self::Pin(_) => "token",
            Self::Key(_) => "key",
            Self::MalformedSignature(_) | Self::WrongSignature { .. } => "wrong-signature",
            Self::NotThePair { .. } => "not-the-pair",
            Self::NoRandom => "no-random",
            Self::Reported(error) => {
                let known = REPORTED_CLASSES
                    .into_iter()
                    .find(|class| *class == error.class);
                known.unwrap_or("token")
            }
            Self::SignerGone { .. } | Self::SignerSilent => "signer-gone",
            Self::MessageTooLong { .. } => "message-too-long",
        }
    }

    /// The error as a field of a ledger record.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Call(fault)
            | Self::Token(TokenError::Call(fault))
            | Self::Key(KeyError::Call(fault))
            | Self::Pin(
                PinError::Call(fault)
                | PinError::Refused(fault)
                | PinError::RefusedOdd { fault, .. },
            ) => Failure {
                class: self.class(),
                ..fault.failure()
            },
            _ => Failure {
                class: self.class(),
                ckr: None,
                function: None,
            },
        }
    }

    /// The PIN's error, if that is the cause in any step.
    pub fn pin(&self) -> Option<&PinError> {
        match self {
            Self::Pin(error) | Self::Token(TokenError::Pin(error)) => Some(error),
            Self::TokenDown { last, .. } => last.as_ref()?.pin(),
            _ => None,
        }
    }
}

impl Diagnostic for EngineError {
    fn hint(&self) -> String {
        match self {
            Self::Deadline(_) => {
                "look at the way to the HSM; if it is merely slow, raise `timeout` of [[token]]. \
                 A call that hangs for ever can only be ended with this process"
                    .to_owned()
            }
            Self::TokenDown { last, .. } => {
                let last = last.as_ref().map_or_else(String::new, |last| format!("{}; ", last.hint()));
                format!("{last}it is tried again by itself, without a restart")
            }
            Self::QueueFull(_) => {
                "raise `sessions` of [[token]] as far as the token allows; `hsm-mtls token check` says how long one signature takes".to_owned()
            }
            Self::Stopped => "start the program again".to_owned(),
            Self::NoMechanism { algorithm, .. } => format!(
                "have {} switched on in the token's policy, or use a key of a type that the token signs with, or another token",
                algorithm.mechanism_name()
            ),
            Self::Scheme(_) => {
                "have its mechanism switched on in the token's policy; `hsm-mtls token check` lists what the key can sign with".to_owned()
            }
            Self::Call(fault) => fault.advice().to_owned(),
            Self::Ledger(error) => error.hint(),
            Self::Token(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Pin(error) => error.hint(),
            Self::MalformedSignature(_) | Self::WrongSignature { .. } => {
                "run `hsm-mtls token check`: if it fails too, the vendor's module or the HSM is broken; update it or ask its support".to_owned()
            }
            Self::NotThePair { .. } => {
                "install the certificate that was issued for this key (`hsm-mtls cert install`), or correct `key` of [c3]".to_owned()
            }
            Self::NoRandom => "this system is broken; nothing that needs a secret is safe on it".to_owned(),
            Self::Reported(error) => error.hint.clone(),
            Self::SignerGone { .. } => {
                "the vendor's module most likely brought it down: update it, or ask its support with what stands above it in the log; \
                 the process is started again by itself"
                    .to_owned()
            }
            Self::SignerSilent => {
                "it has ended, or its module holds it up: it is started again by itself; look at what stands above in the log"
                    .to_owned()
            }
            Self::MessageTooLong { .. } => {
                "it is the whole handshake with TLS 1.2: the server sends a chain of unusual length; ask its operator".to_owned()
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Pin(error) => error.exit_code(),
            Self::Token(error) => error.exit_code(),
            Self::Key(error) => error.exit_code(),
            Self::Call(fault) => fault.exit_code(),
            Self::NotThePair { .. } | Self::Ledger(_) => ExitCode::Configuration,
            Self::NoRandom => ExitCode::Bug,
            Self::Reported(error) => ExitCode::of(error.exit),
            Self::TokenDown {
                last: Some(last), ..
            } => last.exit_code(),
            _ => ExitCode::Token,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Reported(error) => error.transient,
            Self::Ledger(error)
            | Self::Token(TokenError::Ledger(error))
            | Self::Pin(PinError::Ledger(error)) => error.is_transient(),
            Self::Pin(error) | Self::Token(TokenError::Pin(error)) => error.is_transient(),
            _ => self.exit_code() == ExitCode::Token,
        }
    }
}

impl From<EngineError> for ReportedError {
    fn from(error: EngineError) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint(),
            class: error.class().to_owned(),
            exit: error.exit_code() as u8,
            transient: error.is_transient(),
        }
    }
}

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
