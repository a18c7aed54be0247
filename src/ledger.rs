//! The ledger: the audit log of the key. A record is written before each operation on the token, and a record of its
//! outcome before its result is released.
//!
//! An HSM's own log says that a key was used, but not for which connection. In the ledger each C_Sign has an *attempt*
//! record before it and an *outcome* record after it; so have logins, initialisations of the module, and keys that are
//! generated or destroyed. An operation whose record cannot be written does not take place. [`FileLedger`] keeps the
//! records as a hash chain of JSON lines; an application may supply another [`Ledger`].

mod appender;
mod chain_files;
mod chain_parser;
mod chunked_read;
mod entry;
mod error;
mod file_ledger;
pub mod hash_chain;
mod head_export;
mod location;
pub mod lock;
pub mod recent_records;
pub mod record_reader;
mod rotation;
mod sync_thread;
pub mod verify;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use crate::config::ledger::LedgerConfig;
use crate::config::trust::Fingerprint;
pub use entry::{
    AcceptedLogin, Attempt, Entry, Initialize, KeyChange, KeyDestruction, KeyGeneration, Login,
    Outcome, OutcomeResult, Process, RefusedRequest, RotationStep,
};
pub use error::LedgerError;
pub use file_ledger::FileLedger;

/// A store for the records of each use of the key, such as a database of the application's
/// ([`Identity::open_with_ledger`](crate::Identity::open_with_ledger)).
///
/// Several threads call it concurrently, and a signature waits for each call.
///
/// ```
/// use std::sync::Mutex;
///
/// use hsm_mtls::{Entry, Ledger, LedgerError};
///
/// /// Keeps records as lines of JSON.
/// #[derive(Debug, Default)]
/// struct Lines(Mutex<Vec<String>>);
///
/// impl Ledger for Lines {
///     fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError> {
///         let failed = |error: &dyn std::error::Error| LedgerError::Sink(error.to_string());
///         let line = serde_json::to_string(entry).map_err(|error| failed(&error))?;
///         let mut lines = self.0.lock().map_err(|error| failed(&error))?;
///         lines.push(line);
///         Ok(lines.len() as u64)
///     }
/// }
/// ```
pub trait Ledger: Debug + Send + Sync {
    /// Stores a record durably and returns its sequence number, which is unique and not 0. The record of an outcome refers
    /// to that of its operation by this number.
    ///
    /// # Errors
    /// The record was not stored ([`LedgerError::Sink`]). Then the operation does not take place, or its result is not
    /// released.
    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError>;
}

/// Writes records to the configured ledger, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Arc<dyn Ledger>>);

impl Recorder {
    /// A recorder without a ledger.
    pub const NONE: Self = Self(None);

    /// A recorder with an application's ledger.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(Some(ledger))
    }

    /// A recorder with the configured ledger file; without a ledger if none is configured.
    ///
    /// # Errors
    /// The file cannot be written, holds something else, or other users may change it.
    pub fn open(config: Option<&LedgerConfig>) -> Result<Self, LedgerError> {
        match config {
            Some(config) => Ok(Self::new(Arc::new(FileLedger::open(config)?))),
            None => {
                tracing::info!("no [ledger] is configured: uses of the key are not recorded");
                Ok(Self::NONE)
            }
        }
    }

    /// Writes a record that has no outcome.
    ///
    /// # Errors
    /// The record was not written.
    pub fn record(&self, entry: &Entry<'_>) -> Result<(), LedgerError> {
        match &self.0 {
            Some(ledger) => ledger.record(entry).map(drop),
            None => Ok(()),
        }
    }

    /// Writes the first record of an operation, which must be called before the operation takes place.
    ///
    /// # Errors
    /// The record was not written, and the operation must not take place.
    pub(crate) fn begin(&self, entry: &Entry<'_>) -> Result<Operation, LedgerError> {
        let started = Instant::now();
        let record = match &self.0 {
            Some(ledger) => Some((Arc::clone(ledger), ledger.record(entry)?)),
            None => None,
        };
        Ok(Operation { record, started })
    }
}

/// An operation whose first record is written and whose outcome is not yet.
#[derive(Debug)]
#[must_use]
pub(crate) struct Operation {
    /// The ledger and the sequence number of the first record; `None` without a ledger.
    record: Option<(Arc<dyn Ledger>, u64)>,
    started: Instant,
}

/// How an operation ended.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    /// Whether the result was discarded because the caller's deadline had passed.
    pub(crate) late: bool,
    pub(crate) failure: Option<Failure>,
    /// SHA-256 of a generated key's SubjectPublicKeyInfo.
    pub(crate) spki: Option<Fingerprint>,
}

/// Why an operation failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: &'static str,
    pub(crate) ckr: Option<String>,
    pub(crate) function: Option<String>,
}

impl From<Failure> for Completion {
    fn from(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }
}

impl Operation {
    /// An operation without records: a step of another operation, which has its own.
    pub(crate) fn unrecorded() -> Self {
        Self {
            record: None,
            started: Instant::now(),
        }
    }

    /// Records a failure. An error of the ledger is only logged: the caller reports the failure itself.
    pub(crate) fn fail(self, failure: Failure) {
        if let Err(error) = self.finish(failure.into()) {
            tracing::error!(%error, "how it ended is not on record");
        }
    }

    /// Records the success of an operation that releases nothing. An error of the ledger is only logged.
    pub(crate) fn succeed(self) {
        if let Err(error) = self.finish(Completion::default()) {
            tracing::error!(%error, "how it ended is not on record");
        }
    }

    /// Records the outcome.
    ///
    /// # Errors
    /// The record was not written, and the operation's result must not be released.
    pub(crate) fn finish(self, completion: Completion) -> Result<(), LedgerError> {
        let Some((ledger, of)) = self.record else {
            return Ok(());
        };
        let result = match (&completion.failure, completion.late) {
            (Some(_), _) => OutcomeResult::Failed,
            (None, true) => OutcomeResult::Late,
            (None, false) => OutcomeResult::Good,
        };
        let (class, (ckr, function)) = match completion.failure {
            Some(failure) => (Some(failure.class), (failure.ckr, failure.function)),
            None => (None, (None, None)),
        };
        let outcome = Outcome {
            of,
            result,
            class,
            ckr,
            function,
            spki: completion.spki,
            duration: self.started.elapsed(),
        };
        ledger.record(&Entry::Outcome(outcome)).map(drop)
    }
}
