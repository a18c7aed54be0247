//! One login at a time: per token within this process, and per attempt file between processes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::error::PinError;
use crate::poison::IgnorePoison as _;
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
    loop {
        match lock.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(busy(None));
            }
            Err(std::sync::TryLockError::WouldBlock) => thread::park_timeout(MUTEX_POLL_INTERVAL),
        }
    }
}

/// Creates and locks the lock file at `path`, with a timeout. If the file was removed meanwhile, the new one is locked: an
/// operator can release a lock by removing its file.
pub(super) fn lock_file(path: &Path) -> Result<File, PinError> {
    let unwritable = |error: io::Error| PinError::Unrecorded {
        place: path.to_owned(),
        why: error.to_string(),
    };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {
                let locked = file.metadata().map_err(unwritable)?;
                if fs::metadata(path).is_ok_and(|current| current.ino() == locked.ino()) {
                    return Ok(file);
                }
            }
            Err(fs::TryLockError::Error(error)) => return Err(unwritable(error)),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        if Instant::now() >= deadline {
            return Err(busy(Some(path)));
        }
        thread::park_timeout(FILE_POLL_INTERVAL);
    }
}

fn busy(lock: Option<&Path>) -> PinError {
    PinError::Busy {
        lock: lock.map(Path::to_owned),
        seconds: LOCK_TIMEOUT.as_secs(),
    }
}
