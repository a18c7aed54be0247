//! Diagnoses why this process cannot access a path: which component is missing or denies access, its owner and mode, and
//! what to do. The system's "Permission denied" is about the whole path, while a folder on it usually denies access.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::accounts::{self, Account};

/// Why this process cannot access a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// It does not exist. `is_last`: only the last component is missing.
    Missing { path: PathBuf, is_last: bool },
    /// A symbolic link whose target does not exist.
    DanglingLink { link: PathBuf, target: PathBuf },
    /// A loop of symbolic links.
    SymlinkLoop(PathBuf),
    /// A file where a folder is expected.
    NotAFolder(PathBuf),
    /// It exists, and this user has no access to it.
    Denied { path: OwnedPath, mode: AccessMode },
}

/// The access that is needed: the mode of access(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessMode {
    Read,
    /// To pass through a folder (x).
    Search,
    /// To run a program (x).
    Execute,
    Write,
}

/// A path with its owner, group and mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedPath {
    pub(crate) path: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    is_folder: bool,
}

impl OwnedPath {
    pub(crate) fn new(path: &Path, meta: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode() & 0o7777,
            is_folder: meta.is_dir(),
        }
    }
}

impl OwnedPath {
    pub(crate) fn belongs_to_root(&self) -> bool {
        self.uid == 0
    }
}

impl fmt::Display for OwnedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_folder { "the folder " } else { "" };
        let (user, group) = (accounts::user(self.uid), accounts::group(self.gid));
        let path = self.path.display();
        write!(f, "{what}{path} ({user}:{group}, mode {:04o})", self.mode)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path, is_last } => {
                let what = if *is_last { "" } else { "the folder " };
                write!(f, "{what}{} is not there", path.display())
            }
            Self::DanglingLink { link, target } => {
                let (link, target) = (link.display(), target.display());
                write!(f, "{link} is a link to {target}, which is not there")
            }
            Self::SymlinkLoop(path) => {
                write!(f, "{} is a link that leads back to itself", path.display())
            }
            Self::NotAFolder(path) => write!(f, "{} is not a folder", path.display()),
            Self::Denied { path, mode } => {
                let verb = match mode {
                    AccessMode::Read => "read",
                    AccessMode::Search => "entered",
                    AccessMode::Execute => "run",
                    AccessMode::Write => "written to",
                };
                write!(
                    f,
                    "{path} cannot be {verb} by user {}",
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
            Self::Denied { path, mode } => path.advice(*mode),
        }
    }
}

impl OwnedPath {
    /// How to make a file with a secret accessible to this user only.
    pub(crate) fn advice_for_secret(&self) -> String {
        let path = self.path.display();
        if self.uid == geteuid().as_raw() {
            return format!("it is yours: `chmod 600 {path}`");
        }
        format!(
            "`chown {} {path}` and `chmod 600 {path}`, or run this as user {}",
            accounts::effective_user(),
            accounts::user(self.uid)
        )
    }

    /// How to give this user the access.
    fn advice(&self, mode: AccessMode) -> String {
        let path = self.path.display();
        let (bit, letter) = match mode {
            AccessMode::Read => (0o4, if self.is_folder { "rx" } else { "r" }),
            AccessMode::Search | AccessMode::Execute => (0o1, "x"),
            AccessMode::Write => (0o2, "w"),
        };
        let (me, group) = (accounts::effective_user(), accounts::group(self.gid));
        if self.uid == geteuid().as_raw() {
            return format!("it is yours: `chmod u+{letter} {path}`");
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
                    "its mode allows it: an ACL (`getfacl {path}`) or a security module of the kernel denies it"
                ),
            };
        }
        format!(
            "run this as user {}, or have the administrator open it to a group that {me} is in: `chgrp GROUP {path}` and `chmod g+{letter} {path}`",
            accounts::user(self.uid)
        )
    }
}

/// How many symbolic links Linux follows in one path (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// The first obstacle on `path`, including its last component. `None`: this process has access.
pub(crate) fn obstacle(path: &Path, modes: &[AccessMode]) -> Option<Obstacle> {
    let path = std::path::absolute(path).ok()?;
    let mut current = path.clone();
    for _ in 0..=MAX_SYMLINKS {
        match obstacle_above(&current) {
            Some(Obstacle::Missing { .. }) if current != path => {
                let (link, target) = (path, current);
                return Some(Obstacle::DanglingLink { link, target });
            }
            None => {}
            found => return found,
        }
        let meta = match fs::symlink_metadata(&current) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound && current != path => {
                return Some(Obstacle::DanglingLink {
                    link: path,
                    target: current,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(Obstacle::Missing {
                    path: current,
                    is_last: true,
                });
            }
            Err(_) => return None,
        };
        if meta.is_symlink() {
            let target = fs::read_link(&current).ok()?;
            current = current.parent().unwrap_or(Path::new("/")).join(target);
            continue;
        }
        let denied = modes.iter().find(|mode| !has_access(&current, **mode))?;
        let path = OwnedPath::new(&current, &meta);
        return Some(Obstacle::Denied {
            path,
            mode: *denied,
        });
    }
    Some(Obstacle::SymlinkLoop(path))
}

/// The first folder above `path` that is missing or denies access. Links are followed.
fn obstacle_above(path: &Path) -> Option<Obstacle> {
    let mut above: Vec<_> = path.ancestors().skip(1).collect();
    above.reverse();
    for folder in above {
        match fs::metadata(folder) {
            Ok(meta) if !meta.is_dir() => return Some(Obstacle::NotAFolder(folder.to_owned())),
            Ok(meta) if !has_access(folder, AccessMode::Search) => {
                let path = OwnedPath::new(folder, &meta);
                return Some(Obstacle::Denied {
                    path,
                    mode: AccessMode::Search,
                });
            }
            Ok(_) => {}
            // A symbolic link on the path may be dangling, or lead through a folder that denies access.
            Err(_) if fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink()) => {
                return obstacle(folder, &[AccessMode::Search]);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = folder.to_owned();
                return Some(Obstacle::Missing {
                    path,
                    is_last: false,
                });
            }
            Err(_) => return None,
        }
    }
    None
}

/// Whether this process has the access, by its effective ids (faccessat2).
fn has_access(path: &Path, mode: AccessMode) -> bool {
    let access = match mode {
        AccessMode::Read => Access::READ_OK,
        AccessMode::Search | AccessMode::Execute => Access::EXEC_OK,
        AccessMode::Write => Access::WRITE_OK,
    };
    accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// Runs `look` with the ids of another user, as root: on a thread of its own, since the ids are a thread's.
pub(crate) fn as_user<T: Send>(
    account: &Account,
    look: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let on_thread = || {
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        let groups: Vec<_> = account.groups.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(look())
    };
    let ended = thread::scope(|scope| scope.spawn(on_thread).join());
    ended.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

/// The type of a file that is not a regular file; `None` for a regular file.
pub(crate) fn other_than_file(meta: &Metadata) -> Option<&'static str> {
    let file_type = meta.file_type();
    if file_type.is_file() {
        None
    } else if file_type.is_dir() {
        Some("a folder")
    } else if file_type.is_fifo() {
        Some("a pipe")
    } else if file_type.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

#[cfg(test)]
#[path = "access_diagnosis_tests.rs"]
mod tests;
