//! The rule of ownership: nobody but root and the user whose file it is to be, as a rule the effective user of this process,
//! may be able to change what decides something, nor anything on the way to it. Who can rename a folder or turn a link on a path chooses the file that is opened
//! there: a module that gets the PIN, a program that is run, trust anchors.

mod fault;
mod path_walk;

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::lgetxattr;
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::accounts;
pub use fault::PathFault;
use path_walk::{Component, Position, walk};

/// What other users must not be able to do with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// To change it, or to put another one in its place.
    Unchanged,
    /// That, and to read it.
    Secret,
    /// As [`Protection::Secret`], of a credential that systemd made: an ACL lets the service's user read it, which the mode
    /// shows as the group's r.
    Credential,
    /// As [`Protection::Unchanged`], but a group may write to it.
    SharedByGroup,
    /// To put another one in its place. Its own owner and mode are somebody else's business.
    Place,
    /// Of a socket that this process makes: to put another socket there. So nobody else may write to its folder, sticky or
    /// not, since the place is free while the process does not run.
    Socket,
}

impl Protection {
    /// The permission bits that the file or folder itself must not have.
    fn forbidden_bits(self) -> u32 {
        match self {
            Self::Unchanged => WRITABLE_BY_OTHERS,
            Self::Secret => 0o077,
            Self::Credential => 0o037,
            Self::SharedByGroup => 0o002,
            Self::Place | Self::Socket => 0,
        }
    }
}

const WRITABLE_BY_OTHERS: u32 = 0o022;
const WRITABLE_BY_GROUP: u32 = 0o020;
const READABLE_BY_GROUP: u32 = 0o040;
const STICKY: u32 = 0o1000;

/// Whose a file may be, and who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileUsers {
    /// The uid of the user to whom it may belong beside root; 0 where it must belong to root.
    pub owner: u32,
    /// The uid of the process that reads it.
    pub reader: u32,
}

impl FileUsers {
    /// Of a file that this process uses.
    pub fn of_this_process() -> Self {
        Self::of(geteuid().as_raw())
    }

    /// Of a file that a process of this user uses.
    pub fn of(uid: u32) -> Self {
        Self {
            owner: uid,
            reader: uid,
        }
    }

    /// Of a file that must be root's, and that a process of this user reads.
    pub fn of_root_read_by(uid: u32) -> Self {
        Self {
            owner: 0,
            reader: uid,
        }
    }
}

/// In some distributions (Ubuntu) a group of the system's log daemon may write to it.
const LOG_FOLDER: &str = "/var/log";

/// What other users could do with `path` against its protection: the faults of the file or folder itself first, then those of
/// the folders and links on the way to it, up to the root.
///
/// A path that does not exist is judged by the nearest folder that does: whoever may write there can create it. What this
/// process cannot look at is not judged: it cannot use it either.
pub fn faults(path: &Path, protection: Protection) -> Vec<PathFault> {
    faults_of(path, protection, FileUsers::of_this_process())
}

/// The same for a file of other users than this process's.
pub fn faults_of(path: &Path, protection: Protection, users: FileUsers) -> Vec<PathFault> {
    if protection == Protection::Socket {
        let folder = path.parent().unwrap_or(path);
        return faults_of(folder, Protection::Unchanged, users);
    }
    let components = walk(path).into_iter();
    components
        .filter_map(|component| judge(path, &component, protection, users))
        .collect()
}

/// Whether anything on the way to `path`, or what is there, lies in this folder, whose own links are resolved: whoever may
/// write to the folder could then turn the path to something else.
pub fn passes_within(path: &Path, folder: &Path) -> bool {
    let lies_within = |at: &Path| at != folder && at.starts_with(folder);
    // Where the folder itself is missing, what follows on the path would be made in it.
    let would_lie_within = |missing: &PathBuf| missing.starts_with(folder);
    walk(path).iter().any(|component| {
        let missing = match &component.position {
            Position::AboveMissing(missing) => Some(missing),
            Position::Target | Position::Above => None,
        };
        lies_within(&component.path) || missing.is_some_and(would_lie_within)
    })
}

/// What this user owns of the path: the file or folder at its end, and the folders and links on the way to it.
pub fn owned_on_the_way(path: &Path, uid: u32) -> Vec<(PathBuf, Metadata)> {
    let owned = walk(path)
        .into_iter()
        .filter(|component| component.meta.uid() == uid);
    owned
        .map(|component| (component.path, component.meta))
        .collect()
}

/// What other users could do with an open file against its protection. The way to it is not judged.
pub fn fault_of_file(path: &Path, meta: &Metadata, protection: Protection) -> Option<PathFault> {
    fault_of_file_of(path, meta, protection, FileUsers::of_this_process())
}

/// The same for a file of other users than this process's.
pub fn fault_of_file_of(
    path: &Path,
    meta: &Metadata,
    protection: Protection,
    users: FileUsers,
) -> Option<PathFault> {
    fault(path, meta, protection, protection.forbidden_bits(), users)
}

fn judge(
    path: &Path,
    component: &Component,
    protection: Protection,
    users: FileUsers,
) -> Option<PathFault> {
    let Component {
        path: at,
        meta,
        position,
    } = component;
    match position {
        Position::Target if protection == Protection::Place => None,
        // A folder or a pipe in place of a secret is a mistake that whoever reads it explains.
        Position::Target if !meta.is_file() => {
            let bits = protection.forbidden_bits() & WRITABLE_BY_OTHERS;
            fault(at, meta, Protection::Unchanged, bits, users)
        }
        Position::Target => fault(at, meta, protection, protection.forbidden_bits(), users),
        Position::AboveMissing(missing) if protection != Protection::Place => {
            let mut bits = WRITABLE_BY_OTHERS;
            if is_log_folder(at, meta) && path.parent() != Some(at) {
                bits &= !WRITABLE_BY_GROUP;
            }
            let found = fault(at, meta, Protection::Unchanged, bits, users);
            found.map(|fault| fault.of_missing(missing))
        }
        Position::Above | Position::AboveMissing(_) => {
            let bits = match () {
                // Other users cannot rename or remove what belongs to this user or to root.
                () if meta.is_dir() && meta.mode() & STICKY != 0 => 0,
                () if is_log_folder(at, meta) && path.parent() != Some(at) => 0o002,
                () => WRITABLE_BY_OTHERS,
            };
            fault(at, meta, Protection::Unchanged, bits, users)
        }
    }
}

fn is_log_folder(path: &Path, meta: &Metadata) -> bool {
    path == Path::new(LOG_FOLDER) && meta.uid() == 0
}

fn fault(
    path: &Path,
    meta: &Metadata,
    protection: Protection,
    forbidden: u32,
    users: FileUsers,
) -> Option<PathFault> {
    let FileUsers { owner, reader } = users;
    let foreign_owner = meta.uid() != 0 && meta.uid() != owner;
    // A link has no mode of its own, and that of a device is not about its content.
    let has_mode = !meta.is_symlink() && !meta.file_type().is_char_device();
    let mut bits = match has_mode {
        true => meta.mode() & forbidden,
        false => 0,
    };
    let private_use = match protection {
        // Of the owner's files.
        Protection::Unchanged => bits & 0o077 == WRITABLE_BY_GROUP && is_private(meta.gid(), owner),
        // Root's file, which its reader cannot change.
        Protection::Secret => {
            bits & 0o077 == READABLE_BY_GROUP
                && meta.uid() != reader
                && is_private(meta.gid(), reader)
        }
        _ => false,
    };
    if private_use && !has_access_list(path) {
        bits = 0;
    }
    if !foreign_owner && bits == 0 {
        return None;
    }
    // Root's file of mode 600 could not be read.
    let needs_owner = foreign_owner || (protection == Protection::Secret && meta.uid() != owner);
    let found = PathFault::new(path, meta, bits, foreign_owner, needs_owner);
    let group = match protection {
        Protection::Secret if owner != reader => accounts::private_group(reader),
        _ => None,
    };
    Some(found.with_owner(owner, group))
}

/// Whether nobody but this user is in the group.
fn is_private(gid: u32, uid: u32) -> bool {
    accounts::private_group(uid) == Some(gid)
}

/// Whether a POSIX access control list names further users or groups. The mode then shows its mask as the group's bits: what
/// the mask does not allow, nobody who is named there has (acl(5)).
fn has_access_list(path: &Path) -> bool {
    match lgetxattr(path, "system.posix_acl_access", &mut [0u8; 128]) {
        Ok(length) => length > 0,
        // It is longer than that.
        Err(error) => error == Errno::RANGE,
    }
}

#[cfg(test)]
#[path = "owner_and_mode/tests.rs"]
mod tests;
