//! Every folder and every symbolic link that the kernel resolves on a path (path_resolution(7)). A change of any of them may
//! change which file is opened.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Component as Part, Path, PathBuf};

/// How many symbolic links Linux follows in one path.
const MAX_SYMLINKS: usize = 40;

/// A folder or link on a path, or the file or folder at its end.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) path: PathBuf,
    pub(super) meta: Metadata,
    pub(super) position: Position,
}

/// Where on the path it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// At its end, with all links followed.
    Target,
    /// The folder in which this next component does not exist.
    AboveMissing(PathBuf),
    /// Anywhere else.
    Above,
}

/// The components of the path as far as they exist and this process may look at them, the last first.
pub(super) fn walk(path: &Path) -> Vec<Component> {
    let mut found: Vec<Component> = Vec::new();
    let mut current = PathBuf::new();
    let mut links = 0;
    let mut pending: Vec<_> = std::path::absolute(path).into_iter().collect();
    let mut ended_early = false;
    while let Some(next) = pending.pop() {
        let mut parts = next.components();
        let Some(part) = parts.next() else {
            continue;
        };
        pending.push(parts.as_path().to_owned());
        match part {
            Part::CurDir => continue,
            Part::ParentDir => {
                current.pop();
                continue;
            }
            part => current.push(part),
        }
        let meta = match fs::symlink_metadata(&current) {
            Ok(meta) => meta,
            Err(error) => {
                let missing = (error.kind() == io::ErrorKind::NotFound).then(|| current.clone());
                current.pop();
                let folder = found.iter_mut().find(|known| known.path == current);
                if let (Some(missing), Some(folder)) = (missing, folder) {
                    folder.position = Position::AboveMissing(missing);
                }
                ended_early = true;
                break;
            }
        };
        let is_link = meta.is_symlink();
        if !found.iter().any(|known| known.path == current) {
            found.push(Component {
                path: current.clone(),
                meta,
                position: Position::Above,
            });
        }
        if is_link {
            links += 1;
            let target = fs::read_link(&current);
            current.pop();
            match target {
                Ok(target) if links <= MAX_SYMLINKS => pending.push(target),
                // A loop: there is nothing at its end.
                _ => {
                    ended_early = true;
                    break;
                }
            }
        }
    }
    if !ended_early && let Some(target) = found.iter_mut().find(|known| known.path == current) {
        target.position = Position::Target;
    }
    found.reverse();
    found
}
