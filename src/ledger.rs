//! The audit log of the key: a record before each operation on the token, and a record of its outcome before any
//! result is released.
//!
//! An HSM's own log says that a key was used, not for which connection. Here each C_Sign has an *attempt* record,
//! which is written before it, and each attempt an *outcome* record; so have logins, initialisations of the module,
//! and keys that are generated or destroyed. An operation whose record cannot be written does not take place.
//! [`FileLedger`] keeps the records as a hash chain of JSON lines; an application may supply another [`Ledger`].

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
    AcceptedLogin, Attempt, Entry, Initialize, KeyDestruction, KeyGeneration, Login, Outcome,
    OutcomeResult, Process, RefusedRequest,
};
pub use error::LedgerError;
pub use file_ledger::FileLedger;

/// A store of records. Several threads call it at once, and each call delays a signature.
pub trait Ledger: Debug + Send + Sync {
    /// Stores a record and returns its sequence number, which is never 0.
    ///
    /// # Errors
    /// The record was not stored. Its operation then does not take place, or the result is not released.
    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError>;
}

/// Writes records to a ledger, or to none if none is configured.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Arc<dyn Ledger>>);

impl Recorder {
    /// Writes no records.
    pub const NONE: Self = Self(None);

    /// Writes to an application's ledger.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(Some(ledger))
    }

    /// Opens the configured file.
    ///
    /// # Errors
    /// The file cannot be written, or is not a ledger.
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
    pub(crate) fn record(&self, entry: &Entry<'_>) -> Result<(), LedgerError> {
        match &self.0 {
            Some(ledger) => ledger.record(entry).map(drop),
            None => Ok(()),
        }
    }

    /// Writes the record of an operation that is about to take place.
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

/// An operation whose first record is written and whose outcome is not.
#[derive(Debug)]
#[must_use]
pub(crate) struct Operation {
    /// The ledger and the number of the first record.
    record: Option<(Arc<dyn Ledger>, u64)>,
    started: Instant,
}

/// How an operation ended.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    /// The caller's deadline had passed, so the result was discarded.
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
    /// For a step of an operation that has its own record: no outcome is written.
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
