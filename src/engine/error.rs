//! The errors of a signature: message, hint and class of each.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::reported_error::ReportedError;
use super::token_recovery::MAX_RECOVERIES_IN_VAIN;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::key::KeyError;
use crate::key::ecdsa_signature::InvalidEcdsaSignature;
use crate::key::scheme::{KeyAlgorithm, Scheme};
use crate::ledger::{Failure, LedgerError};
use crate::token::TokenError;
use crate::token::fault::{DeviceState, Fault};
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
        /// So many recoveries were in vain since the last good signature.
        in_vain: u32,
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

impl EngineError {
    /// Whether the token was not called to sign, and no attempt is on record.
    pub(crate) fn is_before_attempt(&self) -> bool {
        matches!(
            self,
            Self::TokenDown { .. }
                | Self::QueueFull(_)
                | Self::Stopped
                | Self::Token(_)
                | Self::Key(_)
                | Self::Pin(_)
        )
    }

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
            Self::Reported(error) => error.known_class(),
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

    /// The PKCS#11 call that failed, if that is the cause in any step.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Call(fault) | Self::Key(KeyError::Call(fault)) => Some(fault),
            Self::Token(error) => error.fault(),
            Self::Pin(error) => error.fault(),
            Self::TokenDown { last, .. } => last.as_ref()?.fault(),
            _ => None,
        }
    }

    /// The state of the device that the cause names, if it names one.
    pub(crate) fn state(&self) -> Option<DeviceState> {
        match self {
            Self::Reported(error) => error.state(),
            Self::TokenDown { last, .. } => last.as_ref()?.state(),
            _ => self.fault()?.device_state(),
        }
    }

    /// The name of the device's state (`audit-log-full`, `device-removed` ...), if the cause names one. Its text is a
    /// contract.
    pub fn device_state(&self) -> Option<&'static str> {
        self.state().map(DeviceState::name)
    }

    /// The label of a metric: the device's state, or else the class.
    pub(super) fn label(&self) -> &'static str {
        self.device_state().unwrap_or_else(|| self.class())
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
            Self::TokenDown { last, in_vain, .. } => {
                let last = last.as_ref().map_or_else(String::new, |last| format!("{}; ", last.hint()));
                let next = match *in_vain >= MAX_RECOVERIES_IN_VAIN {
                    true => "it was recovered again and again in vain: only a new process may help. A signer process is \
                             replaced by itself; any other program has to be restarted",
                    false => "it is tried again by itself, without a restart",
                };
                format!("{last}{next}")
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
