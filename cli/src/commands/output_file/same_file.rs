//! Whether two paths lead to the same file. Existing files are compared by device and inode: a link, `..`, a bind mount or
//! another spelling gives one file many paths. A file that does not exist yet is compared by folder and name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hsm_mtls::internal::config::paths::{Extent, NamedPath};

/// How many symbolic links in a row Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Device and inode.
type FileId = (u64, u64);

fn id_of(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().as_ref().map(id_of)
}

/// The id of the link itself, where the path is a symbolic link.
fn link_id(path: &Path) -> Option<FileId> {
    fs::symlink_metadata(path).ok().as_ref().map(id_of)
}

/// The folder of a path.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The path at the end of a chain of symbolic links, whether it exists or not.
fn follow_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = folder_of(&path).join(to),
            Err(_) => break,
        }
    }
    path
}

/// A file that is to be written or read, to be compared with those of the configuration.
pub(super) struct Target {
    path: PathBuf,
    file: Option<FileId>,
    link: Option<FileId>,
    folder: Option<FileId>,
    /// All folders above it.
    ancestors: Vec<FileId>,
    /// Whether file names are case-insensitive in its folder.
    folds_case: bool,
}

impl Target {
    pub(super) fn of(path: &Path, folds_case: bool) -> Self {
        let path = follow_links(path);
        let folder = folder_of(&path);
        // The kernel resolves `..` after links.
        let canonical = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        Self {
            file: file_id(&path),
            link: link_id(&path),
            folder: file_id(folder),
            ancestors: canonical.ancestors().filter_map(file_id).collect(),
            folds_case,
            path,
        }
    }

    /// The path of the configuration that leads to this file.
    pub(super) fn named_in<'a>(&self, named: &'a [NamedPath]) -> Option<&'a NamedPath> {
        named.iter().find(|named| self.is(named))
    }

    fn is(&self, named: &NamedPath) -> bool {
        let same = self.is_at(&named.path);
        match named.extent {
            Extent::File => same,
            Extent::WithOlder(suffix) => same || self.is_rotated(&named.path, suffix),
            // A new file in the folder replaces nothing.
            Extent::Contents => same || (self.link.is_some() && self.lies_in(&named.path)),
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        let same = |own: Option<FileId>, other: Option<FileId>| own.is_some() && own == other;
        if same(self.file, file_id(path)) || same(self.link, link_id(path)) {
            return true;
        }
        let path = follow_links(path);
        let name = path.file_name();
        same(self.folder, file_id(folder_of(&path))) && name.is_some_and(|name| self.has_name(name))
    }

    /// Whether it is an older file of a rotation: the name of `path`, `suffix`, and anything.
    fn is_rotated(&self, path: &Path, suffix: &str) -> bool {
        let path = follow_links(path);
        let (folder, Some(name)) = (folder_of(&path), path.file_name()) else {
            return false;
        };
        let mut prefix = name.to_owned();
        prefix.push(suffix);
        let has_prefix = |name: &OsStr| {
            let (name, prefix) = (self.fold_case(name), self.fold_case(&prefix));
            name.as_encoded_bytes()
                .starts_with(prefix.as_encoded_bytes())
        };
        let by_name = self.path.file_name().is_some_and(has_prefix);
        if by_name && self.folder.is_some() && self.folder == file_id(folder) {
            return true;
        }
        // It may be a hard link to one of them, or another spelling.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut older = entries.filter(|entry| has_prefix(&entry.file_name()));
        self.file.is_some() && older.any(|entry| file_id(&entry.path()) == self.file)
    }

    fn lies_in(&self, folder: &Path) -> bool {
        folder.is_dir() && file_id(folder).is_some_and(|folder| self.ancestors.contains(&folder))
    }

    fn has_name(&self, name: &OsStr) -> bool {
        let own = self.path.file_name();
        own.is_some_and(|own| self.fold_case(own) == self.fold_case(name))
    }

    fn fold_case(&self, name: &OsStr) -> OsString {
        match self.folds_case {
            true => name.to_string_lossy().to_lowercase().into(),
            false => name.to_owned(),
        }
    }
}

/// The file descriptor of this process that a path names: /dev/stdout, /dev/fd/63, /proc/self/fd/1.
pub(super) fn descriptor(path: &Path) -> Option<u32> {
    let own_descriptors = fs::canonicalize("/proc/self/fd").ok()?;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = fs::canonicalize(folder_of(&path)).ok()?;
        if folder == own_descriptors {
            return path.file_name()?.to_str()?.parse().ok();
        }
        path = folder.join(fs::read_link(&path).ok()?);
    }
    None
}

/// The metadata of a path, of a link those of the link; `None` where nothing exists.
pub(super) fn symlink_metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
