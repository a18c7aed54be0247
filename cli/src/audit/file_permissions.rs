//! Who can change or read a file of this machine, in the words of a report.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hsm_mtls::internal::owner_and_mode::{WritableBy, WritablePath, writable_by_others};

/// Why others than root and this user could change what is at `path`, or put something else there.
/// Empty where they could not.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn changeable_by_others(path: &Path) -> io::Result<Vec<String>> {
    let said = |WritablePath {
                    path: place,
                    by,
                    mode,
                    ..
                }| match by {
        WritableBy::Owner(uid) => format!("{} belongs to uid {uid}", place.display()),
        WritableBy::Group => format!("its group may write to {} ({mode:04o})", place.display()),
        WritableBy::Everybody => format!("everybody may write to {} ({mode:04o})", place.display()),
    };
    Ok(writable_by_others(path)?.into_iter().map(said).collect())
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
