//! `[signer]`: the signer process's rate limit and Landlock sandbox.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::field;

/// `[signer]`: the process that holds module, PIN and ledger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// The rate limit in signatures per second (1 to 1,000,000): bounds how often a compromised front end can use the
    /// key.
    #[serde(
        default = "field::default_per_second",
        deserialize_with = "field::per_second"
    )]
    pub per_second: u32,
    /// The folders that the signer may access under Landlock. None: no Landlock, since vendors' modules may need other
    /// files.
    #[serde(default)]
    pub landlock: Option<SignerLandlock>,
}

/// `landlock` of `[signer]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerLandlock {
    /// Folders to read: the module's, its configuration's, the PIN's.
    pub read: Vec<PathBuf>,
    /// Folders to write: the ledger's, `state_dir`, those that the module writes to.
    pub write: Vec<PathBuf>,
}

impl Default for SignerConfig {
    fn default() -> Self {
        Self {
            per_second: field::default_per_second(),
            landlock: None,
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
