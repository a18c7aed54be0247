//! Why there is no token to work with, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::fault::{Fault, FaultClass};
use super::guard::PinError;
use super::start::Start;
use crate::config::trust::Fingerprint;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::ledger::LedgerError;
use crate::truncated_list::first_few;

/// Why there is no token to work with.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The module's file cannot be found or read.
    #[error("the PKCS#11 module {} cannot be read: {source}", path.display())]
    ModuleMissing {
        /// As configured.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Someone else could change the module.
    #[error("the PKCS#11 module is not loaded because of {}: {why}", path.display())]
    ModuleUnsafe {
        /// The file, or the folder above it.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The module is not the one that was pinned.
    #[error("the PKCS#11 module {} is not the pinned one: {found}, not {expected}", path.display())]
    ModuleChanged {
        /// The file.
        path: PathBuf,
        /// `module_sha256`
        expected: Fingerprint,
        /// What the file has.
        found: Fingerprint,
    },
    /// It is not a PKCS#11 module, or lacks a library.
    #[error("{} does not load as a PKCS#11 module: {detail}", path.display())]
    ModuleLoad {
        /// The file.
        path: PathBuf,
        /// What the linker or the module said.
        detail: String,
    },
    /// A variable of `env` is not what the configuration says.
    #[error(
        "the variable {name}, which the module reads, does not have the value of the configuration"
    )]
    EnvironmentNotApplied {
        /// The variable.
        name: String,
    },
    /// C_Initialize failed.
    #[error("the module does not initialise: {0}")]
    Initialize(Fault),
    /// No slot holds an initialised token.
    #[error("the module shows no initialised token")]
    Empty,
    /// The module failed, or shows no token, and something is in its way to its own files.
    #[error("{failed}; {seen}")]
    OutOfReach {
        /// What the module did.
        failed: Box<TokenError>,
        /// What was seen.
        seen: String,
        /// What opens the way.
        advice: String,
    },
    /// No token matches.
    #[error("no token matches {uri}; there is: {}", first_few(candidates, ", "))]
    NoMatch {
        /// What was asked for.
        uri: String,
        /// What there is.
        candidates: Vec<String>,
    },
    /// More than one token matches.
    #[error("{} tokens match {uri}: {}", candidates.len(), first_few(candidates, ", "))]
    Ambiguous {
        /// What was asked for.
        uri: String,
        /// What matches.
        candidates: Vec<String>,
    },
    /// The module did not come back. It may still be at it.
    #[error("{during} did not come to an end within {} s", after.as_secs_f64())]
    NoAnswer {
        /// What it was at.
        during: Start,
        /// How long it was waited for.
        after: Duration,
    },
    /// The ledger does not take the record of what was to be done, so it was not done.
    #[error("nothing is done with the token without its record: {0}")]
    Ledger(#[source] LedgerError),
    /// The login failed or was not tried.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A call failed.
    #[error("the token failed: {0}")]
    Call(Fault),
}

impl Fault {
    /// How a command ends that fails with it.
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
            Self::ModuleUnsafe { path, .. } => format!(
                "the module and each folder above it must belong to root or to you, and be writable by no other: \
                 `chmod go-w {0}`, or `chown root {0}`",
                path.display()
            ),
            Self::ModuleChanged { .. } => {
                "if the vendor's client was updated on purpose, write the new hash to `module_sha256`; if not, find out who changed it".to_owned()
            }
            Self::ModuleLoad { .. } => {
                "`module` must be the vendor's PKCS#11 library for this machine; `ldd` on it shows libraries that it lacks".to_owned()
            }
            Self::EnvironmentNotApplied { name } => {
                format!("a program that uses the library sets {name} before it starts any thread; the command does so by itself")
            }
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
            Self::Ambiguous { .. } => "add `serial=` to `uri` of [[token]] so that it names exactly one".to_owned(),
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
            _ => ExitCode::Token,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Pin(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
            _ => self.exit_code() == ExitCode::Token,
        }
    }
}
