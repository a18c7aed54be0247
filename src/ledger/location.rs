//! The path of the ledger's file: creates file and folder, and refuses them if other users could replace or change the
//! file. A hash chain shows that a file was changed, but not that it was replaced by an older version of itself.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LedgerError;
use crate::owner_and_mode::{PathFault, Protection, fault_of_file, faults};

/// The owner writes; a group may read, to verify the chain.
const FILE_MODE: u32 = 0o640;

/// Checks owner and mode of the file and of all that leads to it, creates its folder if that is missing, and returns the path
/// with symbolic links resolved, so that a link that is changed later does not lead to another ledger.
///
/// # Errors
/// The folder cannot be created or read, or other users could put another file there.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    if let Some(fault) = faults(path, Protection::SharedByGroup).first() {
        return Err(of_fault(path, fault));
    }
    let folder = parent_folder(path);
    let created = DirBuilder::new().recursive(true).mode(0o750).create(folder);
    created.map_err(unwritable)?;
    let folder = fs::canonicalize(folder).map_err(unwritable)?;
    let Some(name) = path.file_name() else {
        return Err(LedgerError::Unfit {
            path: path.to_owned(),
            why: "it is not a file",
        });
    };
    let unresolved = folder.join(name);
    match fs::symlink_metadata(&unresolved) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(unresolved),
        Ok(metadata) if metadata.is_symlink() => {}
        metadata => return metadata.map(|_| unresolved).map_err(unwritable),
    }
    match fs::canonicalize(&unresolved) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LedgerError::Unfit {
            path: unresolved,
            why: "it is a link to a file that is not there",
        }),
        other => other.map_err(unwritable),
    }
}

/// Opens the active file for appending; creates it if it is missing.
///
/// # Errors
/// It cannot be opened, is not a regular file, or other users could change it.
pub(super) fn open_or_create(path: &Path) -> Result<File, LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    loop {
        match open_existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                let file = other.map_err(unwritable)?;
                check_file(&file, path)?;
                return Ok(file);
            }
        }
        match open_options().create_new(true).open(path) {
            // Another process created it first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map_err(unwritable),
        }
    }
}

/// Opens a file for appending if it exists.
pub(super) fn open_existing(path: &Path) -> io::Result<File> {
    open_options().open(path)
}

/// How ledger files are opened and created: for reading and appending, with [`FILE_MODE`].
pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(FILE_MODE);
    options
}

/// The folder of a file; `.` for a bare file name.
pub(super) fn parent_folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Checks owner and mode of an open file.
///
/// # Errors
/// It is not a regular file, or other users could change it.
pub(super) fn check_file(file: &File, path: &Path) -> Result<(), LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    let metadata = file.metadata().map_err(unwritable)?;
    if !metadata.is_file() {
        return Err(LedgerError::Unfit {
            path: path.to_owned(),
            why: "it is not a file",
        });
    }
    match fault_of_file(path, &metadata, Protection::SharedByGroup) {
        Some(fault) => Err(of_fault(path, &fault)),
        None => Ok(()),
    }
}

fn of_fault(path: &Path, fault: &PathFault) -> LedgerError {
    LedgerError::Unsafe {
        path: path.to_owned(),
        why: fault.to_string(),
        advice: fault.advice(),
    }
}
