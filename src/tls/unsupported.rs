//! Distinguishes what rustls does not support in a certificate or CRL from what is wrong with it: rustls reports "unknown
//! issuer", "bad signature" or "constraint violated" for both.

use rustls::{CertRevocationListError, CertificateError, Error};
use webpki::Error as Webpki;

use super::TlsError;
use super::diagnose::from_rustls;
use crate::certificate::anchors::Anchors;
use crate::certificate::crl::RevocationList;
use crate::certificate::signature::{algorithm_name, parse_identifier};
use crate::certificate::{Certificate, SignatureError};

/// The longest certification path that is followed.
const MAX_PATH_LENGTH: usize = 10;

/// What a chain was verified with.
pub(super) struct VerificationContext<'a> {
    /// The chain, leaf first, up to the first certificate that this crate cannot parse.
    pub(super) chain: &'a [Certificate],
    /// Whether that is the whole chain.
    pub(super) is_complete: bool,
    pub(super) anchors: &'a Anchors,
    pub(super) crls: &'a [RevocationList],
}

/// Translates an error of the verification.
pub(super) fn explain(error: &Error, context: &VerificationContext<'_>) -> TlsError {
    let unsupported = match error {
        Error::InvalidCertificate(error) => context.in_certificate(error),
        Error::InvalidCertRevocationList(error) => context.in_crl(error),
        _ => None,
    };
    match unsupported {
        Some(what) => TlsError::Unsupported(what),
        None => from_rustls(error),
    }
}

impl VerificationContext<'_> {
    fn in_certificate(&self, error: &CertificateError) -> Option<String> {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => self.in_path(),
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: id,
                ..
            } => self.in_path().or_else(|| Some(describe_algorithm(id))),
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: id,
                ..
            } => self
                .in_path()
                .or_else(|| Some(format!("{} by such a key", describe_algorithm(id)))),
            CertificateError::UnknownRevocationStatus => self.in_unmatched_crl(),
            // webpki parses less than X.509 allows.
            CertificateError::BadEncoding if self.is_complete => {
                Some("a field or length in one of its certificates".to_owned())
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<Webpki>()? {
                Webpki::NameConstraintViolation => {
                    let all = self.all_certificates();
                    let ca = all.into_iter().find(|ca| ca.constrains_other_names())?;
                    Some(format!(
                        "a name constraint on names other than hosts ({})",
                        ca.subject()
                    ))
                }
                Webpki::UnsupportedCriticalExtension => {
                    let all = self.chain.iter();
                    let unknown = all.flat_map(Certificate::unknown_critical_extensions);
                    let unknown: Vec<_> = unknown.collect();
                    Some(format!("the critical extension {}", unknown.join(", ")))
                }
                Webpki::UnsupportedCertVersion => {
                    Some("a certificate of X.509 version 1 or 2".to_owned())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The chain, and all CAs of the bundle.
    fn all_certificates(&self) -> Vec<&Certificate> {
        let known = self.anchors.intermediates().iter();
        let known = known.chain(self.anchors.roots());
        self.chain.iter().chain(known).collect()
    }

    /// Follows the path from the leaf to a root, to the first signature or name that rustls does not support.
    fn in_path(&self) -> Option<String> {
        let mut current = self.chain.first()?;
        for _ in 0..MAX_PATH_LENGTH {
            let all = self.all_certificates();
            let candidates = all.into_iter().filter(|ca| current.names_as_issuer(ca));
            let verdicts: Vec<_> = candidates
                .map(|ca| (ca, current.check_signature(ca)))
                .collect();
            let Some((issuer, _)) = verdicts.iter().find(|(_, verdict)| verdict.is_ok()) else {
                return verdicts.iter().find_map(|(_, verdict)| match verdict {
                    Err(SignatureError::Unsupported(what)) => Some(what.clone()),
                    Err(SignatureError::Weak(what)) => Some((*what).to_owned()),
                    _ => None,
                });
            };
            if issuer.subject().der() != current.issuer().der() {
                return Some(format!(
                    "the same name in another encoding ({}, as {} and its issuer write it)",
                    issuer.subject(),
                    current.subject()
                ));
            }
            if issuer.is_self_issued() {
                return None;
            }
            current = issuer;
        }
        None
    }

    /// Why a CRL of the leaf's issuer has no status for the leaf.
    fn in_unmatched_crl(&self) -> Option<String> {
        let leaf = self.chain.first()?;
        let issuer = leaf.issuer();
        let of_issuer = |list: &&RevocationList| list.issuer() == issuer;
        let list = self.crls.iter().find(of_issuer)?;
        Some(match list.issuer().der() == issuer.der() {
            false => format!("a revocation list that writes its issuer's name ({issuer}) in another encoding"),
            true => "a revocation list for a part of the certificates only (issuingDistributionPoint), which leaves this one out".to_owned(),
        })
    }

    fn in_crl(&self, error: &CertRevocationListError) -> Option<String> {
        let id = match error {
            CertRevocationListError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: id,
                ..
            }
            | CertRevocationListError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: id,
                ..
            } => id,
            CertRevocationListError::BadSignature => {
                let leaf = self.chain.first()?;
                let all = self.all_certificates();
                let issuers = all.into_iter().filter(|ca| leaf.names_as_issuer(ca));
                let pairs = issuers.flat_map(|ca| self.crls.iter().map(move |list| (ca, list)));
                let mut faults = pairs.filter_map(|(ca, list)| list.check_signature(ca).err());
                return faults.find_map(|fault| match fault {
                    SignatureError::Unsupported(what) => {
                        Some(format!("on a revocation list, {what}"))
                    }
                    _ => None,
                });
            }
            _ => return None,
        };
        Some(format!("on a revocation list, {}", describe_algorithm(id)))
    }
}

fn describe_algorithm(id: &[u8]) -> String {
    parse_identifier(id).map_or_else(
        || "its signature algorithm".to_owned(),
        |algorithm| algorithm_name(&algorithm),
    )
}
