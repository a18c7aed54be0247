//! The Trust Framework's bundle: the roots that decide, and the Issuing CA that our leaf needs
//! beside it. A leaf says nowhere how to fetch its issuer, so the client has to bring it.

use std::path::Path;
use std::time::SystemTime;

use super::name::COMMON_NAME;
use super::{Certificate, CertificateError, SignatureFault, read_file};
use crate::config::Config;
use crate::config::environment::Environment;

/// The certificates of `anchors`, roots apart from the CAs below them.
#[derive(Clone, Debug)]
pub struct Anchors {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
}

impl Anchors {
    /// Reads the bundle, and holds its roots against the pins and its names against the
    /// environment.
    ///
    /// # Errors
    /// It cannot be read, has no root, or has one that is not pinned; or a CA in it is the other
    /// environment's.
    pub fn load(config: &Config) -> Result<Self, CertificateError> {
        let trust = &config.trust;
        let anchors = Self::read(&trust.anchors)?;
        let other = config.environment.other();
        let foreign = other.documented_ca_names();
        let mut all = anchors.intermediates.iter().chain(&anchors.roots);
        // Names prove nothing, and older CAs have others. But this one is a mistake.
        let is_foreign = |ca: &&Certificate| {
            let name = ca.subject().first(COMMON_NAME);
            name.is_some_and(|name| foreign.contains(&name))
        };
        if let Some(ca) = all.find(is_foreign) {
            return Err(CertificateError::AnchorsOfOther {
                subject: ca.subject().to_string(),
                environment: config.environment,
            });
        }
        let stranger = |root: &&Certificate| !trust.pins.contains(&root.fingerprint());
        match anchors.roots.iter().find(stranger) {
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

    /// The self-signed ones.
    pub fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// The others: Issuing CAs.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// The root that issued a certificate.
    pub(super) fn issuer_of(&self, certificate: &Certificate) -> Option<&Certificate> {
        let issued = |root: &&Certificate| certificate.is_issued_by(root);
        self.roots.iter().find(issued)
    }

    fn subjects(&self) -> Vec<String> {
        let all = self.intermediates.iter().chain(&self.roots);
        all.map(|ca| ca.subject().to_string()).collect()
    }
}

/// Whether the name that stands for the issuer is that of a CA of this environment.
fn is_documented(certificate: &Certificate, environment: Environment) -> bool {
    let issuer = certificate.issuer().first(COMMON_NAME);
    issuer.is_some_and(|issuer| environment.documented_ca_names().contains(&issuer))
}

/// Why none of the CAs that a certificate names as its issuer is known to have signed it. What could not be
/// checked comes first: with that open, nobody can be said not to have signed.
fn not_signed<'a>(
    certificate: &Certificate,
    namesakes: impl Iterator<Item = &'a Certificate>,
) -> CertificateError {
    let unchecked = namesakes
        .filter_map(|ca| certificate.check_signature(ca).err())
        .find(|fault| *fault != SignatureFault::Wrong);
    match unchecked {
        Some(fault) => CertificateError::Unchecked {
            subject: certificate.subject().to_string(),
            fault,
        },
        None => CertificateError::Chain(format!(
            "{} is named as the issuer of {}, but did not sign it",
            certificate.issuer(),
            certificate.subject()
        )),
    }
}

/// A leaf and the CAs between it and the root, in the order of a TLS Certificate message.
#[derive(Clone, Debug)]
pub struct Chain {
    leaf: Certificate,
    issuers: Vec<Certificate>,
}

impl Chain {
    /// Orders the given certificates behind the leaf, which is the first, and takes what is missing
    /// from the bundle. The root is not part of it: the peer has it, or does not trust it.
    ///
    /// # Errors
    /// There is no way from the leaf to a root of the bundle: a CA is missing, did not sign it or cannot be
    /// told to have signed it, or is of another environment.
    pub fn complete(
        given: &[Certificate],
        anchors: &Anchors,
        environment: Environment,
    ) -> Result<Self, CertificateError> {
        let (leaf, rest) = given
            .split_first()
            .ok_or_else(|| CertificateError::Empty("the certificate".to_owned()))?;
        let mut issuers: Vec<Certificate> = Vec::new();
        let mut last = leaf;
        while !anchors.roots.iter().any(|root| last.is_issued_by(root)) {
            // After a re-keying two CAs have one name: the signature tells whose the leaf is.
            let candidates = || {
                anchors
                    .intermediates
                    .iter()
                    .chain(rest)
                    .chain(&anchors.roots)
            };
            let next = candidates().find(|ca| last.is_issued_by(ca) && !ca.is_self_issued());
            // A chain longer than what there is to choose from goes in a circle.
            match next.filter(|_| issuers.len() < candidates().count()) {
                Some(ca) => {
                    issuers.push(ca.clone());
                    last = ca;
                }
                None if candidates().any(|ca| last.names_as_issuer(ca)) => {
                    let namesakes = candidates().filter(|ca| last.names_as_issuer(ca));
                    return Err(not_signed(last, namesakes));
                }
                None if is_documented(last, environment) => {
                    return Err(CertificateError::IssuerMissing {
                        issuer: last.issuer().to_string(),
                        anchors: anchors.subjects(),
                    });
                }
                None => {
                    return Err(CertificateError::NotOfEnvironment {
                        issuer: last.issuer().to_string(),
                        environment,
                        anchors: anchors.subjects(),
                    });
                }
            }
        }
        Ok(Self {
            leaf: leaf.clone(),
            issuers,
        })
    }

    /// The leaf.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// Leaf first, then its issuers.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.issuers)
    }

    /// As PEM, leaf first.
    pub fn pem(&self) -> String {
        self.certificates().map(Certificate::pem).collect()
    }

    /// Whether the leaf is in its time and for clients.
    ///
    /// # Errors
    /// See [`Certificate::check_client`].
    pub fn check_client(&self, now: SystemTime) -> Result<(), CertificateError> {
        self.leaf.check_client(now)
    }
}
