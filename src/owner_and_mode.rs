//! Checks owner and mode of files and folders: whether a user other than root and this one could read, change or replace
//! them. Whoever can change a folder or a link on the path of a PKCS#11 module can replace the module, which gets the PIN.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use rustix::process::geteuid;

/// Why a file or folder is not safe from other users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// It belongs to a user other than root and this one.
    ForeignOwner,
    /// Its permission bits (rwxrwxrwx) give the group or others more access than allowed.
    Mode(u32),
}

/// Checks that a file or folder belongs to root or to this user, and that its mode has none of the `forbidden` bits.
///
/// # Errors
/// The owner is another user, or else a forbidden bit is set.
pub fn check_owner_and_mode(meta: &Metadata, forbidden: u32) -> Result<(), Exposure> {
    if is_foreign(meta) {
        return Err(Exposure::ForeignOwner);
    }
    match meta.mode() & forbidden {
        0 => Ok(()),
        _ => Err(Exposure::Mode(meta.mode() & 0o777)),
    }
}

/// Whether its owner is a user other than root and this one (the effective user id).
fn is_foreign(meta: &Metadata) -> bool {
    meta.uid() != 0 && meta.uid() != geteuid().as_raw()
}

/// A file, folder or link that another user can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritablePath {
    /// The file, folder or link.
    pub path: PathBuf,
    /// Who can change it.
    pub by: WritableBy,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
}

/// Who can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritableBy {
    /// Its owner.
    Owner(u32),
    /// Its group.
    Group,
    /// Every user of the machine.
    Everybody,
}

/// The components of `path` that a user other than root and this one could change: the file or folder itself first, then
/// the folders and links above it.
///
/// # Errors
/// A component of the path is missing or not accessible.
pub fn writable_by_others(path: &Path) -> io::Result<Vec<WritablePath>> {
    let mut found = Vec::new();
    for (above, path) in path_components(path)?.into_iter().enumerate() {
        let meta = fs::symlink_metadata(&path)?;
        // In a sticky folder (/tmp), other users cannot replace this user's files. If `path` itself is a sticky folder,
        // every user can add files to it.
        let sticky = above > 0 && meta.is_dir() && meta.mode() & 0o1000 != 0;
        let by = match meta.mode() {
            _ if is_foreign(&meta) => WritableBy::Owner(meta.uid()),
            _ if sticky || meta.is_symlink() => continue,
            mode if mode & 0o002 != 0 => WritableBy::Everybody,
            mode if mode & 0o020 != 0 => WritableBy::Group,
            _ => continue,
        };
        found.push(WritablePath {
            path,
            by,
            is_folder: meta.is_dir(),
            mode: meta.mode() & 0o7777,
        });
    }
    Ok(found)
}

/// How many symbolic links Linux follows in one path (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// Every folder and every symbolic link that the kernel resolves on `path`, the last first. A change of any of them may
/// change which file is opened.
fn path_components(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut resolved = Vec::new();
    let mut current = PathBuf::new();
    let mut links = 0;
    let mut pending = vec![std::path::absolute(path)?];
    while let Some(next) = pending.pop() {
        let mut parts = next.components();
        let Some(part) = parts.next() else {
            continue;
        };
        pending.push(parts.as_path().to_owned());
        match part {
            Component::CurDir => continue,
            Component::ParentDir => {
                current.pop();
                continue;
            }
            part => current.push(part),
        }
        if !resolved.contains(&current) {
            resolved.push(current.clone());
        }
        if fs::symlink_metadata(&current)?.is_symlink() {
            links += 1;
            if links > MAX_SYMLINKS {
                return Err(Errno::LOOP.into());
            }
            pending.push(fs::read_link(&current)?);
            current.pop();
        }
    }
    resolved.reverse();
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_in_the_middle_of_a_path_is_checked() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let root = fs::canonicalize(folder.path())?;
        for name in ["real", "open", "ours"] {
            fs::create_dir(root.join(name))?;
        }
        fs::write(root.join("real/file"), "")?;
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(root.join("open"), open)?;
        // ours/file -> open/link -> real/file: neither end lies in the open folder.
        symlink("../real/file", root.join("open/link"))?;
        symlink("../open/link", root.join("ours/file"))?;
        let found = writable_by_others(&root.join("ours/file"))?;
        let [WritablePath { path, by, .. }] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((path, by), (&root.join("open"), &WritableBy::Everybody));
        assert!(writable_by_others(&root.join("ours/../real/./file"))?.is_empty());
        let sticky = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(root.join("open"), sticky)?;
        assert!(writable_by_others(&root.join("ours/file"))?.is_empty());
        assert_eq!(writable_by_others(&root.join("open"))?.len(), 1);
        symlink("round", root.join("round"))?;
        assert!(writable_by_others(&root.join("round")).is_err());
        Ok(())
    }
}
