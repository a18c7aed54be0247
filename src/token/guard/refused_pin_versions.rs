//! The refused PINs that the attempt file keeps on disk: the versions of a PIN source that the token refused. They are
//! remembered until the token accepts that version, or until as many newer ones were refused.
//!
//! A version is the inode and the time of the last write of a PIN file, and `None` for the other sources: no PIN can be
//! guessed from it. `pin_digest` has the refused PINs of this process.

use serde::{Deserialize, Serialize};

/// How many refused versions are remembered.
const MAX_REFUSED_VERSIONS: usize = 16;

/// The refused versions of a PIN source, the last refused at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RefusedVersions(Vec<Option<String>>);

impl RefusedVersions {
    /// Whether the token refused this version.
    pub(super) fn contains(&self, version: Option<&str>) -> bool {
        self.0.iter().any(|refused| refused.as_deref() == version)
    }

    /// Remembers a refused version. Above the limit, the oldest is forgotten.
    pub(super) fn add(&mut self, version: &Option<String>) {
        if !self.0.contains(version) {
            self.0.push(version.clone());
        }
        let excess = self.0.len().saturating_sub(MAX_REFUSED_VERSIONS);
        self.0.drain(..excess);
    }

    /// Forgets a version that the token has accepted: the token was reset, for example.
    pub(super) fn remove(&mut self, version: &Option<String>) {
        self.0.retain(|refused| refused != version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_version_is_remembered_until_it_is_accepted_or_many_newer_ones_are_refused() {
        let version = |number: usize| Some(number.to_string());
        let mut refused = RefusedVersions::default();
        for number in 0..MAX_REFUSED_VERSIONS {
            refused.add(&version(number));
            refused.add(&version(number));
        }
        assert!(refused.contains(Some("0")) && !refused.contains(None));
        refused.add(&None);
        assert!(!refused.contains(Some("0")) && refused.contains(None));
        refused.remove(&version(1));
        assert!(!refused.contains(Some("1")) && refused.contains(Some("2")));
    }
}
