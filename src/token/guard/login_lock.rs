//! One login at a time: per token within this process, and per attempt file between processes.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::error::PinError;
use crate::ledger::lock::FileLock;
use crate::poison::IgnorePoison as _;
use crate::polling::poll_until;
use crate::token::description::TokenId;

/// How long a login waits for another login of this or another process.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval between polls of a mutex: the standard library has no lock with a timeout.
const MUTEX_POLL_INTERVAL: Duration = Duration::from_micros(200);
/// The interval between polls of a file lock: flock(2) has no timeout.
const FILE_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// This process's mutex for logins to a token, shared by every [`super::PinGuard`] of that token.
pub(super) fn process_lock(token: &TokenId) -> Arc<Mutex<()>> {
    static LOCKS: Mutex<BTreeMap<TokenId, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().ignore_poison();
    Arc::clone(locks.entry(token.clone()).or_default())
}

/// Locks the mutex, with a timeout: a login that hangs in the module must not block all others.
pub(super) fn lock_process(lock: &Mutex<()>) -> Result<MutexGuard<'_, ()>, PinError> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let attempt = || match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    poll_until(deadline, MUTEX_POLL_INTERVAL, attempt).ok_or_else(|| busy(None))
}

/// Creates and locks the lock file at `path`, with a timeout. A lock on a file that was removed in the meantime does
/// not count: the operator removed it to release the lock.
pub(super) fn lock_file(path: &Path) -> Result<FileLock, PinError> {
    let unwritable = |error: io::Error| PinError::Unrecorded {
        place: path.to_owned(),
        why: error.into(),
    };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let locked = poll_until(deadline, FILE_POLL_INTERVAL, || {
        try_lock_file(path).transpose()
    });
    locked
        .transpose()
        .map_err(unwritable)?
        .ok_or_else(|| busy(Some(path)))
}

fn try_lock_file(path: &Path) -> io::Result<Option<FileLock>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let opened = file.metadata()?.ino();
    let lock = FileLock::try_acquire(&Arc::new(file))?;
    Ok(lock.filter(|_| fs::metadata(path).is_ok_and(|current| current.ino() == opened)))
}

fn busy(lock: Option<&Path>) -> PinError {
    PinError::Busy {
        lock: lock.map(Path::to_owned),
        seconds: LOCK_TIMEOUT.as_secs(),
    }
}
