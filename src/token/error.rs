//! The errors of module and token: message, hint and exit code of each.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::fault::{Fault, FaultClass};
use super::guard::PinError;
use super::operation::TokenOperation;
use crate::config::trust::Fingerprint;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::ledger::LedgerError;
use crate::truncated_list::first_few;

/// Why no token can be used.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The module's file cannot be found or read.
    #[error("the PKCS#11 module {} cannot be read: {source}", path.display())]
    ModuleMissing {
        /// As configured.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Another user could change or replace the module.
    #[error("the PKCS#11 module is not loaded, because others could change it: {why}")]
    ModuleUnsafe {
        /// The file, or the folder above it, and who could change it.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The module is not the one that was pinned.
    #[error("the PKCS#11 module {} is not the pinned one: {found}, not {expected}", path.display())]
    ModuleChanged {
        /// The file.
        path: PathBuf,
        /// `module_sha256`
        expected: Fingerprint,
        /// The file's hash.
        found: Fingerprint,
    },
    /// It is not a PKCS#11 module, or lacks a library.
    #[error("{} does not load as a PKCS#11 module: {detail}", path.display())]
    ModuleLoad {
        /// The file.
        path: PathBuf,
        /// The dynamic linker's or the module's message.
        detail: String,
    },
    /// A variable of `env` does not have the configured value.
    #[error(
        "the variable {name}, which the module reads, does not have the value of the configuration"
    )]
    EnvironmentNotApplied {
        /// The variable.
        name: String,
    },
    /// The module's working directory is missing or not safe.
    #[error("the module is not loaded in the working directory {}: {why}", path.display())]
    WorkingDir {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        advice: String,
    },
    /// The process is in another working directory than the module needs, and it is not this crate's to change.
    #[error(
        "the module is to be loaded in the working directory {}, and this process is in {}, which is not ours to change",
        path.display(),
        current.display()
    )]
    WorkingDirNotEntered {
        /// The folder.
        path: PathBuf,
        /// The working directory of the process.
        current: PathBuf,
    },
    /// C_Initialize failed.
    #[error("the module does not initialise: {0}")]
    Initialize(Fault),
    /// No slot holds an initialised token.
    #[error("the module shows no initialised token")]
    Empty,
    /// The module failed, or shows no token, and one of its own files is missing or not accessible.
    #[error("{failed}; {seen}")]
    OutOfReach {
        /// The module's failure.
        failed: Box<TokenError>,
        /// Which file is out of reach, and why.
        seen: String,
        /// How to make it accessible.
        advice: String,
    },
    /// No token matches.
    #[error("no token matches {uri}; there is: {}", first_few(candidates, ", "))]
    NoMatch {
        /// The configured URI.
        uri: String,
        /// The tokens that were found.
        candidates: Vec<String>,
    },
    /// The token that matches now is not the one that was logged in to before.
    #[error("the token that is there now is another one: {now}, and it was {before}")]
    AnotherToken {
        /// The URI of the token before.
        before: String,
        /// The URI of the token that matches now.
        now: String,
    },
    /// More than one token matches.
    #[error("{} tokens match {uri}: {}", candidates.len(), first_few(candidates, ", "))]
    Ambiguous {
        /// The configured URI.
        uri: String,
        /// The tokens that match.
        candidates: Vec<String>,
    },
    /// A call did not return within its timeout. It may still be running.
    #[error("{during} did not come to an end within {} s", after.as_secs_f64())]
    NoAnswer {
        /// The step.
        during: TokenOperation,
        /// The timeout.
        after: Duration,
    },
    /// The ledger could not record the operation, so it was not carried out.
    #[error("nothing is done with the token without its record: {0}")]
    Ledger(#[source] LedgerError),
    /// The login failed or was not attempted.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A call failed.
    #[error("the token failed: {0}")]
    Call(Fault),
}

impl TokenError {
    /// The PKCS#11 call that failed, if that is the cause.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Call(fault) | Self::Initialize(fault) => Some(fault),
            Self::Pin(error) => error.fault(),
            Self::OutOfReach { failed, .. } => failed.fault(),
            _ => None,
        }
    }
}

impl Fault {
    /// The exit code of a command that fails with it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.class() {
            FaultClass::Pin => ExitCode::Pin,
            _ => ExitCode::Token,
        }
    }
}

impl Diagnostic for TokenError {
    fn hint(&self) -> String {
        match self {
            Self::ModuleMissing { .. } => {
                "install the HSM vendor's client (SoftHSM: `apt-get install softhsm2`) and write its path to `module`".to_owned()
            }
            Self::ModuleUnsafe { advice, .. } => {
                format!("see who has put the module there, since it is given the PIN; then {advice}")
            }
            Self::ModuleChanged { .. } => {
                "if the vendor's client was updated on purpose, write the new hash to `module_sha256`; if not, find out who changed it".to_owned()
            }
            Self::ModuleLoad { .. } => {
                "`module` must be the vendor's PKCS#11 library for this machine; `ldd` on it shows libraries that it lacks".to_owned()
            }
            Self::EnvironmentNotApplied { name } => {
                format!("a program that uses the library sets {name} before it starts any thread; the command does so by itself")
            }
            Self::WorkingDir { advice, .. } => advice.clone(),
            Self::WorkingDirNotEntered { path, .. } => format!(
                "start the program in {0} (`WorkingDirectory={0}` of a unit), or let it change there before it starts any thread; \
                 the command and the signer process do so by themselves",
                path.display()
            ),
            Self::Initialize(fault) => format!(
                "{}; a file that a variable there names may be missing",
                fault.advice()
            ),
            Self::Empty => {
                "check `env` of [[token]] and the vendor's client: without its configuration a module shows nothing. \
                 Only where there is no token yet: initialise one with the vendor's tool"
                    .to_owned()
            }
            Self::OutOfReach { advice, .. } => advice.clone(),
            Self::NoMatch { .. } => "correct `uri` of [[token]]; `hsm-mtls token list` shows what is there".to_owned(),
            Self::AnotherToken { .. } => {
                "find out who exchanged it, and restart to use it. If it is one HSM whose members answer with serial numbers of their own: \
                 `identity = \"label\"` in [[token]]"
                    .to_owned()
            }
            Self::Ambiguous { .. } => "add `serial=` to `uri` of [[token]] so that it names exactly one".to_owned(),
            Self::NoAnswer { during: TokenOperation::KeyGeneration, .. } => {
                "look at the way to the HSM and at its client's own log; a key may have been made all the same: `hsm-mtls key list` shows it"
                    .to_owned()
            }
            Self::NoAnswer { during, .. } if during.is_pin_at_stake() => {
                "whether the token counted it as a wrong PIN is not known: look at the way to the HSM and at its client's own log before \
                 the next login; if it is merely slow, raise `start_timeout` of [[token]]"
                    .to_owned()
            }
            Self::NoAnswer { .. } => {
                "look at the way to the HSM and at its client's own log; if it is merely slow, raise `start_timeout` of [[token]]"
                    .to_owned()
            }
            Self::Ledger(error) => error.hint(),
            Self::Pin(error) => error.hint(),
            Self::Call(fault) => fault.advice().to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Pin(error) => error.exit_code(),
            Self::Ledger(_) => ExitCode::Configuration,
            Self::Call(fault) => fault.exit_code(),
            Self::OutOfReach { failed, .. } => failed.exit_code(),
            Self::NoAnswer { during, .. } if during.is_pin_at_stake() => ExitCode::Pin,
            _ => ExitCode::Token,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Pin(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
            _ => self.exit_code() == ExitCode::Token,
        }
    }
}
