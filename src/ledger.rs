//! A record of every use of the key: what was asked before the token was, and what came of it before
//! anything was released.
//!
//! An HSM's own log says that a key was used, not for which connection. Here each C_Sign has an
//! *attempt*, written before it, and each attempt an *outcome*; so have logins, initialisations of
//! the module, and keys that are made or destroyed. Where a record cannot be written, nothing is
//! done. [`FileLedger`] keeps them as a chain of JSON lines; a program may give any other
//! [`Ledger`].

pub mod chain;
mod entry;
mod error;
mod export;
mod file;
mod follow;
mod following;
pub mod history;
mod keeper;
mod place;
pub mod reader;
mod rotation;
mod stretch;
mod turn;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use crate::config::ledger::LedgerConfig;
use crate::config::trust::Fingerprint;
pub use entry::{
    Accepted, Attempt, Done, Entry, Initialize, KeyDestruction, KeyGeneration, Login, Outcome,
    Process, Refused,
};
pub use error::LedgerError;
pub use file::FileLedger;

/// Keeps records. It is called by several threads at once, and each call is on the way of a
/// signature.
pub trait Ledger: Debug + Send + Sync {
    /// Keeps a record and says its number, which is never 0.
    ///
    /// # Errors
    /// It is not kept. Then what it tells of is not done, or not released.
    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError>;
}

/// Where records go: a ledger, or nowhere.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Arc<dyn Ledger>>);

impl Recorder {
    /// Keeps no record.
    pub const NONE: Self = Self(None);

    /// Into a ledger of the application's.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(Some(ledger))
    }

    /// Into the configured file.
    ///
    /// # Errors
    /// It cannot be written, or is no ledger.
    pub fn open(config: Option<&LedgerConfig>) -> Result<Self, LedgerError> {
        match config {
            Some(config) => Ok(Self::new(Arc::new(FileLedger::open(config)?))),
            None => {
                tracing::info!("no [ledger] is configured: uses of the key are not recorded");
                Ok(Self::NONE)
            }
        }
    }

    /// Records what has no outcome.
    ///
    /// # Errors
    /// It is not recorded.
    pub(crate) fn note(&self, entry: &Entry<'_>) -> Result<(), LedgerError> {
        match &self.0 {
            Some(ledger) => ledger.record(entry).map(drop),
            None => Ok(()),
        }
    }

    /// Records what is about to be done.
    ///
    /// # Errors
    /// It is not recorded, and must not be done.
    pub(crate) fn begin(&self, entry: &Entry<'_>) -> Result<Begun, LedgerError> {
        let begun = Instant::now();
        let number = match &self.0 {
            Some(ledger) => Some((Arc::clone(ledger), ledger.record(entry)?)),
            None => None,
        };
        Ok(Begun { number, begun })
    }
}

/// Something that is on record as begun. Its end is to be said.
#[derive(Debug)]
#[must_use]
pub(crate) struct Begun {
    number: Option<(Arc<dyn Ledger>, u64)>,
    begun: Instant,
}

/// How it ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) late: bool,
    pub(crate) failure: Option<Failure>,
    pub(crate) spki: Option<Fingerprint>,
}

/// Why it was not done.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: &'static str,
    pub(crate) ckr: Option<String>,
    pub(crate) function: Option<String>,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }
}

impl Begun {
    /// What is part of something else that is on record.
    pub(crate) fn unrecorded() -> Self {
        Self {
            number: None,
            begun: Instant::now(),
        }
    }

    /// Records that it was not done. Where that fails too, the failure itself is what its caller
    /// has to know.
    pub(crate) fn end_in_failure(self, failure: Failure) {
        if let Err(error) = self.end(failure.into()) {
            tracing::error!(%error, "how it ended is not on record");
        }
    }

    /// Records that what releases nothing was done.
    pub(crate) fn end_good(self) {
        if let Err(error) = self.end(End::default()) {
            tracing::error!(%error, "how it ended is not on record");
        }
    }

    /// Records how it ended.
    ///
    /// # Errors
    /// It is not recorded, and what came of it must not be released.
    pub(crate) fn end(self, end: End) -> Result<(), LedgerError> {
        let Some((ledger, of)) = self.number else {
            return Ok(());
        };
        let result = match (&end.failure, end.late) {
            (Some(_), _) => Done::Failed,
            (None, true) => Done::Late,
            (None, false) => Done::Good,
        };
        let (class, (ckr, function)) = match end.failure {
            Some(failure) => (Some(failure.class), (failure.ckr, failure.function)),
            None => (None, (None, None)),
        };
        let outcome = Outcome {
            of,
            result,
            class,
            ckr,
            function,
            spki: end.spki,
            took: self.begun.elapsed(),
        };
        ledger.record(&Entry::Outcome(outcome)).map(drop)
    }
}
