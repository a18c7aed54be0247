//! Files of the program's own in `state_dir`: JSON, for their owner only, replaced as a whole. Who could change one could have a
//! refused PIN sent again, or a key used before it is known.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::owner_and_mode::{Protection, faults};

/// Reads a file; `None` if there is none.
///
/// # Errors
/// It cannot be read, others may change it, or it is not of this shape.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some(fault) = faults(path, Protection::Unchanged).first() {
        return Err(io::Error::other(fault.to_string()));
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Replaces a file (write, fsync, rename, fsync of the folder), with mode 600: after a crash or a power cut it is the old one or the
/// new one. `next` is a file beside it that no other process writes to.
///
/// # Errors
/// It cannot be written. `next` may be left.
pub fn replace(path: &Path, next: &Path, content: &impl Serialize) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(next)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.sync_all()?;
    fs::rename(next, path)?;
    sync_folder_of(path)
}

/// Has the name of a file survive a power cut.
///
/// # Errors
/// The disk failed.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all() {
        // Some network file systems have no fsync for folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}
