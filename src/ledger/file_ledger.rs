//! The ledger as a file: one hash chain to which several threads and processes append.
//!
//! A mutex and the file lock are held while a record is written; both are acquired with a deadline. The records that other
//! processes appended meanwhile are verified first, so that each record continues the chain. A line that a crash tore stays
//! in the file, and a repair record with its hash follows it.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::appender::Appender;
use super::hash_chain::ChainHead;
use super::lock::{FileLock, LOCK_TIMEOUT, TimedMutex, TimedMutexGuard};
use super::sync_thread::SyncThread;
use super::{Entry, Ledger, LedgerError};
use super::{chain_files, location};
use crate::config::ledger::{Fsync, LedgerConfig};

/// A ledger in a file.
#[derive(Debug)]
pub struct FileLedger {
    // Declared, and so dropped, before the writer: its drop syncs the file for the last time.
    sync_thread: SyncThread,
    writer: Arc<ChainWriter>,
}

/// The chain as the threads of this process share it: the mutex around the appender, and the policies for rotation and
/// fsync.
#[derive(Debug)]
pub(super) struct ChainWriter {
    path: Arc<Path>,
    fsync: Fsync,
    max_file_length: u64,
    // Needed beside the file lock, which does not exclude threads of the same process.
    appender: TimedMutex<Appender>,
    /// The first error of fsync. It is final: a later fsync may succeed although data was lost before.
    sync_error: OnceLock<io::Error>,
}

impl FileLedger {
    /// Opens the file, or creates it and its folder. Verifies the end of the chain only; `hsm-mtls ledger verify` verifies
    /// all of it.
    ///
    /// # Errors
    /// The file cannot be written, is not a ledger, or other users may change it.
    pub fn open(config: &LedgerConfig) -> Result<Self, LedgerError> {
        let path: Arc<Path> = location::resolve(&config.file)?.into();
        let (appender, _lock) = open_locked(&path, Instant::now() + LOCK_TIMEOUT)?;
        let writer = Arc::new(ChainWriter {
            appender: TimedMutex::new(appender),
            fsync: config.fsync,
            max_file_length: config.rotate_at_mib << 20,
            sync_error: OnceLock::new(),
            path,
        });
        let started = SyncThread::start(config, &writer);
        let sync_thread = started.map_err(|source| LedgerError::NoThread {
            path: writer.path.to_path_buf(),
            source,
        })?;
        Ok(Self {
            sync_thread,
            writer,
        })
    }

    /// The head of the chain, as far as this process has verified it.
    ///
    /// # Errors
    /// Another thread held the mutex until the timeout.
    pub fn head(&self) -> Result<ChainHead, LedgerError> {
        let appender = self.writer.lock_appender(Instant::now() + LOCK_TIMEOUT)?;
        Ok(appender.head().clone())
    }
}

impl Ledger for FileLedger {
    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError> {
        let sequence = self.writer.record(entry)?;
        self.sync_thread.notify();
        Ok(sequence)
    }
}

/// Opens the active file and acquires its lock. If another process rotates between the two, it starts again.
fn open_locked(path: &Arc<Path>, deadline: Instant) -> Result<(Appender, FileLock), LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    loop {
        let file = Arc::new(location::open_or_create(path)?);
        match FileLock::acquire_until(&file, deadline).map_err(unwritable)? {
            Some(lock) if chain_files::is_at(&file, path).map_err(unwritable)? => {
                return Ok((Appender::open(Arc::clone(path), file)?, lock));
            }
            Some(_) if Instant::now() < deadline => {}
            _ => return Err(LedgerError::lock_timeout(path)),
        }
    }
}

impl ChainWriter {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn record(&self, entry: &Entry<'_>) -> Result<u64, LedgerError> {
        self.with_lock(|appender, lock, length| {
            self.check_synced()?;
            appender.catch_up(length)?;
            if appender.is_rotation_due(self.max_file_length) {
                self.rotate(appender, lock)?;
            }
            appender.append(entry)?;
            if self.fsync == Fsync::Each {
                self.sync(appender)?;
            }
            Ok(appender.head().sequence)
        })
    }

    /// Catches up with other processes, and so closes a file that they have rotated away.
    pub(super) fn catch_up(&self) -> Result<(), LedgerError> {
        self.with_lock(|appender, _, length| appender.catch_up(length))
    }

    /// A copy of the appender's state, for use without the mutex.
    pub(super) fn snapshot(&self, deadline: Instant) -> Result<Appender, LedgerError> {
        let appender = self.lock_appender(deadline)?;
        Ok(appender.clone())
    }

    fn lock_appender(
        &self,
        deadline: Instant,
    ) -> Result<TimedMutexGuard<'_, Appender>, LedgerError> {
        let locked = self.appender.lock_until(deadline);
        locked.ok_or_else(|| LedgerError::lock_timeout(&self.path))
    }

    /// Calls `action` with the length of the active file, while mutex and file lock are held.
    fn with_lock<T>(
        &self,
        action: impl FnOnce(&mut Appender, &mut FileLock, u64) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let mut appender = self.lock_appender(deadline)?;
        let lock = FileLock::acquire_until(appender.file(), deadline)
            .map_err(|error| LedgerError::unwritable(&self.path, error))?;
        let mut lock = lock.ok_or_else(|| LedgerError::lock_timeout(&self.path))?;
        let length = appender.switch_to_active_file(&mut lock, deadline)?;
        action(&mut appender, &mut lock, length)
    }

    /// Calls fsync on the appender's file. An error is kept, and fails all later calls.
    pub(super) fn sync(&self, appender: &Appender) -> Result<(), LedgerError> {
        self.check_sync_result(appender.file().sync_data())
    }

    fn check_sync_result(&self, synced: io::Result<()>) -> Result<(), LedgerError> {
        if let Err(error) = synced {
            tracing::error!(ledger = %self.path.display(), %error, "the ledger cannot be synced to the disk");
            // An earlier error is kept.
            let _ = self.sync_error.set(error);
        }
        self.check_synced()
    }

    /// An error if any fsync has failed.
    pub(super) fn check_synced(&self) -> Result<(), LedgerError> {
        let Some(error) = self.sync_error.get() else {
            return Ok(());
        };
        let code = error.raw_os_error();
        Err(LedgerError::Unsynced {
            path: self.path.to_path_buf(),
            source: code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
        })
    }

    /// Rotates the active file. If that fails, the file grows beyond its limit.
    fn rotate(&self, appender: &mut Appender, lock: &mut FileLock) -> Result<(), LedgerError> {
        self.sync(appender)?;
        match appender.rotate(lock) {
            Ok(next) => self.check_sync_result(next.sync_folder()),
            Err(error) => {
                tracing::error!(ledger = %self.path.display(), %error, "the ledger's file cannot be closed; it grows on");
                appender.delay_rotation();
                // The rotation may have failed halfway: appends go to the file that has the configured name now.
                let deadline = Instant::now() + LOCK_TIMEOUT;
                let length = appender.switch_to_active_file(lock, deadline)?;
                appender.catch_up(length)
            }
        }
    }
}

#[cfg(test)]
#[path = "file_ledger_tests.rs"]
mod tests;
