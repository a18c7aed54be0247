//! Where the ledger lies, and who could put something else there: a chain shows what was changed in
//! a file, and not that the file is an old one.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LedgerError;

/// Readable by a group that may check it, writable by its owner alone.
pub(super) const MODE: u32 = 0o640;

/// Makes the folder where it is not there, looks at who may change it, and says the path with its
/// links resolved: what a link leads to later is another ledger.
///
/// # Errors
/// It cannot be made or looked at, or others could put another file there.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    let folder = folder_of(path);
    let made = DirBuilder::new().recursive(true).mode(0o750).create(folder);
    made.map_err(unwritable)?;
    let folder = fs::canonicalize(folder).map_err(unwritable)?;
    check_folders(&folder).map_err(|error| error.or(path))?;
    let Some(name) = path.file_name() else {
        return Err(LedgerError::Unfit {
            path: path.to_owned(),
            why: "it is not a file",
        });
    };
    let named = folder.join(name);
    match fs::symlink_metadata(&named) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(named),
        Ok(there) if there.is_symlink() => {}
        found => return found.map(|_| named).map_err(unwritable),
    }
    let resolved = match fs::canonicalize(&named) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LedgerError::Unfit {
                path: named,
                why: "it is a link to a file that is not there",
            });
        }
        other => other.map_err(unwritable)?,
    };
    check_folders(folder_of(&resolved)).map_err(|error| error.or(path))?;
    Ok(resolved)
}

/// Opens the file that is written to; begins it where it is not there.
///
/// # Errors
/// It cannot be opened, is no file, or others could change it.
pub(super) fn open(path: &Path) -> Result<File, LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    loop {
        match existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                let file = other.map_err(unwritable)?;
                check(&file, path)?;
                return Ok(file);
            }
        }
        match options().create_new(true).open(path) {
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map_err(unwritable),
        }
    }
}

/// Opens a file to write to it, where it is there.
pub(super) fn existing(path: &Path) -> io::Result<File> {
    options().open(path)
}

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(MODE);
    options
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Looks at who may change a file that is open.
///
/// # Errors
/// It is no file, or others could change it.
pub(super) fn check(file: &File, path: &Path) -> Result<(), LedgerError> {
    let unwritable = |error| LedgerError::unwritable(path, error);
    let found = file.metadata().map_err(unwritable)?;
    if !found.is_file() {
        return Err(LedgerError::Unfit {
            path: path.to_owned(),
            why: "it is not a file",
        });
    }
    let why = match (ours(&found).map_err(unwritable)?, found.mode() & 0o002) {
        (false, _) => "it belongs to another user",
        (true, 0) => return Ok(()),
        (true, _) => "everybody may write to it",
    };
    Err(LedgerError::Unsafe {
        path: path.to_owned(),
        why,
    })
}

enum Wrong {
    Unseen(io::Error),
    Unsafe(PathBuf, &'static str),
}

impl Wrong {
    fn or(self, path: &Path) -> LedgerError {
        match self {
            Self::Unseen(error) => LedgerError::unwritable(path, error),
            Self::Unsafe(path, why) => LedgerError::Unsafe { path, why },
        }
    }
}

/// Who may write to the folder can put an older file of the ledger into its place. Further up there
/// is no such file to be put there: a group may write (`/var/log` has one in some distributions),
/// for what it puts there belongs to another user.
fn check_folders(folder: &Path) -> Result<(), Wrong> {
    for (above, place) in folder.ancestors().enumerate() {
        let found = fs::metadata(place).map_err(Wrong::Unseen)?;
        let mode = found.mode();
        // In a sticky folder (/tmp) nobody else can replace what is ours.
        let sticky = mode & 0o1000 != 0;
        let why = if !ours(&found).map_err(Wrong::Unseen)? {
            "this folder belongs to another user, who may put another file there"
        } else if mode & 0o002 != 0 && !sticky {
            "everybody may write to this folder, and so put another file there"
        } else if above == 0 && mode & 0o020 != 0 && !sticky {
            "a group may write to this folder, and so put an older file there"
        } else {
            continue;
        };
        return Err(Wrong::Unsafe(place.to_owned(), why));
    }
    Ok(())
}

/// Whether it is this user's, or root's, who may do everything.
fn ours(found: &Metadata) -> io::Result<bool> {
    Ok(found.uid() == 0 || found.uid() == fs::metadata("/proc/self")?.uid())
}
