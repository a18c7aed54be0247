//! Distinguishes a certificate or CRL with something that rustls does not support from an invalid one: rustls reports
//! "unknown issuer", "bad signature" or "constraint violated" for both.

use rustls::pki_types::CertificateDer;
use rustls::{CertRevocationListError, CertificateError, Error};
use webpki::Error as Webpki;

use super::TlsError;
use super::diagnose::from_rustls;
use super::signing_key::rustls_error;
use crate::certificate::anchors::Anchors;
use crate::certificate::crl::RevocationList;
use crate::certificate::signature::{algorithm_name, parse_identifier};
use crate::certificate::{Certificate, SignatureError};

/// The longest certification path that is followed.
const MAX_PATH_LENGTH: usize = 10;

/// The inputs of a verification.
pub(super) struct VerificationContext<'a> {
    /// The chain, leaf first, up to the first certificate that this crate cannot parse.
    pub(super) chain: &'a [Certificate],
    /// Whether `chain` is the whole chain.
    pub(super) is_complete: bool,
    pub(super) anchors: &'a Anchors,
    pub(super) crls: &'a [RevocationList],
}

/// Converts an error of the verification: [`TlsError::Unsupported`] if something is not supported.
pub(super) fn explain(error: &Error, context: &VerificationContext<'_>) -> TlsError {
    let unsupported = match error {
        Error::InvalidCertificate(error) => context.unsupported_in_certificate(error),
        Error::InvalidCertRevocationList(error) => context.unsupported_in_crl(error),
        _ => None,
    };
    match unsupported {
        Some(what) => TlsError::Unsupported(what),
        None => from_rustls(error),
    }
}

impl VerificationContext<'_> {
    /// What in the chain is not supported; `None` if the error is about something else.
    fn unsupported_in_certificate(&self, error: &CertificateError) -> Option<String> {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                self.unsupported_in_path()
            }
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: id,
                ..
            } => self
                .unsupported_in_path()
                .or_else(|| Some(describe_algorithm(id))),
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: id,
                ..
            } => self
                .unsupported_in_path()
                .or_else(|| Some(format!("{} by such a key", describe_algorithm(id)))),
            CertificateError::UnknownRevocationStatus => self.partial_crl(),
            // X.509 allows more encodings than webpki parses.
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

    /// The chain, followed by all CAs of the bundle.
    fn all_certificates(&self) -> Vec<&Certificate> {
        let bundle = self.anchors.intermediates().iter();
        let bundle = bundle.chain(self.anchors.roots());
        self.chain.iter().chain(bundle).collect()
    }

    /// Follows the path from the leaf to a root, and returns the first signature algorithm or name encoding that rustls
    /// does not support.
    fn unsupported_in_path(&self) -> Option<String> {
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
    fn partial_crl(&self) -> Option<String> {
        let leaf = self.chain.first()?;
        let issuer = leaf.issuer();
        let of_issuer = |list: &&RevocationList| list.issuer() == issuer;
        let list = self.crls.iter().find(of_issuer)?;
        Some(match list.issuer().der() == issuer.der() {
            false => format!("a revocation list that writes its issuer's name ({issuer}) in another encoding"),
            true => "a revocation list for a part of the certificates only (issuingDistributionPoint), which leaves this one out".to_owned(),
        })
    }

    /// Which signature algorithm of a CRL is not supported; `None` if the error is about something else.
    fn unsupported_in_crl(&self, error: &CertRevocationListError) -> Option<String> {
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

/// The error for a server whose CertificateVerify does not match its certificate: it does not have the private key. If the
/// type of the key is not supported, the signature could not be checked.
pub(super) fn proof_error(cert: &CertificateDer<'_>) -> Error {
    let leaf = Certificate::from_der(cert, "the server").ok();
    let key_type = leaf.as_ref().and_then(Certificate::unsupported_key);
    rustls_error(match key_type {
        Some(key_type) => TlsError::Unsupported(format!("its kind of key ({key_type})")),
        None => TlsError::ServerNotProved,
    })
}
