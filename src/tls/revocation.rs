//! Loads the CRLs of `[trust]`, before any connection. A CRL with something that rustls does not support is a different
//! error from a damaged one.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::VerifierBuilderError;
use rustls::{CertRevocationListError, RootCertStore};
use webpki::Error as Webpki;

use super::TlsError;
use super::trust::root_store;
use crate::certificate::anchors::Anchors;
use crate::certificate::crl::{self, RevocationList};
use crate::config::trust::{StaleCrl, Trust};

/// The CRLs that were loaded, and what becomes of them when they are outdated.
pub(super) struct Crls {
    ders: Vec<CertificateRevocationListDer<'static>>,
    stale: StaleCrl,
}

impl Crls {
    /// Reads the files and checks that rustls can use each CRL.
    ///
    /// # Errors
    /// A file cannot be read, or contains a CRL that cannot be used.
    pub(super) fn load(
        trust: &Trust,
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut ders = Vec::new();
        for path in trust.crl_files() {
            let lists = load_file(path, roots, provider)?;
            if trust.crl_stale == StaleCrl::Warn {
                warn_of_outdated(path, &lists);
            }
            ders.extend(lists);
        }
        let stale = trust.crl_stale;
        Ok(Self { ders, stale })
    }

    /// No CRL at all.
    pub(super) fn none() -> Self {
        Self {
            ders: Vec::new(),
            stale: StaleCrl::Refuse,
        }
    }

    pub(super) fn ders(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.ders
    }

    pub(super) fn stale(&self) -> StaleCrl {
        self.stale
    }

    /// Those that this crate parses too.
    pub(super) fn into_parsed(self) -> Vec<RevocationList> {
        let parsed = self
            .ders
            .into_iter()
            .map(|der| RevocationList::from_der(der.as_ref()));
        parsed.filter_map(Result::ok).collect()
    }
}

fn warn_of_outdated(path: &Path, lists: &[CertificateRevocationListDer<'static>]) {
    let parsed = lists
        .iter()
        .map(|der| RevocationList::from_der(der.as_ref()));
    for list in parsed.filter_map(Result::ok) {
        if list.is_outdated(SystemTime::now()) {
            tracing::warn!(
                file = %path.display(),
                next_update = list.next_update(),
                hint = "`hsm-mtls trust update` fetches a newer one, where `crls` has its `url`",
                "this CRL is outdated, and counts all the same (`crl_stale`): it may lack what was revoked since"
            );
        }
    }
}

/// Checks that rustls can use the CRLs in these bytes, which are or will be the file at `path`.
///
/// # Errors
/// They contain none, or one that cannot be used.
pub fn check_crls(
    bytes: Vec<u8>,
    path: &Path,
    anchors: &Anchors,
    provider: &Arc<CryptoProvider>,
) -> Result<(), TlsError> {
    let roots = Arc::new(root_store(anchors)?);
    parse(bytes, path, &roots, provider).map(drop)
}

fn load_file(
    path: &Path,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = fs::read(path).map_err(|error| TlsError::Crl {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    parse(bytes, path, roots, provider)
}

fn parse(
    bytes: Vec<u8>,
    path: &Path,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let mut all = Vec::new();
    let unusable = |why: &dyn std::fmt::Display| TlsError::Crl {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let lists = crl::extract_ders(bytes).map_err(|why| unusable(&why))?;
    for list in lists {
        let der = CertificateRevocationListDer::from(list);
        // One verifier for each CRL, so that the error names the file.
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .with_crls([der.clone()])
            .build()
            .map_err(|error| match &error {
                VerifierBuilderError::InvalidCrl(why) => match unsupported_feature(why, &der) {
                    Some(feature) => TlsError::UnsupportedCrl {
                        path: path.to_owned(),
                        feature,
                    },
                    None => unusable(&error),
                },
                _ => unusable(&error),
            })?;
        all.push(der);
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
