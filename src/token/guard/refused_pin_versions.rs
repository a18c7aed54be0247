//! The refused PINs that the attempt file keeps on disk: the versions of a PIN source that the token refused. They are
//! remembered until the token accepts that version, or until as many newer ones were refused.
//!
//! A version is the inode and the time of the last write of a PIN file, and the name of another source: no PIN can be guessed
//! from it. `pin_digest` has the refused PINs of this process.

use serde::{Deserialize, Serialize};

/// How many refused versions are remembered.
const MAX_REFUSED_VERSIONS: usize = 16;

/// The refused versions of PIN sources, the last refused at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RefusedVersions(Vec<String>);

impl RefusedVersions {
    /// Whether the token refused this version.
    pub(super) fn contains(&self, version: &str) -> bool {
        self.0.iter().any(|refused| refused == version)
    }

    /// Remembers a refused version. Above the limit, the oldest is forgotten.
    pub(super) fn add(&mut self, version: &str) {
        if !self.contains(version) {
            self.0.push(version.to_owned());
        }
        let excess = self.0.len().saturating_sub(MAX_REFUSED_VERSIONS);
        self.0.drain(..excess);
    }

    /// Forgets a version that the token has accepted: the token was reset, for example.
    pub(super) fn remove(&mut self, version: &str) {
        self.0.retain(|refused| refused != version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_version_is_remembered_until_it_is_accepted_or_many_newer_ones_are_refused() {
        let version = |number: usize| number.to_string();
        let mut refused = RefusedVersions::default();
        for number in 0..MAX_REFUSED_VERSIONS {
            refused.add(&version(number));
            refused.add(&version(number));
        }
        assert!(refused.contains("0") && !refused.contains("variable PIN"));
        refused.add("variable PIN");
        assert!(!refused.contains("0") && refused.contains("variable PIN"));
        refused.remove("1");
        assert!(!refused.contains("1") && refused.contains("2"));
    }
}
