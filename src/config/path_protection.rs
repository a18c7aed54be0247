//! Refuses a configuration of whose paths another user could change or read one that decides something or is secret. The
//! refusal names each file or folder, its owner and mode, and the command that mends it.

use std::path::PathBuf;

use rustix::process::geteuid;

use super::paths::{NamedPath, PathRole};
use super::service_users::ServiceProcess;
use super::{Config, ConfigError};
use crate::accounts;
use crate::owner_and_mode::{PathFault, faults_of};
use crate::truncated_list;

impl Config {
    /// Checks owner and mode of every path that the configuration names, of the folders and links on the way to each, and of
    /// the configuration file.
    ///
    /// # Errors
    /// Another user could change one of them, or read one that is secret.
    pub fn check_paths(&self) -> Result<(), ConfigError> {
        if geteuid().is_root() {
            // Who may own a file depends on them.
            self.account_of(ServiceProcess::Signer)?;
            self.account_of(ServiceProcess::FrontEnd)?;
        }
        self.check(&self.named_paths())
    }

    /// The same for the configuration file alone. It names programs that are run.
    ///
    /// # Errors
    /// Another user could change it.
    pub fn check_file(&self) -> Result<(), ConfigError> {
        let mut named = self.named_paths();
        named.retain(|named| named.role == PathRole::Configuration);
        self.check(&named)
    }

    /// The same for the configuration file, the anchors and the CRLs: what decides about trust, and leads to no secret.
    ///
    /// # Errors
    /// Another user could change one of them.
    pub fn check_trust_files(&self) -> Result<(), ConfigError> {
        let roles = [PathRole::Configuration, PathRole::Anchors, PathRole::Crl];
        let mut named = self.named_paths();
        named.retain(|named| roles.contains(&named.role));
        self.check(&named)
    }

    fn check(&self, named: &[NamedPath]) -> Result<(), ConfigError> {
        // Under Landlock, in which the signer checks some paths again, /etc/passwd cannot be read.
        accounts::private_group(geteuid().as_raw());
        let exposed = self.exposed(named);
        if exposed.is_empty() {
            return Ok(());
        }
        let texts: Vec<_> = exposed
            .iter()
            .map(|(role, path, fault)| match *path == fault.path {
                true => format!("{role}: {fault}"),
                false => format!("{role} ({}): {fault}", path.display()),
            })
            .collect();
        let commands: Vec<_> = exposed
            .iter()
            .filter_map(|(_, _, fault)| fault.command())
            .collect();
        let mut advice = Vec::new();
        if !commands.is_empty() {
            let commands = format!("`{}`", commands.join(" && "));
            let mut owners = exposed
                .iter()
                .filter_map(|(_, _, fault)| fault.foreign_owner());
            advice.push(match owners.next() {
                // Root would take them from a service, or a home folder from its user.
                Some(user) => {
                    format!("run this as user {user} if these are its files, or else {commands}")
                }
                None => commands,
            });
        }
        let moves = exposed.iter().map(|(_, _, fault)| fault);
        let moves = moves.filter(|fault| fault.command().is_none());
        advice.extend(moves.map(PathFault::advice));
        Err(ConfigError::Exposed {
            path: self.path.clone(),
            why: truncated_list::first_few(&texts, "; "),
            advice: advice.join("; "),
        })
    }

    /// What is wrong, once for each file, folder or link, with the first path that leads there.
    fn exposed(&self, named: &[NamedPath]) -> Vec<(PathRole, PathBuf, PathFault)> {
        let mut all: Vec<(PathRole, PathBuf, PathFault)> = Vec::new();
        for NamedPath {
            path,
            role,
            protection,
            ..
        } in named
        {
            let users = self.file_users(role);
            let found = protection.map(|protection| faults_of(path, protection, users));
            for fault in found.into_iter().flatten() {
                match all
                    .iter_mut()
                    .find(|(_, _, known)| known.path == fault.path)
                {
                    Some((_, _, known)) => known.merge(&fault),
                    None => all.push((role.clone(), path.clone(), fault)),
                }
            }
        }
        all
    }
}
