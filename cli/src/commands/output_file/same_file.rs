//! Whether two paths lead to one file: by device and inode, because a link, `..`, a bind mount or another
//! spelling gives one file many names; and by folder and name where the file is yet to be made.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hsm_mtls::internal::config::paths::{Extent, NamedPath};

/// As many links in a row as Linux follows.
const MOST_LINKS: usize = 40;

/// Device and inode.
type Identity = (u64, u64);

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

fn of(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().as_ref().map(identity)
}

/// The folder that a path lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The path that the last of a chain of links names, whether or not there is something.
pub(super) fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = folder_of(&path).join(to),
            Err(_) => break,
        }
    }
    path
}

/// What is asked about: a file that is to be written.
pub(super) struct Target {
    path: PathBuf,
    file: Option<Identity>,
    link: Option<Identity>,
    folder: Option<Identity>,
    /// The folders that it lies in.
    above: Vec<Identity>,
    /// Whether its folder takes `A` and `a` for one.
    folds_case: bool,
}

impl Target {
    pub(super) fn of(path: &Path, folds_case: bool) -> Self {
        let path = followed(path);
        let folder = folder_of(&path);
        // `..` and links are followed as the system does it.
        let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        Self {
            file: of(&path),
            link: fs::symlink_metadata(&path).ok().as_ref().map(identity),
            folder: of(folder),
            above: whole.ancestors().filter_map(of).collect(),
            folds_case,
            path,
        }
    }

    /// What of the configuration it is.
    pub(super) fn named_in<'a>(&self, named: &'a [NamedPath]) -> Option<&'a NamedPath> {
        named.iter().find(|named| self.is(named))
    }

    fn is(&self, named: &NamedPath) -> bool {
        let one = self.is_at(&named.path);
        match named.extent {
            Extent::File => one,
            Extent::WithOlder(behind) => one || self.is_older(&named.path, behind),
            // A new file beside what lies there takes nothing's place.
            Extent::Contents => one || (self.link.is_some() && self.lies_in(&named.path)),
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        let same = |ours: Option<Identity>, theirs: Option<Identity>| {
            ours.is_some_and(|ours| theirs == Some(ours))
        };
        let link = fs::symlink_metadata(path).ok().as_ref().map(identity);
        if same(self.file, of(path)) || same(self.link, link) {
            return true;
        }
        let path = followed(path);
        let name = path.file_name();
        same(self.folder, of(folder_of(&path))) && name.is_some_and(|name| self.has_name(name))
    }

    fn is_older(&self, path: &Path, behind: &str) -> bool {
        let path = followed(path);
        let (folder, Some(name)) = (folder_of(&path), path.file_name()) else {
            return false;
        };
        let mut beginning = name.to_owned();
        beginning.push(behind);
        let begins = |name: &OsStr| {
            let (name, beginning) = (self.spelt(name), self.spelt(&beginning));
            name.as_encoded_bytes()
                .starts_with(beginning.as_encoded_bytes())
        };
        let ours = self.path.file_name().is_some_and(begins);
        if ours && self.folder.is_some() && self.folder == of(folder) {
            return true;
        }
        // By a hard link or another spelling.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut older = entries.filter(|entry| begins(&entry.file_name()));
        self.file.is_some() && older.any(|entry| of(&entry.path()) == self.file)
    }

    fn lies_in(&self, folder: &Path) -> bool {
        folder.is_dir() && of(folder).is_some_and(|folder| self.above.contains(&folder))
    }

    fn has_name(&self, name: &OsStr) -> bool {
        let ours = self.path.file_name();
        ours.is_some_and(|ours| self.spelt(ours) == self.spelt(name))
    }

    fn spelt(&self, name: &OsStr) -> OsString {
        match self.folds_case {
            true => name.to_string_lossy().to_lowercase().into(),
            false => name.to_owned(),
        }
    }
}

/// The descriptor of this process that a path stands for: /dev/stdout, /dev/fd/63, /proc/self/fd/1.
pub(super) fn descriptor(path: &Path) -> Option<u32> {
    let ours = fs::canonicalize("/proc/self/fd").ok()?;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let folder = fs::canonicalize(folder_of(&path)).ok()?;
        if folder == ours {
            return path.file_name()?.to_str()?.parse().ok();
        }
        path = folder.join(fs::read_link(&path).ok()?);
    }
    None
}

/// What is there, if anything is; of a link, the link.
pub(super) fn there(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
