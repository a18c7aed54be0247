//! `[audit]`: facts that no PKCS#11 call can show, which the audit reports as the operator's assertions.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// `[audit]`: facts that the operator asserts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// The number of the device's FIPS 140 certificate (NIST CMVP).
    #[serde(default)]
    pub fips_certificate: Option<String>,
    /// How the key is backed up and cloned, or which document says so.
    #[serde(default)]
    pub backup: Option<String>,
    /// The file with the vendor's attestation of the key.
    #[serde(default)]
    pub attestation: Option<PathBuf>,
}

impl AuditConfig {
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        self.attestation = self.attestation.map(|file| folder.join(file));
        self
    }
}
