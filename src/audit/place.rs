//! Who can change or read a file of this machine, by owners and modes: of the file, of every folder on the
//! way to it, and of every link on that way.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::process::geteuid;

/// Links that lead to each other end somewhere, or not at all (as the kernel has it).
const MOST_LINKS: usize = 40;

/// Why others than root and this user could change what is at `path`, or put something else there.
/// Empty where they could not.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn changeable_by_others(path: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let me = geteuid().as_raw();
    let (above, target) = way_to(path)?;
    for (place, is_target) in above
        .iter()
        .map(|place| (place, false))
        .chain([(&target, true)])
    {
        let meta = fs::metadata(place)?;
        // In a sticky folder (/tmp) nobody else can replace what is ours; they can put more into it.
        let sticky = !is_target && meta.mode() & 0o1000 != 0;
        if meta.uid() != 0 && meta.uid() != me {
            found.push(format!("{} belongs to uid {}", place.display(), meta.uid()));
        } else if meta.mode() & 0o022 != 0 && !sticky {
            let who = match meta.mode() & 0o002 {
                0 => "its group",
                _ => "everybody",
            };
            let mode = mode(&meta);
            found.push(format!("{who} may write to {} ({mode})", place.display()));
        }
    }
    Ok(found)
}

/// Every folder on the way to a file, with those that hold a link on it, and where it ends.
fn way_to(path: &Path) -> io::Result<(Vec<PathBuf>, PathBuf)> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let absolute = std::path::absolute(path)?;
    let mut ahead: Vec<OsString> = parts(&absolute);
    while let Some(part) = ahead.pop() {
        if !folders.contains(&at) {
            folders.push(at.clone());
        }
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        if !fs::symlink_metadata(&next)?.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::other("too many links"));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        ahead.extend(parts(&target));
    }
    folders.retain(|folder| *folder != at);
    Ok((folders, at))
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<_> = named.collect();
    parts.reverse();
    parts
}

/// Why others than its owner could read the file, where `forbidden` bits of its mode say so.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn readable_by_others(path: &Path, forbidden: u32) -> io::Result<Option<String>> {
    let meta = fs::metadata(path)?;
    let others = meta.mode() & forbidden != 0;
    Ok(others.then(|| format!("{} has the mode {}", path.display(), mode(&meta))))
}

/// Owner, group and mode, in words.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn described(path: &Path) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    Ok(format!(
        "{} (uid {}, gid {}, {})",
        path.display(),
        meta.uid(),
        meta.gid(),
        mode(&meta)
    ))
}

fn mode(meta: &Metadata) -> String {
    format!("{:04o}", meta.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_link_in_the_middle_counts_by_the_folder_that_holds_it() {
        let top = tempfile::tempdir().unwrap();
        let [first, second, last] = ["first", "second", "last"].map(|name| {
            let folder = top.path().join(name);
            fs::create_dir(&folder).unwrap();
            set(&folder, 0o755);
            folder
        });
        let file = last.join("module.so");
        fs::write(&file, "").unwrap();
        set(&file, 0o644);
        symlink(&file, second.join("current.so")).unwrap();
        symlink("../second/current.so", first.join("module.so")).unwrap();
        let named = first.join("module.so");
        assert_eq!(changeable_by_others(&named).unwrap(), Vec::<String>::new());
        for folder in [&first, &second, &last] {
            set(folder, 0o777);
            let found = changeable_by_others(&named).unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(&*folder.to_string_lossy()), "{found:?}");
            set(folder, 0o755);
        }
        symlink("round", top.path().join("round")).unwrap();
        changeable_by_others(&top.path().join("round")).unwrap_err();
    }

    #[test]
    fn a_sticky_folder_is_good_enough_above_a_file_and_not_in_its_place() {
        let top = tempfile::tempdir().unwrap();
        set(top.path(), 0o1777);
        let file = top.path().join("file");
        fs::write(&file, "").unwrap();
        set(&file, 0o644);
        assert!(changeable_by_others(&file).unwrap().is_empty());
        assert_eq!(changeable_by_others(top.path()).unwrap().len(), 1);
    }
}
