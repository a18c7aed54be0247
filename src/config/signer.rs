//! What the signer process may do: how much it signs, and what it may open.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::field;

/// `[signer]`: the process that holds module, PIN and ledger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// The most signatures in a second (1 to 1,000,000): a bound on what a front end that was taken
    /// over can use the key for.
    #[serde(
        default = "field::default_per_second",
        deserialize_with = "field::per_second"
    )]
    pub per_second: u32,
    /// Folders that the signer may open, where it is to be under Landlock. None: it is not, because
    /// vendors' modules need what they need.
    #[serde(default)]
    pub landlock: Option<SignerLandlock>,
}

/// `landlock` of `[signer]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerLandlock {
    /// Folders to read: the module's, its configuration's, the PIN's.
    pub read: Vec<PathBuf>,
    /// Folders to write: the ledger's, `state_dir`, whatever the module writes.
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
