//! The Trust Framework's bundle: the roots, which are the trust anchors, and the Issuing CA, which the client has to send
//! with its certificate. The bundle supplies the Issuing CA, since the certificate has no URL for it (authorityInfoAccess).

use std::path::Path;

pub use super::chain::Chain;
use super::name::COMMON_NAME;
use super::{Certificate, CertificateError, read_file};
use crate::config::Config;

/// The certificates of `anchors`: roots, and intermediate CAs.
#[derive(Clone, Debug)]
pub struct Anchors {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
}

impl Anchors {
    /// Reads the bundle, and checks its roots against the pins and the names of its CAs against the environment.
    ///
    /// # Errors
    /// The bundle cannot be read, has no root or a root that is not pinned, or has a CA of the other environment.
    pub fn load(config: &Config) -> Result<Self, CertificateError> {
        let trust = &config.trust;
        let anchors = Self::read(&trust.anchors)?;
        let mut all = anchors.intermediates.iter().chain(&anchors.roots);
        // The name of a CA proves nothing, and older CAs have undocumented names. But a CA with the name of one of the
        // other environment's shows a mistake.
        let is_foreign = |ca: &&Certificate| {
            let name = ca.subject().first(COMMON_NAME);
            name.is_some_and(|name| config.environment.other_that_documents(&name).is_some())
        };
        if let Some(ca) = all.find(is_foreign) {
            return Err(CertificateError::AnchorsOfOther {
                subject: ca.subject().to_string(),
                environment: config.environment,
            });
        }
        let unpinned = |root: &&Certificate| !trust.pins.contains(&root.fingerprint());
        match anchors.roots.iter().find(unpinned) {
            Some(root) if !trust.pins.is_empty() => Err(CertificateError::NotPinned {
                subject: root.subject().to_string(),
                fingerprint: root.fingerprint(),
            }),
            _ => Ok(anchors),
        }
    }

    fn read(path: &Path) -> Result<Self, CertificateError> {
        let bundle = read_file(path).map_err(|error| match error {
            CertificateError::Unreadable { path, source } => {
                CertificateError::AnchorsUnreadable { path, source }
            }
            other => other,
        })?;
        let (roots, intermediates): (Vec<_>, Vec<_>) =
            bundle.into_iter().partition(Certificate::is_self_issued);
        if roots.is_empty() {
            return Err(CertificateError::NoRoot(path.to_owned()));
        }
        Ok(Self {
            roots,
            intermediates,
        })
    }

    /// The self-issued certificates.
    pub fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// The other certificates: Issuing CAs.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// All certificates, the Issuing CAs first.
    pub fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.intermediates.iter().chain(&self.roots)
    }

    /// The root that issued a certificate.
    pub(super) fn issuer_of(&self, certificate: &Certificate) -> Option<&Certificate> {
        let issued = |root: &&Certificate| certificate.is_issued_by(root);
        self.roots.iter().find(issued)
    }

    /// The subjects of all certificates, for messages.
    pub(super) fn subjects(&self) -> Vec<String> {
        let all = self.intermediates.iter().chain(&self.roots);
        all.map(|ca| ca.subject().to_string()).collect()
    }
}
