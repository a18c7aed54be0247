//! What the TLS library cannot check of a certificate or revocation list, told apart from what is wrong with
//! it. The library says "unknown issuer", "bad signature" or "constraint violated" for both.

use rustls::{CertRevocationListError, CertificateError, Error};
use webpki::Error as Webpki;

use super::TlsError;
use super::diagnose::of_rustls;
use crate::certificate::anchors::Anchors;
use crate::certificate::crl::RevocationList;
use crate::certificate::signature::{name, read_identifier};
use crate::certificate::{Certificate, SignatureFault};

/// More CAs than this are in no path.
const LONGEST_PATH: usize = 10;

/// What a server's certificate was checked with.
pub(super) struct Against<'a> {
    /// As far as it can be read.
    pub(super) chain: &'a [Certificate],
    /// Whether that is all of it.
    pub(super) is_whole: bool,
    pub(super) anchors: &'a Anchors,
    pub(super) crls: &'a [RevocationList],
}

/// What the refusal means.
pub(super) fn explain(error: &Error, against: &Against<'_>) -> TlsError {
    let gap = match error {
        Error::InvalidCertificate(error) => against.of_certificate(error),
        Error::InvalidCertRevocationList(error) => against.of_list(error),
        _ => None,
    };
    match gap {
        Some(what) => TlsError::Unsupported(what),
        None => of_rustls(error),
    }
}

impl Against<'_> {
    fn of_certificate(&self, error: &CertificateError) -> Option<String> {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => self.on_the_way(),
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: id,
                ..
            } => self.on_the_way().or_else(|| Some(algorithm(id))),
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: id,
                ..
            } => self
                .on_the_way()
                .or_else(|| Some(format!("{} by such a key", algorithm(id)))),
            CertificateError::UnknownRevocationStatus => self.without_status(),
            // The library reads less than X.509 allows.
            CertificateError::BadEncoding if self.is_whole => {
                Some("a field or length in one of its certificates".to_owned())
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<Webpki>()? {
                Webpki::NameConstraintViolation => {
                    let all = self.all();
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

    fn all(&self) -> Vec<&Certificate> {
        let known = self.anchors.intermediates().iter();
        let known = known.chain(self.anchors.roots());
        self.chain.iter().chain(known).collect()
    }

    /// Goes from the leaf towards a root and says what the library could not take on the way.
    fn on_the_way(&self) -> Option<String> {
        let mut last = self.chain.first()?;
        for _ in 0..LONGEST_PATH {
            let all = self.all();
            let namesakes = all.into_iter().filter(|ca| last.names_as_issuer(ca));
            let verdicts: Vec<_> = namesakes.map(|ca| (ca, last.check_signature(ca))).collect();
            let Some((issuer, _)) = verdicts.iter().find(|(_, verdict)| verdict.is_ok()) else {
                return verdicts.iter().find_map(|(_, verdict)| match verdict {
                    Err(SignatureFault::Unsupported(what)) => Some(what.clone()),
                    Err(SignatureFault::Weak(what)) => Some((*what).to_owned()),
                    _ => None,
                });
            };
            if issuer.subject().der() != last.issuer().der() {
                return Some(format!(
                    "the same name in another encoding ({}, as {} and its issuer write it)",
                    issuer.subject(),
                    last.subject()
                ));
            }
            if issuer.is_self_issued() {
                return None;
            }
            last = issuer;
        }
        None
    }

    /// Why lists that are there say nothing.
    fn without_status(&self) -> Option<String> {
        let leaf = self.chain.first()?;
        let issuer = leaf.issuer();
        let of_issuer = |list: &&RevocationList| list.issuer() == issuer;
        let list = self.crls.iter().find(of_issuer)?;
        Some(match list.issuer().der() == issuer.der() {
            false => format!("a revocation list that writes its issuer's name ({issuer}) in another encoding"),
            true => "a revocation list for a part of the certificates only (issuingDistributionPoint), which leaves this one out".to_owned(),
        })
    }

    fn of_list(&self, error: &CertRevocationListError) -> Option<String> {
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
                let all = self.all();
                let issuers = all.into_iter().filter(|ca| leaf.names_as_issuer(ca));
                let pairs = issuers.flat_map(|ca| self.crls.iter().map(move |list| (ca, list)));
                let mut faults = pairs.filter_map(|(ca, list)| list.check_signature(ca).err());
                return faults.find_map(|fault| match fault {
                    SignatureFault::Unsupported(what) => {
                        Some(format!("on a revocation list, {what}"))
                    }
                    _ => None,
                });
            }
            _ => return None,
        };
        Some(format!("on a revocation list, {}", algorithm(id)))
    }
}

fn algorithm(id: &[u8]) -> String {
    read_identifier(id).map_or_else(
        || "its signature algorithm".to_owned(),
        |algorithm| name(&algorithm),
    )
}
