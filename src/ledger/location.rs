//! The path of the ledger's file: creates file and folder, and refuses them if other users could replace or change the
//! file. A hash chain shows that a file was changed, but not that it was replaced by an older version of itself.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LedgerError;
use crate::owner_and_mode::{Exposure, check_owner_and_mode};

/// The owner writes; a group may read, to verify the chain.
const FILE_MODE: u32 = 0o640;

// Mode bits (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// Creates the file's folder if it is missing, checks owner and mode of the folders, and returns the path with symbolic
/// links resolved, so that a link that is changed later does not lead to another ledger.
///
/// # Errors
/// The folder cannot be created or read, or other users could put another file there.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    let folder = parent_folder(path);
    let created = DirBuilder::new().recursive(true).mode(0o750).create(folder);
    created.map_err(unwritable)?;
    let folder = fs::canonicalize(folder).map_err(unwritable)?;
    check_folders(&folder).map_err(|error| error.of_ledger(path))?;
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
    let resolved = match fs::canonicalize(&unresolved) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LedgerError::Unfit {
                path: unresolved,
                why: "it is a link to a file that is not there",
            });
        }
        other => other.map_err(unwritable)?,
    };
    check_folders(parent_folder(&resolved)).map_err(|error| error.of_ledger(path))?;
    Ok(resolved)
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
    let why = match check_owner_and_mode(&metadata, WRITABLE_BY_OTHERS) {
        Ok(()) => return Ok(()),
        Err(Exposure::ForeignOwner) => "it belongs to another user",
        Err(Exposure::Mode(_)) => "everybody may write to it",
    };
    Err(LedgerError::Unsafe {
        path: path.to_owned(),
        why,
    })
}

/// Why a folder cannot contain the ledger.
enum FolderError {
    Unreadable(io::Error),
    Unsafe(PathBuf, &'static str),
}

impl FolderError {
    fn of_ledger(self, path: &Path) -> LedgerError {
        match self {
            Self::Unreadable(error) => LedgerError::unwritable(path, error),
            Self::Unsafe(path, why) => LedgerError::Unsafe { path, why },
        }
    }
}

/// Checks owner and mode of the ledger's folder and of the folders above it. A user who may write to the ledger's own
/// folder could replace the ledger by an older copy of it. The folders above may be writable by a group (`/var/log` is
/// in some distributions): a folder that a member puts there belongs to another user, and is refused.
fn check_folders(folder: &Path) -> Result<(), FolderError> {
    for (depth, ancestor) in folder.ancestors().enumerate() {
        let metadata = fs::metadata(ancestor).map_err(FolderError::Unreadable)?;
        let forbidden = match (metadata.mode() & STICKY, depth) {
            (0, 0) => WRITABLE_BY_OTHERS | WRITABLE_BY_GROUP,
            (0, _) => WRITABLE_BY_OTHERS,
            // In a sticky folder (/tmp) other users cannot rename or remove this user's files.
            _ => 0,
        };
        let why = match check_owner_and_mode(&metadata, forbidden) {
            Ok(()) => continue,
            Err(Exposure::ForeignOwner) => {
                "this folder belongs to another user, who may put another file there"
            }
            Err(Exposure::Mode(mode)) if mode & WRITABLE_BY_OTHERS != 0 => {
                "everybody may write to this folder, and so put another file there"
            }
            Err(Exposure::Mode(_)) => {
                "a group may write to this folder, and so put an older file there"
            }
        };
        return Err(FolderError::Unsafe(ancestor.to_owned(), why));
    }
    Ok(())
}
