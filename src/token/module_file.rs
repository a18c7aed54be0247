//! Checks the file of a PKCS#11 module before it is mapped.
//!
//! A module is native code with all rights of this process, and it gets the PIN. So the file, and every folder and link on
//! its path, must belong to root or to this user, and no other user may write to them.

use std::fs;
use std::path::PathBuf;

use super::TokenError;
use crate::config::TokenConfig;
use crate::config::trust::Fingerprint;
use crate::owner_and_mode::{WritableBy, writable_by_others};

/// Checks that no other user can change or replace the file, and its pinned hash. Returns the path with all
/// links resolved.
pub(super) fn check(config: &TokenConfig) -> Result<PathBuf, TokenError> {
    let missing = |source| TokenError::ModuleMissing {
        path: config.module.clone(),
        source,
    };
    let path = fs::canonicalize(&config.module).map_err(missing)?;
    let file = fs::metadata(&path).map_err(missing)?;
    if !file.is_file() {
        return Err(TokenError::ModuleLoad {
            path,
            detail: "it is not a file".to_owned(),
        });
    }
    // The configured path is checked, not the resolved one: a user who can change a link on it chooses the module.
    let writable = writable_by_others(&config.module).map_err(missing)?;
    if let Some(first) = writable.first() {
        let why = match (first.by, first.is_folder) {
            (WritableBy::Owner(_), _) => "it belongs to another user",
            (_, true) => "others may write to this folder, and so put another module there",
            (_, false) => "others may write to it",
        };
        return Err(TokenError::ModuleUnsafe {
            path: first.path.clone(),
            why: why.to_owned(),
        });
    }
    if let Some(pin) = config.module_sha256 {
        let found = fs::read(&path)
            .map(|bytes| Fingerprint::of(&bytes))
            .map_err(missing)?;
        if found != pin {
            return Err(TokenError::ModuleChanged {
                path,
                expected: pin,
                found,
            });
        }
    }
    Ok(path)
}
