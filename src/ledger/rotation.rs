//! The files of one chain. The one that is written to has the configured name; those that were
//! closed before it have the number of their first record behind that name.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::place;

/// The name of a closed file, by its first record.
pub(super) fn closed(path: &Path, first: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first:012}"));
    name.into()
}

/// The closed files that are there with the number of their first record, oldest first.
pub(super) fn all_closed(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place::folder_of(path))? {
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
        Ok(there) => Ok(same(&there, ours)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Opens the file whose first record has a number: a closed one, or the one that is written to. Says
/// its path too.
pub(super) fn with_first(
    path: &Path,
    first: u64,
    open: impl Fn(&Path) -> io::Result<File>,
) -> io::Result<(File, PathBuf)> {
    let archive = closed(path, first);
    loop {
        match open(&archive) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(|file| (file, archive)),
        }
        let file = open(path)?;
        // A file gets its number before another takes its place: where the number is there now, it
        // may be a later file that was opened.
        match fs::metadata(&archive) {
            Ok(there) if !same(&there, &file.metadata()?) => {}
            _ => return Ok((file, path.to_owned())),
        }
    }
}

/// A file that will take the place of the one that is written to.
pub(super) struct Next {
    pub(super) file: Arc<File>,
    path: PathBuf,
    folder: File,
}

impl Next {
    /// Begins it with a first line, for the users that have the one that is written to `now`. What a
    /// crash left of an earlier one goes.
    pub(super) fn begin(path: &Path, now: &File, line: &[u8]) -> io::Result<Self> {
        // What cannot be opened or synced now is not found out when there is no way back.
        let folder = File::open(place::folder_of(path))?;
        folder.sync_all()?;
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = place::options().create_new(true).open(&new)?;
        keep_access(&file, &now.metadata()?)?;
        file.write_all(line)?;
        file.sync_all()?;
        Ok(Self {
            file: Arc::new(file),
            path: new,
            folder,
        })
    }

    /// Closes the file that is written to, whose first record is `first`, and takes its place.
    /// There is no moment at which nothing is there: a reader finds the one or the other.
    ///
    /// # Errors
    /// It has not taken the place.
    pub(super) fn take_place(&self, path: &Path, now: &File, first: u64) -> io::Result<()> {
        let archive = closed(path, first);
        match fs::hard_link(path, &archive) {
            // An earlier attempt got so far.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is(now, &archive)? => {}
            other => other?,
        }
        fs::rename(&self.path, path)
    }

    /// Puts the new names where a power cut cannot take them.
    ///
    /// # Errors
    /// The disk did not take them. They hold all the same, for all that run.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

/// Who could write to the old file, or read it, can do so with the new one.
fn keep_access(new: &File, old: &Metadata) -> io::Result<()> {
    let made = new.metadata()?;
    let owner = (made.uid() != old.uid()).then_some(old.uid());
    let group = (made.gid() != old.gid()).then_some(old.gid());
    if owner.is_some() || group.is_some() {
        fchown(new, owner, group)?;
    }
    new.set_permissions(Permissions::from_mode(old.mode() & 0o777))
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
