//! Checks the file of a PKCS#11 module before it is mapped.
//!
//! A module is native code with all rights of this process, and it gets the PIN. So the file, and every folder and link on
//! its path, must belong to root or to this user, and no other user may write to them.

use std::fs;
use std::path::PathBuf;

use super::TokenError;
use crate::config::TokenConfig;
use crate::config::trust::Fingerprint;
use crate::owner_and_mode::{Protection, faults};

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
    if let Some(fault) = faults(&config.module, Protection::Unchanged)
        .into_iter()
        .next()
    {
        return Err(TokenError::ModuleUnsafe {
            why: fault.to_string(),
            advice: fault.advice(),
        });
    }
    if let Some(pin) = config.module_sha256 {
        let found = Fingerprint::of_file(&path).map_err(missing)?;
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
