//! Loads the CRLs of `[trust]`, before any connection. A CRL with something that rustls does not support is a different
//! error from a damaged one.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::VerifierBuilderError;
use rustls::{CertRevocationListError, RootCertStore};
use webpki::Error as Webpki;

use super::TlsError;
use crate::certificate::crl::{self, RevocationList};

/// Reads the files and checks that rustls can use each CRL.
///
/// # Errors
/// A file cannot be read, or contains a CRL that cannot be used.
pub(super) fn load_crls(
    paths: &[PathBuf],
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let mut all = Vec::new();
    for path in paths {
        let unusable = |why: &dyn std::fmt::Display| TlsError::Crl {
            path: path.clone(),
            why: why.to_string(),
        };
        let bytes = fs::read(path).map_err(|error| unusable(&error))?;
        let lists = crl::extract_ders(&bytes).map_err(|why| unusable(&why))?;
        for list in lists {
            let der = CertificateRevocationListDer::from(list);
            // One verifier for each CRL, so that the error names the file.
            WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
                .with_crls([der.clone()])
                .build()
                .map_err(|error| match &error {
                    VerifierBuilderError::InvalidCrl(why) => match unsupported_feature(why, &der) {
                        Some(feature) => TlsError::UnsupportedCrl {
                            path: path.clone(),
                            feature,
                        },
                        None => unusable(&error),
                    },
                    _ => unusable(&error),
                })?;
            all.push(der);
        }
    }
    Ok(all)
}

const VERSION_1: &str =
    "a list of version 1 (version 2 has the extensions authorityKeyIdentifier and cRLNumber)";

/// What rustls does not support in a CRL; `None` if the CRL is damaged.
fn unsupported_feature(error: &CertRevocationListError, der: &[u8]) -> Option<&'static str> {
    Some(match error {
        CertRevocationListError::UnsupportedCrlVersion => VERSION_1,
        CertRevocationListError::ParseError if crl::is_version_1(der) => VERSION_1,
        CertRevocationListError::UnsupportedDeltaCrl => "a delta list, of changes only",
        CertRevocationListError::UnsupportedIndirectCrl => {
            "an indirect list, with certificates of several issuers"
        }
        CertRevocationListError::UnsupportedRevocationReason => "one of its reasons of revocation",
        CertRevocationListError::UnsupportedCriticalExtension => "one of its critical extensions",
        CertRevocationListError::Other(other) => match other.0.downcast_ref::<Webpki>() {
            Some(Webpki::UnsupportedCrlIssuingDistributionPoint) => {
                "its kind of issuingDistributionPoint"
            }
            Some(Webpki::UnsupportedRevocationReasonsPartitioning) => {
                "a list for some reasons of revocation only"
            }
            _ => return None,
        },
        // A CRL that this crate parses is not malformed.
        CertRevocationListError::ParseError => match RevocationList::from_der(der) {
            Ok(list) if !list.has_next_update() => "a list without nextUpdate",
            Ok(_) => "a field or length in it",
            Err(_) => return None,
        },
        _ => return None,
    })
}
