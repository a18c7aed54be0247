//! `[signer]`: the signer process's rate limit, Landlock sandbox and user.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::field;
use super::service_users::account_name;

/// `[signer]`: the process that has the PKCS#11 module, the PIN and the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// The rate limit, in signatures per second (1 to 1,000,000, default 2000): how often a compromised front end could use
    /// the key.
    #[serde(
        default = "field::default_per_second",
        deserialize_with = "field::per_second"
    )]
    pub per_second: u32,
    /// The folders that the signer may access under Landlock. `None` (the default): no Landlock, since the files that a
    /// vendor's module needs are not known.
    #[serde(default)]
    pub landlock: Option<SignerLandlock>,
    /// The user that the signer becomes where it is started as root. `None`: it stays root.
    #[serde(default, deserialize_with = "account_name")]
    pub user: Option<String>,
}

/// `landlock` of `[signer]`: the Landlock sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerLandlock {
    /// Folders that it may read: those of the module, of its configuration and of the PIN.
    pub read: Vec<PathBuf>,
    /// Folders that it may write to: that of the ledger, `state_dir`, and those that the module writes to.
    pub write: Vec<PathBuf>,
}

impl Default for SignerConfig {
    fn default() -> Self {
        Self {
            per_second: field::default_per_second(),
            landlock: None,
            user: None,
        }
    }
}

impl SignerConfig {
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        if let Some(SignerLandlock { read, write }) = &mut self.landlock {
            for path in read.iter_mut().chain(write) {
                *path = folder.join(&*path);
            }
        }
        self
    }
}
