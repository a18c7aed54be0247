//! Loads the CRLs of `[trust]`, before any connection. A CRL with something that rustls does not support is a different
//! error from a damaged one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::CertRevocationListError;
use rustls::server::VerifierBuilderError;
use webpki::{BorrowedCertRevocationList, Error as Webpki};

use super::TlsError;
use super::webpki_error::of_list;
use crate::certificate::crl::{self, RevocationList};
use crate::config::trust::{StaleCrl, Trust};

/// The CRLs that were loaded, and what becomes of them when they are outdated.
#[derive(Debug)]
pub(super) struct Crls {
    /// One copy, which all that verify share.
    ders: Vec<Arc<Vec<u8>>>,
    /// Those that this crate parses too.
    parsed: Vec<RevocationList>,
    stale: StaleCrl,
}

impl Crls {
    /// Reads the files and checks that webpki can use each CRL.
    ///
    /// # Errors
    /// A file cannot be read, or contains a CRL that cannot be used.
    pub(super) fn load(trust: &Trust) -> Result<Self, TlsError> {
        let mut crls = Self {
            ders: Vec::new(),
            parsed: Vec::new(),
            stale: trust.crl_stale,
        };
        for path in trust.crl_files() {
            let bytes = crl::read_file(path).map_err(|error| TlsError::Crl {
                path: path.to_owned(),
                why: error.to_string(),
            })?;
            for der in parse(bytes, path)? {
                if let Ok(list) = RevocationList::from_shared(Arc::clone(&der)) {
                    if trust.crl_stale == StaleCrl::Warn {
                        warn_of_outdated(path, &list);
                    }
                    crls.parsed.push(list);
                }
                crls.ders.push(der);
            }
        }
        Ok(crls)
    }

    /// No CRL at all.
    pub(super) fn none() -> Self {
        Self {
            ders: Vec::new(),
            parsed: Vec::new(),
            stale: StaleCrl::Refuse,
        }
    }

    /// These lists, as if they had been loaded.
    #[cfg(test)]
    pub(super) fn of_lists(lists: &[Arc<Vec<u8>>], stale: StaleCrl) -> Self {
        let parse = |list: &Arc<Vec<u8>>| RevocationList::from_shared(Arc::clone(list)).ok();
        Self {
            ders: lists.to_vec(),
            parsed: lists.iter().filter_map(parse).collect(),
            stale,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ders.is_empty()
    }

    pub(super) fn ders(&self) -> &[Arc<Vec<u8>>] {
        &self.ders
    }

    pub(super) fn stale(&self) -> StaleCrl {
        self.stale
    }

    /// From when on the first of them is outdated, where that means a refusal. Of a list without a known date: at once.
    pub(super) fn outdated_from(&self) -> SystemTime {
        const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
        let never = SystemTime::now() + NEVER;
        if self.stale == StaleCrl::Warn {
            return never;
        }
        let dates = self.parsed().and_then(|lists| {
            let dates = lists.iter().map(RevocationList::next_update_time);
            dates.collect::<Option<Vec<_>>>()
        });
        dates.map_or(SystemTime::UNIX_EPOCH, |dates| {
            dates.into_iter().min().unwrap_or(never)
        })
    }

    /// Those that this crate parses too.
    pub(super) fn all_parsed(&self) -> &[RevocationList] {
        &self.parsed
    }

    /// All of them; `None` if there is one that this crate does not parse.
    pub(super) fn parsed(&self) -> Option<&[RevocationList]> {
        (self.parsed.len() == self.ders.len()).then_some(&*self.parsed)
    }
}

fn warn_of_outdated(path: &Path, list: &RevocationList) {
    if list.is_outdated(SystemTime::now()) {
        tracing::warn!(
            file = %path.display(),
            next_update = list.next_update(),
            hint = "`hsm-mtls trust update` fetches a newer one, where `crls` has its `url`",
            "this CRL is outdated, and counts all the same (`crl_stale`): it may lack what was revoked since"
        );
    }
}

fn parse(bytes: Vec<u8>, path: &Path) -> Result<Vec<Arc<Vec<u8>>>, TlsError> {
    let lists = crl::extract_ders(bytes).map_err(|why| TlsError::Crl {
        path: path.to_owned(),
        why,
    })?;
    for der in &lists {
        check_crl(der, path)?;
    }
    Ok(lists.into_iter().map(Arc::new).collect())
}

/// Checks that webpki can use a CRL, which is or will be in the file at `path`.
///
/// # Errors
/// It cannot.
pub fn check_crl(der: &[u8], path: &Path) -> Result<(), TlsError> {
    let path = || path.to_owned();
    read_to_end(der).map_err(|error| {
        let error = of_list(error);
        match unsupported_feature(&error, der) {
            Some(feature) => TlsError::UnsupportedCrl {
                path: path(),
                feature,
            },
            None => TlsError::Crl {
                path: path(),
                why: VerifierBuilderError::InvalidCrl(error).to_string(),
            },
        }
    })
}

/// Reads the list entry by entry.
fn read_to_end(der: &[u8]) -> Result<(), Webpki> {
    let list = BorrowedCertRevocationList::from_der(der)?;
    for entry in &list {
        entry?;
    }
    Ok(())
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
