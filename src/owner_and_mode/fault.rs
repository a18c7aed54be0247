//! What other users could do with a file or folder, in a sentence, and the command that ends it.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::has_access_list;
use crate::accounts;
use crate::shell_quote::shell_quoted;

/// Folders in which every user may create files. Their mode is right, and a path in them is to be another.
const SHARED_FOLDERS: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"];

/// A file, folder or link that other users can change, or read though it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFault {
    /// Its path.
    pub path: PathBuf,
    /// What does not exist there, and could be created by others.
    missing: Option<PathBuf>,
    kind: Kind,
    uid: u32,
    gid: u32,
    mode: u32,
    /// The permission bits that it must not have.
    bits: u32,
    /// It belongs to a user other than root and the one whose it is to be.
    foreign_owner: bool,
    /// It is to have another owner, as whom else the process that needs it could not use it.
    needs_owner: bool,
    /// The uid of that owner.
    owner: u32,
    /// Of a secret: the gid of the group that is to read it.
    reading_group: Option<u32>,
    has_access_list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
}

impl PathFault {
    pub(super) fn new(
        path: &Path,
        meta: &Metadata,
        bits: u32,
        foreign_owner: bool,
        needs_owner: bool,
    ) -> Self {
        Self {
            path: path.to_owned(),
            missing: None,
            kind: match () {
                () if meta.is_symlink() => Kind::Link,
                () if meta.is_dir() => Kind::Folder,
                () => Kind::File,
            },
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode() & 0o7777,
            bits,
            foreign_owner,
            needs_owner,
            owner: geteuid().as_raw(),
            reading_group: None,
            has_access_list: bits & 0o070 != 0 && has_access_list(path),
        }
    }

    pub(super) fn of_missing(mut self, missing: &Path) -> Self {
        self.missing = Some(missing.to_owned());
        self
    }

    /// Whose it is to be, and which group is to read it if it is a secret.
    pub(super) fn with_owner(mut self, owner: u32, reading_group: Option<u32>) -> Self {
        self.owner = owner;
        self.reading_group = reading_group;
        self
    }

    /// Adds what is wrong with the same file by another protection.
    pub fn merge(&mut self, other: &Self) {
        self.bits |= other.bits;
        self.foreign_owner |= other.foreign_owner;
        self.needs_owner |= other.needs_owner;
        self.reading_group = self.reading_group.or(other.reading_group);
    }

    /// The command that mends it, for a shell. `None`: every user may create files in this folder, so the path is to be
    /// another.
    pub fn command(&self) -> Option<String> {
        if !self.foreign_owner && self.is_shared_folder() {
            return None;
        }
        let me = geteuid().as_raw();
        let path = shell_quoted(&self.path.to_string_lossy());
        if let Some(group) = self.reading_group {
            let (owner, group) = (accounts::user(self.owner), accounts::group(group));
            return Some(format!("chown {owner}:{group} {path} && chmod 640 {path}"));
        }
        let mut commands = Vec::new();
        let by_root = if me == 0 { "" } else { "sudo " };
        if self.needs_owner {
            let link = if self.kind == Kind::Link { "-h " } else { "" };
            let user = accounts::user(self.owner);
            commands.push(format!("{by_root}chown {link}{user} {path}"));
        }
        if self.bits != 0 {
            // After the chown it belongs to this user.
            let is_mine = self.uid == me || self.needs_owner;
            let by_root = if is_mine { "" } else { by_root };
            commands.push(format!("{by_root}chmod {} {path}", self.mode_change()));
        }
        Some(commands.join(" && "))
    }

    /// The other user to whom it belongs.
    pub fn foreign_owner(&self) -> Option<String> {
        self.foreign_owner.then(|| accounts::user(self.uid))
    }

    fn is_shared_folder(&self) -> bool {
        SHARED_FOLDERS
            .iter()
            .any(|shared| self.path == Path::new(shared))
    }

    /// What to do about it: the command, or another path.
    pub fn advice(&self) -> String {
        match self.command() {
            Some(command) => format!("`{command}`"),
            None => format!(
                "every user may create files in {0}: make a folder of your own there (`mkdir -m 700 {0}/NAME`), and name a path in it",
                self.path.display()
            ),
        }
    }

    /// The symbolic mode of chmod(1) that takes the bits away. A secret is for its owner alone.
    fn mode_change(&self) -> String {
        let (group, others) = (self.bits >> 3 & 0o7, self.bits & 0o7);
        let letters = |bits: u32| match bits {
            0o2 => "w",
            _ => "rwx",
        };
        match (group, others) {
            (0, others) => format!("o-{}", letters(others)),
            (group, 0) => format!("g-{}", letters(group)),
            (group, others) => format!("go-{}", letters(group | others)),
        }
    }

    /// What its permission bits let others do.
    fn access(&self) -> Option<String> {
        let verb = |bits: u32| match bits {
            bits if bits & 0o2 != 0 => "write to it",
            bits if bits & 0o4 != 0 => "read it",
            _ => "use it",
        };
        let group_name = match self.has_access_list {
            true => "its group, or whom its access control list names,",
            false => "its group",
        };
        let (group, others) = (self.bits >> 3 & 0o7, self.bits & 0o7);
        match (group, others) {
            (0, 0) => None,
            (group, 0) => Some(format!("{group_name} may {}", verb(group))),
            (group, others) if group & !others & 0o2 != 0 => Some(format!(
                "{group_name} may {}, and everybody may {}",
                verb(group),
                verb(others)
            )),
            (_, others) => Some(format!("everybody may {}", verb(others))),
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let (user, group) = (accounts::user(self.uid), accounts::group(self.gid));
        match self.kind {
            Kind::Link => write!(f, "the link {path} ({user}:{group})")?,
            Kind::Folder => write!(
                f,
                "the folder {path} ({user}:{group}, mode {:04o})",
                self.mode
            )?,
            Kind::File => write!(f, "{path} ({user}:{group}, mode {:04o})", self.mode)?,
        }
        let owner = self
            .foreign_owner
            .then(|| "belongs to another user".to_owned());
        let causes: Vec<_> = owner.into_iter().chain(self.access()).collect();
        match causes.as_slice() {
            [owner, access] => write!(f, " {owner}, and {access}")?,
            [only] if self.foreign_owner => write!(f, " {only}")?,
            causes => write!(f, ": {}", causes.concat())?,
        }
        match &self.missing {
            Some(missing) => write!(f, ", and {} is not there yet", missing.display()),
            None => Ok(()),
        }
    }
}
