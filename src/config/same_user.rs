//! Where signer and front end are one user, only the filter of system calls keeps a front end that was taken over from changing
//! modes of that user's files, and from renaming what is in that user's folders: so nothing on the way to PIN, module and
//! configuration may belong to that user, or the configuration accepts it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::geteuid;

use super::paths::{NamedPath, PathRole};
use super::{Config, ConfigError};
use crate::accounts;
use crate::owner_and_mode::owned_on_the_way;
use crate::shell_quote::shell_quoted;
use crate::truncated_list;

/// What the front end would own of the way to a path.
struct Owned {
    named: NamedPath,
    at: PathBuf,
    meta: Metadata,
}

impl Config {
    /// Checks that a front end of this user would own nothing that leads to PIN, module and configuration.
    ///
    /// # Errors
    /// It would.
    pub(super) fn check_owners(&self, front_end: u32) -> Result<(), ConfigError> {
        let owned = self.owned_by(front_end);
        if owned.is_empty() {
            return Ok(());
        }
        let texts: Vec<_> = owned.iter().map(Owned::text).collect();
        let (mut commands, mut advice) = (Vec::new(), Vec::new());
        for found in &owned {
            match self.is_to_stay(found, front_end) {
                true => advice.push(format!(
                    "move {} out of {} into a folder of root, such as /etc/hsm-mtls, and name it there",
                    found.named.role,
                    found.at.display()
                )),
                false => commands.push(found.command_that_gives_to_root(front_end)),
            }
        }
        if !commands.is_empty() {
            advice.insert(0, format!("`{}`", commands.join(" && ")));
        }
        Err(ConfigError::SameUser {
            path: self.path.clone(),
            user: accounts::user(front_end),
            owned: truncated_list::first_few(&texts, ", "),
            advice: advice.join("; "),
        })
    }

    /// The files, and the folders and links on the way to them, each once. On a file system that is mounted for reading only,
    /// as systemd's credentials are, an owner can change neither modes nor names.
    fn owned_by(&self, uid: u32) -> Vec<Owned> {
        let mut all: Vec<Owned> = Vec::new();
        for named in self.named_paths() {
            let leads_to_pin = matches!(
                named.role,
                PathRole::Configuration
                    | PathRole::Module
                    | PathRole::PinFile
                    | PathRole::PinCredential
                    | PathRole::PinProgram
                    | PathRole::PinArgument
            );
            // An argument of a program may be no path.
            if !leads_to_pin || named.protection.is_none() {
                continue;
            }
            for (at, meta) in owned_on_the_way(&named.path, uid) {
                let is_known = all.iter().any(|known| known.at == at);
                if !is_known && !is_on_read_only_mount(&at, &meta) {
                    let named = named.clone();
                    all.push(Owned { named, at, meta });
                }
            }
        }
        all
    }

    /// Whether what is owned cannot be root's: a home folder, or one in which the service makes files.
    fn is_to_stay(&self, owned: &Owned, uid: u32) -> bool {
        let home = accounts::account(&accounts::user(uid)).map(|account| account.home);
        let is_home = home.is_some_and(|home| home.starts_with(&owned.at));
        let is_written = |named: &NamedPath| {
            let is_made_there = match named.role {
                // Beside it, their older versions are made.
                PathRole::Ledger | PathRole::AccessLog => true,
                PathRole::StateDir => !named.path.exists(),
                _ => false,
            };
            is_made_there && named.path.parent() == Some(&*owned.at)
        };
        owned.meta.is_dir() && (is_home || self.named_paths().iter().any(is_written))
    }
}

impl Owned {
    fn text(&self) -> String {
        let (role, path) = (&self.named.role, self.named.path.display());
        let at = self.at.display();
        match () {
            () if self.at == self.named.path && !self.meta.is_symlink() => {
                format!("{role} ({path})")
            }
            () if self.meta.is_dir() => format!("the folder {at} on the way to {role} ({path})"),
            () if self.meta.is_symlink() => format!("the link {at} on the way to {role} ({path})"),
            () => format!("{at}, to which {role} ({path}) leads"),
        }
    }

    /// The command that gives it to root, and leaves its reader the right to read it.
    fn command_that_gives_to_root(&self, reader: u32) -> String {
        let path = shell_quoted(&self.at.to_string_lossy());
        let sudo = if geteuid().is_root() { "" } else { "sudo " };
        if self.meta.is_symlink() {
            return format!("{sudo}chown -h root {path}");
        }
        let is_secret = matches!(self.named.role, PathRole::PinFile | PathRole::PinCredential);
        let (is_folder, mode) = (self.meta.is_dir(), self.meta.mode());
        let is_open = match is_folder {
            true => mode & 0o001 != 0,
            false => !is_secret && mode & 0o004 != 0,
        };
        if is_open {
            return format!("{sudo}chown root {path}");
        }
        // A group that others are in is refused where the PIN is read.
        let group = accounts::private_group(reader);
        let group = group.map_or_else(|| accounts::user(reader), accounts::group);
        let mode = match mode & 0o100 {
            0 => "640",
            _ => "750",
        };
        format!("{sudo}chown root:{group} {path} && {sudo}chmod {mode} {path}")
    }
}

fn is_on_read_only_mount(path: &Path, meta: &Metadata) -> bool {
    // A link's own mount is that of the folder in which it is.
    let at = match path.parent() {
        Some(folder) if meta.is_symlink() => folder,
        _ => path,
    };
    statvfs(at).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}
