//! Refuses an access log beside what decides something. The front end, which parses the network, may write to the folder of its
//! access log, and so could replace or remove whatever else is in it: the records of refused PINs, the ledger, the anchors.

use std::fs;
use std::path::{Path, PathBuf};

use super::paths::{NamedPath, PathRole};
use super::proxy::AccessLog;
use super::{Config, ConfigError};
use crate::owner_and_mode::passes_within;

impl Config {
    /// The folders that the front end may write to: that of the access log, and that of the file that its links lead to.
    pub fn log_folders(&self) -> Vec<PathBuf> {
        let log = self.proxy.as_ref().map(|proxy| &proxy.access_log);
        let Some(AccessLog::File(log)) = log else {
            return Vec::new();
        };
        let target = fs::canonicalize(log).ok();
        let files = [Some(log.clone()), target];
        let folders = files.iter().flatten().filter_map(|path| path.parent());
        folders.map(Path::to_owned).collect()
    }

    /// Checks that nothing that decides something is in the folder of the access log, nor a folder or link on the way to it.
    ///
    /// # Errors
    /// The first that is.
    pub fn check_log_folder(&self) -> Result<(), ConfigError> {
        let folders = self.log_folders();
        for named in self.named_paths() {
            if named.role == PathRole::AccessLog || named.protection.is_none() {
                continue;
            }
            if let Some(folder) = folders.iter().find(|folder| is_exposed(&named, folder)) {
                return Err(ConfigError::InLogFolder {
                    path: self.path.clone(),
                    role: named.role.to_string(),
                    named: named.path,
                    folder: folder.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Whether a process that may write to `folder` could change what the path leads to.
fn is_exposed(named: &NamedPath, folder: &Path) -> bool {
    let real = resolved(folder);
    // What is directly in these folders decides, whatever its name.
    let by_content = matches!(
        named.role,
        PathRole::StateDir | PathRole::WorkingDir | PathRole::ModuleVariable(_)
    );
    passes_within(&named.path, &real) || (by_content && resolved(&named.path) == real)
}

/// The path with all links resolved, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(_), Some(folder), Some(name)) => resolved(folder).join(name),
        (found, _, _) => found.unwrap_or_else(|_| path.to_owned()),
    }
}
