//! Whether the users that the configuration names for signer and front end can read and write what these need: what root can
//! do says nothing of that. The commands that are advised never give away a folder of root's that the configuration does not
//! name: it may be the system's.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::paths::{NamedPath, PathRole};
use super::service_users::ServiceProcess;
use super::{Config, ConfigError};
use crate::access_diagnosis::{AccessMode, Obstacle, as_user, obstacle};
use crate::accounts;
use crate::shell_quote::shell_quoted;
use crate::truncated_list;

/// What to do about an obstacle.
enum Remedy {
    Command(String),
    /// What the operator has to decide.
    Text(String),
}

/// What a process opens.
struct Wanted {
    role: PathRole,
    /// As the configuration has it.
    named: PathBuf,
    path: PathBuf,
    mode: AccessMode,
}

impl Config {
    /// Checks, as root, that the named users have the access that their processes need. What does not exist, and what these
    /// do not make themselves, is none of its business.
    ///
    /// # Errors
    /// One has not, or cannot be had; or `state_dir` is not set, whose default is another folder for each user.
    pub fn check_access(&self) -> Result<(), ConfigError> {
        self.check_state_dir()?;
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
                let denied = wanted.iter().filter_map(|wanted| {
                    let obstacle = wanted.obstacle()?;
                    Some((wanted, obstacle.to_string(), obstacle))
                });
                denied.collect::<Vec<_>>()
            });
            let denied = denied.map_err(|error| {
                let advice = "run this as root".to_owned();
                self.refused(process, error.to_string(), advice)
            })?;
            let told = denied.into_iter().filter_map(|(wanted, text, obstacle)| {
                let remedy = wanted.remedy(&obstacle, account.uid)?;
                Some((format!("{}: {text}", wanted.role), text, remedy))
            });
            found.extend(told);
        }
        // One folder may be in the way of several files.
        found.dedup_by(|(_, text, _), (_, before, _)| text == before);
        if found.is_empty() {
            return Ok(());
        }
        let (mut texts, mut commands, mut advice) = (Vec::new(), Vec::new(), Vec::new());
        for (text, _, remedy) in found {
            texts.push(text);
            match remedy {
                Remedy::Command(command) => commands.push(command),
                Remedy::Text(text) => advice.push(text),
            }
        }
        for list in [&mut commands, &mut advice] {
            list.sort_unstable();
            list.dedup();
        }
        if !commands.is_empty() {
            advice.insert(0, format!("`{}`", commands.join(" && ")));
        }
        Err(ConfigError::NoAccess {
            path: self.path.clone(),
            why: truncated_list::first_few(&texts, "; "),
            advice: advice.join("; "),
        })
    }

    /// Checks that a signer with a user of its own is told its folder: the default is in the home of whoever runs a command.
    pub(super) fn check_state_dir(&self) -> Result<(), ConfigError> {
        match self.user_of(ServiceProcess::Signer) {
            Some(user) if self.token.state_dir.is_none() => Err(self.refused(
                ServiceProcess::Signer,
                "then `state_dir` of [[token]] has to be set: its default is another folder for each user",
                format!(
                    "write state_dir = \"/var/lib/hsm-mtls\" in [[token]], a folder of that user: \
                     `install -d -o {user} -m 700 /var/lib/hsm-mtls`"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn wanted_by(&self, process: ServiceProcess) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for named in self.named_paths() {
            let mode = match process {
                ServiceProcess::Signer => mode_of_signer(&named),
                ServiceProcess::FrontEnd => mode_of_front_end(&named),
            };
            let NamedPath { path, role, .. } = named;
            if let Some(mode) = mode {
                // Older versions of the access log are made beside it.
                let folder = path.parent().filter(|_| role == PathRole::AccessLog);
                wanted.extend(folder.map(|folder| Wanted {
                    role: role.clone(),
                    named: path.clone(),
                    path: folder.to_owned(),
                    mode,
                }));
                let named = path.clone();
                wanted.push(Wanted {
                    role,
                    named,
                    path,
                    mode,
                });
            }
        }
        wanted
    }
}

/// The access that the signer needs; as its user, the other commands run too.
fn mode_of_signer(named: &NamedPath) -> Option<AccessMode> {
    let of_file_or_folder = match named.path.is_dir() {
        true => AccessMode::Search,
        false => AccessMode::Read,
    };
    match named.role {
        // Anchors and CRLs are for handshakes of TLS 1.2.
        PathRole::Certificate
        | PathRole::Sig4Certificate
        | PathRole::Anchors
        | PathRole::Crl
        | PathRole::Module
        | PathRole::PinFile
        | PathRole::WorkingDirFile
        | PathRole::Attestation => Some(AccessMode::Read),
        PathRole::PinProgram | PathRole::HeadProgram => Some(AccessMode::Execute),
        PathRole::WorkingDir => Some(AccessMode::Search),
        PathRole::SignerFolder => Some(of_file_or_folder),
        // Of others it is not known whether they are paths, and what for.
        PathRole::PinArgument | PathRole::HeadArgument | PathRole::ModuleVariable(_) => {
            named.protection.map(|_| of_file_or_folder)
        }
        PathRole::StateDir | PathRole::Ledger | PathRole::HeadSocket => Some(AccessMode::Write),
        // The supervisor hands over the configuration and the sockets. The credentials here are those of this command.
        PathRole::Configuration
        | PathRole::PinCredential
        | PathRole::Socket
        | PathRole::AccessLog
        | PathRole::CallerToken
        | PathRole::ProxyCredentials
        | PathRole::ProxyAnchors => None,
    }
}

fn mode_of_front_end(named: &NamedPath) -> Option<AccessMode> {
    match named.role {
        PathRole::Certificate
        | PathRole::Sig4Certificate
        | PathRole::Anchors
        | PathRole::Crl
        | PathRole::CallerToken
        | PathRole::ProxyCredentials
        | PathRole::ProxyAnchors => Some(AccessMode::Read),
        PathRole::AccessLog => Some(AccessMode::Write),
        PathRole::Configuration
        | PathRole::Module
        | PathRole::PinFile
        | PathRole::PinCredential
        | PathRole::PinProgram
        | PathRole::PinArgument
        | PathRole::StateDir
        | PathRole::WorkingDir
        | PathRole::WorkingDirFile
        | PathRole::ModuleVariable(_)
        | PathRole::SignerFolder
        | PathRole::Ledger
        | PathRole::HeadSocket
        | PathRole::HeadProgram
        | PathRole::HeadArgument
        | PathRole::Socket
        | PathRole::Attestation => None,
    }
}

impl Wanted {
    /// What is in the way of this thread's user. What is to be made takes a folder that may be written to.
    fn obstacle(&self) -> Option<Obstacle> {
        let makes = matches!(
            self.role,
            PathRole::StateDir | PathRole::Ledger | PathRole::AccessLog
        );
        match obstacle(&self.path, &[self.mode])? {
            Obstacle::Missing { path, .. } if makes => {
                obstacle(path.parent()?, &[AccessMode::Write])
            }
            found => Some(found),
        }
    }

    /// What gives a process of the user the access. `None`: access is not what is missing.
    fn remedy(&self, obstacle: &Obstacle, uid: u32) -> Option<Remedy> {
        let Obstacle::Denied { path: owned, mode } = obstacle else {
            return None;
        };
        let at = &owned.path;
        let is_named = *at == self.named || self.named.canonicalize().is_ok_and(|path| path == *at);
        let user = accounts::user(uid);
        if at.is_dir() && *mode == AccessMode::Write && !is_named {
            let folder = match self.role {
                PathRole::StateDir => &*self.named,
                _ => self.named.parent().unwrap_or(&self.named),
            };
            if !folder.exists() {
                return Some(Remedy::Command(install(&user, folder)));
            }
        }
        let is_systems = owned.belongs_to_root() && (!is_named || at == Path::new("/root"));
        if at.is_dir() && is_systems {
            return Some(Remedy::Text(match mode {
                AccessMode::Write => self.folder_of_its_own(at, &user),
                _ => format!(
                    "{} is root's: let the group of {user} enter it if nothing else is in it, or move {} and name its new place",
                    at.display(),
                    self.role
                ),
            }));
        }
        Some(Remedy::Command(command(at, *mode, &self.role, uid)))
    }

    /// In a folder of root's, in which there may be more than this.
    fn folder_of_its_own(&self, folder: &Path, user: &str) -> String {
        // Signer and front end do not share one.
        let (name, field, section) = match self.role {
            PathRole::AccessLog => ("hsm-mtls-front-end", "access_log", "[proxy]"),
            PathRole::StateDir => ("hsm-mtls", "state_dir", "[[token]]"),
            _ => ("hsm-mtls", "file", "[ledger]"),
        };
        let own = folder.join(name);
        let file = match self.named.file_name() {
            Some(file) if self.role != PathRole::StateDir => own.join(file),
            _ => own.clone(),
        };
        format!(
            "{} needs a folder of its own: `{}`, and {field} = \"{}\" in {section}",
            self.role,
            install(user, &own),
            file.display()
        )
    }
}

fn install(user: &str, folder: &Path) -> String {
    let folder = shell_quoted(&folder.to_string_lossy());
    format!("install -d -o {user} -m 700 {folder}")
}

fn command(at: &Path, mode: AccessMode, role: &PathRole, uid: u32) -> String {
    let (at, user) = (shell_quoted(&at.to_string_lossy()), accounts::user(uid));
    let group = accounts::private_group(uid);
    let group = group.map_or_else(|| accounts::user(uid), accounts::group);
    match (mode, role) {
        (AccessMode::Search, _) => format!("chgrp {group} {at} && chmod g+x {at}"),
        (AccessMode::Write, PathRole::HeadSocket) => format!("chmod o+w {at}"),
        (AccessMode::Write, _) => format!("chown {user} {at} && chmod u+rwX {at}"),
        (AccessMode::Execute, _) => format!("chgrp {group} {at} && chmod g+rx {at}"),
        (AccessMode::Read, PathRole::CallerToken) => {
            format!("chown root:{group} {at} && chmod 640 {at}")
        }
        (AccessMode::Read, PathRole::ProxyCredentials) => {
            format!("chgrp {group} {at} && chmod 640 {at}")
        }
        (AccessMode::Read, PathRole::PinFile) => format!("chown {user} {at} && chmod 600 {at}"),
        (AccessMode::Read, PathRole::PinArgument) => {
            format!("chgrp {group} {at} && chmod g+rX {at}")
        }
        (AccessMode::Read, _) => format!("chmod o+r {at}"),
    }
}
