//! Why a file is out of reach: which place on the way to it is missing or closed, whose it is, and what
//! opens it. "Permission denied" names the end of a path; what denies is mostly a folder in the middle.

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
    /// Nothing is there.
    Missing { place: PathBuf, is_last: bool },
    /// A link that leads nowhere.
    DanglingLink { link: PathBuf, target: PathBuf },
    /// Links that lead in a circle.
    LinksInACircle(PathBuf),
    /// A file where a folder has to be.
    NotAFolder(PathBuf),
    /// It is there, and not for this user.
    Closed { place: Owned, to: Use },
}

/// What a place is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    /// To go through a folder.
    Search,
    Write,
}

/// A place, and whom it is for.
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
            Self::LinksInACircle(place) => {
                write!(f, "{} is a link that leads back to itself", place.display())
            }
            Self::NotAFolder(place) => write!(f, "{} is not a folder", place.display()),
            Self::Closed { place, to } => {
                let to = match to {
                    Use::Read => "read",
                    Use::Search => "entered",
                    Use::Write => "written to",
                };
                write!(f, "{place} cannot be {to} by user {}", accounts::me())
            }
        }
    }
}

impl Obstacle {
    /// What opens the way.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Missing { .. } => "correct the path, or put the file there".to_owned(),
            Self::DanglingLink { link, .. } => format!(
                "turn the link to where the file is: `ln -sfn TARGET {}`",
                link.display()
            ),
            Self::LinksInACircle(link) => format!("remove the link {}", link.display()),
            Self::NotAFolder(_) => {
                "correct the path: what stands before a `/` is a folder".to_owned()
            }
            Self::Closed { place, to } => place.advice(*to),
        }
    }
}

impl Owned {
    /// What makes a file this user's and nobody else's.
    pub(crate) fn advice_for_a_secret(&self) -> String {
        let place = self.place.display();
        if self.uid == geteuid().as_raw() {
            return format!("it is yours: `chmod 600 {place}`");
        }
        format!(
            "`chown {} {place}` and `chmod 600 {place}`, or run this as user {}",
            accounts::me(),
            accounts::user(self.uid)
        )
    }

    fn advice(&self, to: Use) -> String {
        let place = self.place.display();
        let (bit, letter) = match to {
            Use::Read => (0o4, if self.is_folder { "rx" } else { "r" }),
            Use::Search => (0o1, "x"),
            Use::Write => (0o2, "w"),
        };
        let (me, group) = (accounts::me(), accounts::group(self.gid));
        if self.uid == geteuid().as_raw() {
            return format!("it is yours: `chmod u+{letter} {place}`");
        }
        if self.mode & (bit << 3) != 0 {
            return match accounts::acts_in(self.gid) {
                false if accounts::belongs_to(self.gid) => format!(
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

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// The first obstacle on the way to `path` and at its end. `None`: nothing keeps this process from it.
pub(crate) fn obstacle(path: &Path, uses: &[Use]) -> Option<Obstacle> {
    let path = std::path::absolute(path).ok()?;
    let mut place = path.clone();
    for _ in 0..=MOST_LINKS {
        match on_the_way_to(&place) {
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
        let closed = uses.iter().find(|to| !open_to(&place, **to))?;
        let place = Owned::new(&place, &meta);
        return Some(Obstacle::Closed { place, to: *closed });
    }
    Some(Obstacle::LinksInACircle(path))
}

/// The first folder above `place` that is missing or closed; links among them are followed.
fn on_the_way_to(place: &Path) -> Option<Obstacle> {
    let mut above: Vec<_> = place.ancestors().skip(1).collect();
    above.reverse();
    for folder in above {
        match fs::metadata(folder) {
            Ok(meta) if !meta.is_dir() => return Some(Obstacle::NotAFolder(folder.to_owned())),
            Ok(meta) if !open_to(folder, Use::Search) => {
                let place = Owned::new(folder, &meta);
                return Some(Obstacle::Closed {
                    place,
                    to: Use::Search,
                });
            }
            Ok(_) => {}
            // A link in the middle may lead nowhere, or through what is closed.
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

fn open_to(place: &Path, to: Use) -> bool {
    let access = match to {
        Use::Read => Access::READ_OK,
        Use::Search => Access::EXEC_OK,
        Use::Write => Access::WRITE_OK,
    };
    accessat(CWD, place, access, AtFlags::EACCESS).is_ok()
}

/// What stands in the place of a file, in a word; `None` for a file.
pub(crate) fn no_file(meta: &Metadata) -> Option<&'static str> {
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
#[path = "path_access_tests.rs"]
mod tests;
