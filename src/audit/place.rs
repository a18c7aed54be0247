//! Who can change or read a file of this machine, by owners and modes: of the file, and of every folder
//! on the way to it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use rustix::process::geteuid;

/// Why others than root and this user could change what is at `path`, or put something else there.
/// Empty where they could not.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn changeable_by_others(path: &Path) -> io::Result<Vec<String>> {
    let me = geteuid().as_raw();
    let mut found = Vec::new();
    for (above, place) in on_the_way(path)?.into_iter().enumerate() {
        let meta = fs::symlink_metadata(&place)?;
        // In a sticky folder (/tmp) nobody else can replace what is ours; what is asked for may be such a
        // folder itself, and there everybody can add something.
        let sticky = above > 0 && meta.is_dir() && meta.mode() & 0o1000 != 0;
        if meta.uid() != 0 && meta.uid() != me {
            found.push(format!("{} belongs to uid {}", place.display(), meta.uid()));
        } else if meta.mode() & 0o022 != 0 && !sticky && !meta.is_symlink() {
            let who = match meta.mode() & 0o002 {
                0 => "its group",
                _ => "everybody",
            };
            found.push(format!(
                "{who} may write to {} ({})",
                place.display(),
                mode(&meta)
            ));
        }
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

fn mode(meta: &fs::Metadata) -> String {
    format!("{:04o}", meta.mode() & 0o7777)
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
        let found = changeable_by_others(&root.join("ours/file"))?;
        let said = format!(
            "everybody may write to {} (0777)",
            root.join("open").display()
        );
        assert_eq!(found, [said]);
        assert!(changeable_by_others(&root.join("ours/../real/./file"))?.is_empty());
        let sticky = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(root.join("open"), sticky)?;
        assert!(changeable_by_others(&root.join("ours/file"))?.is_empty());
        assert_eq!(changeable_by_others(&root.join("open"))?.len(), 1);
        symlink("round", root.join("round"))?;
        assert!(changeable_by_others(&root.join("round")).is_err());
        Ok(())
    }
}
