//! Who can change or read a file of this machine, as text for the report.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hsm_mtls::internal::owner_and_mode::{PathFault, Protection, faults};

/// The reasons why others than root and this user can change or replace the file at `path`. Empty where they cannot.
///
/// # Errors
/// Its metadata cannot be read.
pub(super) fn changeable_by_others(path: &Path) -> io::Result<Vec<String>> {
    fs::metadata(path)?;
    let found = faults(path, Protection::Unchanged);
    Ok(found.iter().map(PathFault::to_string).collect())
}

/// The reason why others than its owner can read the file: its mode has one of the `forbidden` bits.
///
/// # Errors
/// Its metadata cannot be read.
pub(super) fn readable_by_others(path: &Path, forbidden: u32) -> io::Result<Option<String>> {
    let metadata = fs::metadata(path)?;
    let is_readable = metadata.mode() & forbidden != 0;
    Ok(is_readable.then(|| format!("{} has the mode {}", path.display(), mode(&metadata))))
}

/// The path with owner, group and mode.
///
/// # Errors
/// Its metadata cannot be read.
pub(super) fn path_and_mode(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    Ok(format!(
        "{} (uid {}, gid {}, {})",
        path.display(),
        metadata.uid(),
        metadata.gid(),
        mode(&metadata)
    ))
}

fn mode(metadata: &fs::Metadata) -> String {
    format!("{:04o}", metadata.mode() & 0o7777)
}
