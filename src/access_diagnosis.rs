//! Finds out why a path cannot be accessed: which component is missing or denies access, its owner and mode, and what to
//! do. The system's "Permission denied" names the whole path, while a folder in the middle usually denies access.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;

use crate::accounts;

/// What keeps this process from a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nothing exists there; `is_last`: the last component is missing.
    Missing { place: PathBuf, is_last: bool },
    /// A symbolic link whose target does not exist.
    DanglingLink { link: PathBuf, target: PathBuf },
    /// A loop of symbolic links.
    SymlinkLoop(PathBuf),
    /// A file where a folder is expected.
    NotAFolder(PathBuf),
    /// It exists, and denies access to this user.
    Closed { place: Owned, to: Use },
}

/// The access that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    /// The right to pass through a folder (x).
    Search,
    Write,
}

/// A path with its owner, group and mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) place: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    is_folder: bool,
}

impl Owned {
    pub(crate) fn new(place: &Path, meta: &Metadata) -> Self {
        Self {
            place: place.to_owned(),
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode() & 0o7777,
            is_folder: meta.is_dir(),
        }
    }
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_folder { "the folder " } else { "" };
        let (user, group) = (accounts::user(self.uid), accounts::group(self.gid));
        let place = self.place.display();
        write!(f, "{what}{place} ({user}:{group}, mode {:04o})", self.mode)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { place, is_last } => {
                let what = if *is_last { "" } else { "the folder " };
                write!(f, "{what}{} is not there", place.display())
            }
            Self::DanglingLink { link, target } => {
                let (link, target) = (link.display(), target.display());
                write!(f, "{link} is a link to {target}, which is not there")
            }
            Self::SymlinkLoop(place) => {
                write!(f, "{} is a link that leads back to itself", place.display())
            }
            Self::NotAFolder(place) => write!(f, "{} is not a folder", place.display()),
            Self::Closed { place, to } => {
                let to = match to {
                    Use::Read => "read",
                    Use::Search => "entered",
                    Use::Write => "written to",
                };
                write!(
                    f,
                    "{place} cannot be {to} by user {}",
                    accounts::effective_user()
                )
            }
        }
    }
}

impl Obstacle {
    /// What to do about it.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Missing { .. } => "correct the path, or put the file there".to_owned(),
            Self::DanglingLink { link, .. } => format!(
                "turn the link to where the file is: `ln -sfn TARGET {}`",
                link.display()
            ),
            Self::SymlinkLoop(link) => format!("remove the link {}", link.display()),
            Self::NotAFolder(_) => {
                "correct the path: what stands before a `/` is a folder".to_owned()
            }
            Self::Closed { place, to } => place.advice(*to),
        }
    }
}

impl Owned {
    /// How to make a file with a secret accessible to this user only.
    pub(crate) fn advice_for_secret(&self) -> String {
        let place = self.place.display();
        if self.uid == geteuid().as_raw() {
            return format!("it is yours: `chmod 600 {place}`");
        }
        format!(
            "`chown {} {place}` and `chmod 600 {place}`, or run this as user {}",
            accounts::effective_user(),
            accounts::user(self.uid)
        )
    }

    /// How to give this user the access.
    fn advice(&self, to: Use) -> String {
        let place = self.place.display();
        let (bit, letter) = match to {
            Use::Read => (0o4, if self.is_folder { "rx" } else { "r" }),
            Use::Search => (0o1, "x"),
            Use::Write => (0o2, "w"),
        };
        let (me, group) = (accounts::effective_user(), accounts::group(self.gid));
        if self.uid == geteuid().as_raw() {
            return format!("it is yours: `chmod u+{letter} {place}`");
        }
        if self.mode & (bit << 3) != 0 {
            return match accounts::is_process_group(self.gid) {
                false if accounts::is_member_of(self.gid) => format!(
                    "user {me} is in group {group}, but this session began before that: log in anew, or restart the service"
                ),
                false => format!(
                    "group {group} may: add user {me} to it (`usermod -aG {group} {me}`), and start the session or service anew"
                ),
                true => format!(
                    "its mode allows it: an ACL (`getfacl {place}`) or a security module of the kernel denies it"
                ),
            };
        }
        format!(
            "run this as user {}, or have the administrator open it to a group that {me} is in: `chgrp GROUP {place}` and `chmod g+{letter} {place}`",
            accounts::user(self.uid)
        )
    }
}

/// How many symbolic links Linux follows in one path (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// The first obstacle on `path`, its last component included. `None`: this process has access.
pub(crate) fn obstacle(path: &Path, uses: &[Use]) -> Option<Obstacle> {
    let path = std::path::absolute(path).ok()?;
    let mut place = path.clone();
    for _ in 0..=MAX_SYMLINKS {
        match obstacle_above(&place) {
            Some(Obstacle::Missing { .. }) if place != path => {
                let (link, target) = (path, place);
                return Some(Obstacle::DanglingLink { link, target });
            }
            None => {}
            closed => return closed,
        }
        let meta = match fs::symlink_metadata(&place) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound && place != path => {
                return Some(Obstacle::DanglingLink {
                    link: path,
                    target: place,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(Obstacle::Missing {
                    place,
                    is_last: true,
                });
            }
            Err(_) => return None,
        };
        if meta.is_symlink() {
            let target = fs::read_link(&place).ok()?;
            place = place.parent().unwrap_or(Path::new("/")).join(target);
            continue;
        }
        let closed = uses.iter().find(|to| !has_access(&place, **to))?;
        let place = Owned::new(&place, &meta);
        return Some(Obstacle::Closed { place, to: *closed });
    }
    Some(Obstacle::SymlinkLoop(path))
}

/// The first folder above `place` that is missing or denies access; links are followed.
fn obstacle_above(place: &Path) -> Option<Obstacle> {
    let mut above: Vec<_> = place.ancestors().skip(1).collect();
    above.reverse();
    for folder in above {
        match fs::metadata(folder) {
            Ok(meta) if !meta.is_dir() => return Some(Obstacle::NotAFolder(folder.to_owned())),
            Ok(meta) if !has_access(folder, Use::Search) => {
                let place = Owned::new(folder, &meta);
                return Some(Obstacle::Closed {
                    place,
                    to: Use::Search,
                });
            }
            Ok(_) => {}
            // A symbolic link in the middle may be dangling, or lead through a folder that denies access.
            Err(_) if fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink()) => {
                return obstacle(folder, &[Use::Search]);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let place = folder.to_owned();
                return Some(Obstacle::Missing {
                    place,
                    is_last: false,
                });
            }
            Err(_) => return None,
        }
    }
    None
}

/// Whether this process has the access, by its effective ids (faccessat2).
fn has_access(place: &Path, to: Use) -> bool {
    let access = match to {
        Use::Read => Access::READ_OK,
        Use::Search => Access::EXEC_OK,
        Use::Write => Access::WRITE_OK,
    };
    accessat(CWD, place, access, AtFlags::EACCESS).is_ok()
}

/// What it is if it is no regular file; `None` for a regular file.
pub(crate) fn other_than_file(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

#[cfg(test)]
#[path = "access_diagnosis_tests.rs"]
mod tests;
