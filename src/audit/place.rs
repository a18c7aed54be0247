//! Who can change or read a file of this machine, by owners and modes: of the file, and of every folder
//! on the way to it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

/// Why others than root and this user could change what is at `path`, or put something else there.
/// Empty where they could not.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn changeable_by_others(path: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    // What a link leads to counts, and who could turn the link.
    let resolved = fs::canonicalize(path)?;
    let mut places: Vec<_> = resolved.ancestors().collect();
    places.extend(
        path.ancestors()
            .skip(1)
            .filter(|place| *place != Path::new("")),
    );
    let me = geteuid().as_raw();
    for (number, place) in places.iter().enumerate() {
        if places[..number].contains(place) {
            continue;
        }
        let meta = fs::metadata(place)?;
        // In a sticky folder (/tmp) nobody else can replace what is ours.
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        if meta.uid() != 0 && meta.uid() != me {
            found.push(format!("{} belongs to uid {}", place.display(), meta.uid()));
        } else if meta.mode() & 0o022 != 0 && !sticky {
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
