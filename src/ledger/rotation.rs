//! The files of one chain. The one that is written to has the configured name; those that were
//! closed before it have the number of their first record behind that name.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Readable by a group that may check it, writable by its owner alone.
const MODE: u32 = 0o640;

/// Opens the file that is written to; begins it where it is not there.
pub(super) fn open(path: &Path) -> io::Result<File> {
    options().create(true).open(path)
}

/// Opens it where it is there.
pub(super) fn open_existing(path: &Path) -> io::Result<File> {
    options().open(path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(MODE);
    options
}

/// The name of a closed file, by its first record.
pub(super) fn closed(path: &Path, first: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first:012}"));
    name.into()
}

/// The closed files that are there with the number of their first record, oldest first.
pub(super) fn all_closed(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let there = entry?.path();
        let number = there
            .extension()
            .and_then(|number| number.to_str()?.parse().ok())
            .filter(|number| closed(path, *number).file_name() == there.file_name());
        found.extend(number.map(|number| (number, there)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether a path leads to this open file.
pub(super) fn is(file: &File, path: &Path) -> io::Result<bool> {
    leads_to(path, &file.metadata()?)
}

/// The same of a file that was looked at before.
pub(super) fn leads_to(path: &Path, ours: &Metadata) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file that will take the place of the one that is written to.
pub(super) struct Next {
    pub(super) file: Arc<File>,
    path: PathBuf,
}

impl Next {
    /// Begins it with a first line. What a crash left of an earlier one goes.
    pub(super) fn begin(path: &Path, line: &[u8]) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = options().create_new(true).open(&new)?;
        file.write_all(line)?;
        file.sync_all()?;
        Ok(Self {
            file: Arc::new(file),
            path: new,
        })
    }

    /// Closes the file that is written to, whose first record is `first`, and takes its place.
    /// There is no moment at which nothing is there: a reader finds the one or the other.
    pub(super) fn take_place(&self, path: &Path, now: &File, first: u64) -> io::Result<()> {
        let archive = closed(path, first);
        match fs::hard_link(path, &archive) {
            // An earlier attempt got so far.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is(now, &archive)? => {}
            other => other?,
        }
        fs::rename(&self.path, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_files_are_found_in_their_order() -> io::Result<()> {
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
        let found: Vec<_> = all_closed(&path)?.into_iter().map(|(n, _)| n).collect();
        assert_eq!(found, [1, 200]);
        Ok(())
    }
}
