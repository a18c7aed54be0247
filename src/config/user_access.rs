//! Whether the users that the configuration names for signer and front end can read and write what these need: what root can
//! do says nothing of that.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::paths::PathRole;
use super::proxy::AccessLog;
use super::service_users::ServiceProcess;
use super::{Config, ConfigError};
use crate::access_diagnosis::{AccessMode, Obstacle, as_user, obstacle};
use crate::accounts;
use crate::shell_quote::shell_quoted;
use crate::truncated_list;

impl Config {
    /// Checks, as root, that the named users have the access that their processes need. What does not exist is none of its
    /// business.
    ///
    /// # Errors
    /// One has not, or cannot be had.
    pub fn check_access(&self) -> Result<(), ConfigError> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let mut found = Vec::new();
        for process in [ServiceProcess::Signer, ServiceProcess::FrontEnd] {
            let Some(account) = self.account_of(process)? else {
                continue;
            };
            let wanted = self.wanted_by(process);
            let denied = as_user(&account, || {
                let denied = wanted.iter().filter_map(|(role, path, mode)| {
                    let obstacle = obstacle(path, &[*mode])?;
                    let command = self.command_for(&obstacle, role, account.uid)?;
                    Some((role.clone(), obstacle.to_string(), command))
                });
                denied.collect::<Vec<_>>()
            });
            found.extend(denied.map_err(|error| {
                let advice = "run this as root".to_owned();
                self.refused(process, error.to_string(), advice)
            })?);
        }
        // One folder may be in the way of several files.
        found.dedup_by(|(_, text, _), (_, before, _)| text == before);
        if found.is_empty() {
            return Ok(());
        }
        let texts: Vec<_> = found
            .iter()
            .map(|(role, text, _)| format!("{role}: {text}"))
            .collect();
        let mut commands: Vec<_> = found.into_iter().map(|(_, _, command)| command).collect();
        commands.sort_unstable();
        commands.dedup();
        Err(ConfigError::NoAccess {
            path: self.path.clone(),
            why: truncated_list::first_few(&texts, "; "),
            advice: format!("`{}`", commands.join(" && ")),
        })
    }

    /// What a process opens.
    fn wanted_by(&self, process: ServiceProcess) -> Vec<(PathRole, PathBuf, AccessMode)> {
        let mut wanted = Vec::new();
        for named in self.named_paths() {
            let is_wanted = match process {
                ServiceProcess::Signer => matches!(
                    named.role,
                    PathRole::Certificate
                        // For handshakes of TLS 1.2.
                        | PathRole::Anchors
                        | PathRole::Crl
                        | PathRole::Module
                        | PathRole::PinFile
                        | PathRole::PinProgram
                        | PathRole::PinArgument
                        | PathRole::StateDir
                        | PathRole::Ledger
                ),
                ServiceProcess::FrontEnd => matches!(
                    named.role,
                    PathRole::Certificate
                        | PathRole::Anchors
                        | PathRole::Crl
                        | PathRole::CallerToken
                ),
            };
            let mode = match named.role {
                PathRole::StateDir | PathRole::Ledger => AccessMode::Write,
                _ => AccessMode::Read,
            };
            // A file that is to be made takes a folder that may be written to.
            let path = match (mode, named.path.parent()) {
                (AccessMode::Write, Some(folder)) if !named.path.exists() => folder.to_owned(),
                _ => named.path,
            };
            if is_wanted {
                wanted.push((named.role, path, mode));
            }
        }
        let log = self.proxy.as_ref().map(|proxy| &proxy.access_log);
        if let (ServiceProcess::FrontEnd, Some(AccessLog::File(log))) = (process, log) {
            let folder = log.parent().unwrap_or(log).to_owned();
            wanted.push((PathRole::AccessLog, folder, AccessMode::Write));
            wanted.push((PathRole::AccessLog, log.clone(), AccessMode::Write));
        }
        wanted
    }

    /// The command that gives a process of the user the access. `None`: access is not what is missing.
    fn command_for(&self, obstacle: &Obstacle, role: &PathRole, uid: u32) -> Option<String> {
        let Obstacle::Denied { path, mode } = obstacle else {
            return None;
        };
        let quoted = |path: &Path| shell_quoted(&path.to_string_lossy());
        let (at, user) = (quoted(&path.path), accounts::user(uid));
        Some(match (mode, role) {
            (AccessMode::Search, _) => format!("chmod o+x {at}"),
            (AccessMode::Write, _) => format!("chown {user} {at} && chmod u+rwX {at}"),
            (AccessMode::Read, PathRole::CallerToken) => {
                format!("chown root:{} {at} && chmod 640 {at}", group_of(uid))
            }
            (AccessMode::Read, PathRole::PinFile) => {
                format!("chown {user} {at} && chmod 600 {at}")
            }
            (AccessMode::Read, PathRole::PinProgram | PathRole::PinArgument) => {
                format!("chgrp {} {at} && chmod g+rX {at}", group_of(uid))
            }
            (AccessMode::Read, _) => format!("chmod o+r {at}"),
        })
    }
}

fn group_of(uid: u32) -> String {
    accounts::private_group(uid).map_or_else(|| accounts::user(uid), accounts::group)
}
