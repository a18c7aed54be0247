//! In whose hands a file is: who else than root and this user could change it, or put another in its place.
//! A module is given the PIN, so each folder and each link on the way to it counts as much as the file itself.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use rustix::process::geteuid;

/// A place on the way to a file that somebody else can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritablePath {
    /// The file, folder or link.
    pub place: PathBuf,
    /// Who can change it.
    pub by: WritableBy,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its permission bits.
    pub mode: u32,
}

/// Who can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritableBy {
    /// The user that it belongs to.
    Owner(u32),
    /// The group that it belongs to.
    Group,
    /// Every user of the machine.
    Everybody,
}

/// Where others than root and this user could change what is at `path`, or put something else there: the
/// place itself first, then what is above it. Empty where they could not.
///
/// # Errors
/// It cannot be looked at.
pub fn writable_by_others(path: &Path) -> io::Result<Vec<WritablePath>> {
    let me = geteuid().as_raw();
    let mut found = Vec::new();
    for (above, place) in on_the_way(path)?.into_iter().enumerate() {
        let meta = fs::symlink_metadata(&place)?;
        // In a sticky folder (/tmp) nobody else can replace what is ours; what is asked for may be such a
        // folder itself, and there everybody can add something.
        let sticky = above > 0 && meta.is_dir() && meta.mode() & 0o1000 != 0;
        let by = match (meta.uid(), meta.mode()) {
            (uid, _) if uid != 0 && uid != me => WritableBy::Owner(uid),
            _ if sticky || meta.is_symlink() => continue,
            (_, mode) if mode & 0o002 != 0 => WritableBy::Everybody,
            (_, mode) if mode & 0o020 != 0 => WritableBy::Group,
            _ => continue,
        };
        found.push(WritablePath {
            place,
            by,
            is_folder: meta.is_dir(),
            mode: meta.mode() & 0o7777,
        });
    }
    Ok(found)
}

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// Every folder and every link that the system goes through to what is at `path`, and that itself. Whoever
/// can turn any of them decides what is found.
fn on_the_way(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    let mut here = PathBuf::new();
    let mut links = 0;
    let mut ahead = vec![std::path::absolute(path)?];
    while let Some(next) = ahead.pop() {
        let mut parts = next.components();
        let Some(part) = parts.next() else {
            continue;
        };
        ahead.push(parts.as_path().to_owned());
        match part {
            Component::CurDir => continue,
            Component::ParentDir => {
                here.pop();
                continue;
            }
            part => here.push(part),
        }
        if !places.contains(&here) {
            places.push(here.clone());
        }
        if fs::symlink_metadata(&here)?.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            ahead.push(fs::read_link(&here)?);
            here.pop();
        }
    }
    // The last first: what is asked for, then the folders above it.
    places.reverse();
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_in_the_middle_is_on_the_way() -> io::Result<()> {
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
        let [WritablePath { place, by, .. }] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((place, by), (&root.join("open"), &WritableBy::Everybody));
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
