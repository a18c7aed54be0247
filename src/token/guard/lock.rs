//! A folder that nobody else writes to, and one process at a time in it for each record.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use super::error::PinError;
use crate::path_access::Owned;

/// How long another process's login is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the folder where there is none. Whoever else may write there may remove the record.
pub(super) fn own_folder(folder: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| error.to_string())?;
    let meta = fs::metadata(folder).map_err(|error| error.to_string())?;
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        return Err(format!(
            "it belongs to another user: {}",
            Owned::new(folder, &meta)
        ));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!(
            "its mode is {:03o}: others may write to it",
            meta.mode() & 0o777
        ));
    }
    Ok(())
}

/// Locks the file that is at `path` then; one that was removed while we waited for it is nobody's.
pub(super) fn lock(path: &Path) -> Result<File, PinError> {
    let unwritable = |error: io::Error| PinError::Unrecorded {
        place: path.to_owned(),
        why: error.to_string(),
    };
    let deadline = Instant::now() + PATIENCE;
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
                let ours = file.metadata().map_err(unwritable)?;
                if fs::metadata(path).is_ok_and(|there| there.ino() == ours.ino()) {
                    return Ok(file);
                }
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        if Instant::now() >= deadline {
            return Err(PinError::Busy {
                lock: Some(path.to_owned()),
                seconds: PATIENCE.as_secs(),
            });
        }
        // There is no wait for a lock with a time limit.
        thread::park_timeout(Duration::from_millis(5));
    }
}
