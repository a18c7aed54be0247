//! `[signer]`: the signer process's rate limit, Landlock sandbox and user.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::field;
use super::service_users::account_name;
use super::signature_rate::SignatureRate;

/// `[signer]`: the process that has the PKCS#11 module, the PIN and the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// The sustained rate of signatures: how often a compromised front end could use the key. `None`: what the proxy needs
    /// ([`super::Config::signature_limit`]).
    #[serde(default)]
    pub per_second: Option<SignatureRate>,
    /// The number of signatures at once (1 to 1,000,000). `None`: what the proxy needs.
    #[serde(default, deserialize_with = "field::burst")]
    pub burst: Option<u32>,
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
