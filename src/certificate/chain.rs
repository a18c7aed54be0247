//! The chain of the client certificate, completed with CAs of the bundle up to a root, which is not part of it.

use std::time::SystemTime;

use super::anchors::Anchors;
use super::generation::other_generation;
use super::name::COMMON_NAME;
use super::{Certificate, CertificateError, SignatureError};
use crate::config::KeyRole;
use crate::config::environment::Environment;

/// A leaf certificate and the CAs between it and a root, in the order of a TLS Certificate message.
#[derive(Clone, Debug)]
pub struct Chain {
    leaf: Certificate,
    issuers: Vec<Certificate>,
}

impl Chain {
    /// Builds the chain from the given certificates, of which the first is the leaf, and adds missing CAs from the
    /// bundle. The root is not included: the peer has it, or does not trust it.
    ///
    /// # Errors
    /// There is no path from the leaf to a root of the bundle: a CA is missing, its signature does not match or cannot
    /// be checked, or it is of the other environment.
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
        while !anchors.roots().iter().any(|root| last.is_issued_by(root)) {
            // After a key rollover two CAs have the same name: the signature decides.
            let candidates = || {
                anchors
                    .intermediates()
                    .iter()
                    .chain(rest)
                    .chain(anchors.roots())
            };
            let next = candidates().find(|ca| last.is_issued_by(ca) && !ca.is_self_issued());
            // A chain with more CAs than there are candidates is a loop.
            match next.filter(|_| issuers.len() < candidates().count()) {
                Some(ca) => {
                    issuers.push(ca.clone());
                    last = ca;
                }
                None if candidates().any(|ca| last.names_as_issuer(ca)) => {
                    let same_name = candidates().filter(|ca| last.names_as_issuer(ca));
                    return Err(signature_error(last, same_name));
                }
                None if may_be_of(last, environment) => {
                    if let Some(held) = other_generation(&last.issuer(), candidates()) {
                        return Err(CertificateError::OtherGeneration {
                            issuer: last.issuer().to_string(),
                            held: held.subject().to_string(),
                        });
                    }
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

    /// The leaf certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The leaf, then its issuers.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.issuers)
    }

    /// The chain in PEM, the leaf first.
    pub fn pem(&self) -> String {
        self.certificates().map(Certificate::pem).collect()
    }

    /// Checks the leaf's validity, and that it is for this role.
    ///
    /// # Errors
    /// See [`Certificate::check_role`].
    pub fn check_role(&self, role: KeyRole, now: SystemTime) -> Result<(), CertificateError> {
        self.leaf.check_role(role, now)
    }
}

/// Whether the certificate's issuer has the name of a documented CA of this environment, or might have, where none is
/// documented.
fn may_be_of(certificate: &Certificate, environment: Environment) -> bool {
    if environment.documented_ca_names().is_empty() {
        return true;
    }
    let issuer = certificate.issuer().first(COMMON_NAME);
    issuer.is_some_and(|issuer| environment.documents_ca(&issuer))
}

/// The error if none of the CAs with the issuer's name is known to have signed the certificate: that a signature could
/// not be checked, or else that none matches.
fn signature_error<'a>(
    certificate: &Certificate,
    same_name: impl Iterator<Item = &'a Certificate>,
) -> CertificateError {
    let unchecked = same_name
        .filter_map(|ca| certificate.check_signature(ca).err())
        .find(|fault| *fault != SignatureError::Mismatch);
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
