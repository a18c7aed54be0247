//! The files of one ledger. The active file, to which records are appended, has the configured name; each closed file,
//! which a rotation left, has the sequence number of its first record as a suffix.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::location;
use super::lock::{FileLock, LOCK_TIMEOUT};

/// A file of the chain.
#[derive(Debug)]
pub(super) struct ChainFile {
    path: PathBuf,
    /// The active file is kept open, since a rotation may rename it meanwhile. `None`: a closed file, which keeps its name.
    active: Option<File>,
    /// The length of the active file when it was listed. `None`: a closed file, whose length does not change.
    length: Option<u64>,
}

impl ChainFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open(&self) -> io::Result<File> {
        match &self.active {
            Some(file) => file.try_clone(),
            None => File::open(&self.path),
        }
    }

    /// How many bytes of the opened file are to be read: not those that were appended after it was listed.
    pub(super) fn length(&self, file: &File) -> io::Result<u64> {
        match self.length {
            Some(length) => Ok(length),
            None => Ok(file.metadata()?.len()),
        }
    }
}

/// The files of the chain, oldest first, and the active file's path with symbolic links resolved.
pub(super) fn list(path: &Path) -> io::Result<(Vec<ChainFile>, PathBuf)> {
    let path = fs::canonicalize(path)?;
    loop {
        let file = Arc::new(File::open(&path)?);
        // With the lock held, no writer is in the middle of a line. If it is not available in time, the last line may be
        // incomplete.
        let lock = FileLock::acquire_until(&file, Instant::now() + LOCK_TIMEOUT)?;
        if !is_at(&file, &path)? {
            continue;
        }
        let length = file.metadata()?.len();
        let mut files = Vec::new();
        for (_, closed) in list_closed(&path)? {
            // A rotation that a crash interrupted leaves a second name of the active file.
            if !is_at(&file, &closed)? {
                files.push(ChainFile {
                    path: closed,
                    active: None,
                    length: None,
                });
            }
        }
        drop(lock);
        files.push(ChainFile {
            path: path.clone(),
            active: Some(file.try_clone()?),
            length: Some(length),
        });
        return Ok((files, path));
    }
}

/// The path of a closed file, by the sequence number of its first record.
pub(super) fn closed_path(path: &Path, first_sequence: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first_sequence:012}"));
    name.into()
}

/// The closed files with the sequence numbers of their first records, oldest first.
pub(super) fn list_closed(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(location::parent_folder(path))? {
        let entry = entry?.path();
        let number = entry
            .extension()
            .and_then(|number| number.to_str()?.parse().ok())
            .filter(|number| closed_path(path, *number).file_name() == entry.file_name());
        found.extend(number.map(|number| (number, entry)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens the file whose first record has this sequence number, a closed file or the active one. Returns its path too.
pub(super) fn open_by_first_sequence(
    path: &Path,
    first_sequence: u64,
    open: impl Fn(&Path) -> io::Result<File>,
) -> io::Result<(File, PathBuf)> {
    let closed = closed_path(path, first_sequence);
    loop {
        match open(&closed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(|file| (file, closed)),
        }
        let file = open(path)?;
        // A rotation links the active file to its numbered name before it replaces it: if that name exists by now, the
        // opened file may be a later one.
        match fs::metadata(&closed) {
            Ok(found) if !is_same_file(&found, &file.metadata()?) => {}
            _ => return Ok((file, path.to_owned())),
        }
    }
}

/// Whether a path leads to this open file.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    is_metadata_at(&file.metadata()?, path)
}

/// Whether a path leads to the file with this metadata.
pub(super) fn is_metadata_at(file: &Metadata, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(is_same_file(&found, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_files_are_listed_by_their_first_record() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ledger.jsonl");
        for name in [
            "ledger.jsonl",
            "ledger.jsonl.000000000200",
            "ledger.jsonl.000000000001",
            "ledger.jsonl.1",
            "ledger.jsonl.new",
            "other.jsonl.000000000001",
        ] {
            fs::write(folder.path().join(name), "")?;
        }
        let found: Vec<_> = list_closed(&path)?.into_iter().map(|(n, _)| n).collect();
        assert_eq!(found, [1, 200]);
        Ok(())
    }
}
