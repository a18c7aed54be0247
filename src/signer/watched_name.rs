//! The names under which a file can be replaced: its own in its folder, and each folder and symbolic link on the way to it.
//! Kubernetes replaces a link to a folder, an administrator renames a folder, and a certificate tool the file.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How many symbolic links may be on the way to a file: as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A name in a folder. Whatever takes its place may lead to another file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchedName {
    /// Without symbolic links.
    pub(super) folder: PathBuf,
    pub(super) name: String,
    /// The file that it leads to.
    pub(super) file: PathBuf,
    /// The last one on the way: the file itself.
    pub(super) is_file: bool,
}

/// The names on the way to a file, from the root on. A name that is no UTF-8 is left out, and what is behind one that does not
/// exist is taken for a folder without links.
pub(super) fn names_on_the_way(file: &Path) -> Vec<WatchedName> {
    let mut names = Vec::new();
    let mut links = 0;
    let mut folder = PathBuf::from("/");
    let mut left: Vec<_> = parts(file);
    while let Some(part) = left.pop() {
        if part == Path::new("..") {
            folder.pop();
            continue;
        }
        if let Some(name) = part.to_str() {
            names.push(WatchedName {
                folder: folder.clone(),
                name: name.to_owned(),
                file: file.to_owned(),
                is_file: false,
            });
        }
        let path = folder.join(&part);
        match fs::read_link(&path) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                left.extend(parts(&target));
            }
            _ => folder = path,
        }
    }
    if let Some(last) = names.last_mut() {
        last.is_file = true;
    }
    names
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<_> = parts.collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_link_and_folder_on_the_way_is_a_name() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("data-1")).unwrap();
        fs::write(root.join("data-1/c3.pem"), "").unwrap();
        symlink("data-1", root.join("..data")).unwrap();
        symlink("..data/c3.pem", root.join("c3.pem")).unwrap();
        symlink(&root, root.join("self")).unwrap();
        let within = |file: &str| -> Vec<String> {
            let names = names_on_the_way(&root.join(file)).into_iter();
            let names = names.filter(|name| name.folder.starts_with(&root));
            names
                .map(|name| name.folder.join(name.name))
                .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
                .collect()
        };
        let real = ["c3.pem", "..data", "data-1", "data-1/c3.pem"];
        assert_eq!(within("c3.pem"), real);
        assert_eq!(within("self/data-1/../c3.pem")[0], "self");
        assert_eq!(within("self/data-1/../c3.pem")[2..], real);
        assert_eq!(within("missing/c3.pem"), ["missing", "missing/c3.pem"]);
        let all = names_on_the_way(&root.join("c3.pem"));
        let files: Vec<_> = all.iter().filter(|name| name.is_file).collect();
        assert!(matches!(files[..], [file] if file.folder == root.join("data-1")));
        assert_eq!(all[0].folder, Path::new("/"));
        assert!(all.iter().all(|name| name.file == root.join("c3.pem")));
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().unwrap();
        symlink("circle", root.path().join("circle")).unwrap();
        assert!(names_on_the_way(&root.path().join("circle")).len() < 2 * MAX_LINKS);
    }
}
