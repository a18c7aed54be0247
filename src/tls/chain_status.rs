//! Whether a certificate of a valid chain is on a CRL of `[trust]`.
//!
//! The leaf must have a good status in a CRL. The CAs above it are checked against the CRLs that there are: whoever
//! configures the list of the Issuing CA only has none of the root's, and a revoked CA must be noticed where there is one.
//!
//! A list may have 50 MB. So webpki reads it where it is, and a chain that was found good is not looked up again, nor the list's
//! signature checked again, at each further handshake: the lists do not change before the next reload. rustls's own verifier
//! keeps each entry as an object of its own (ten times the list), and checks the signature over the whole list each time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{Error, RootCertStore};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::revocation::Crls;
use super::webpki_error::of_status;
use crate::certificate::Certificate;
use crate::config::trust::StaleCrl;
use crate::poison::IgnorePoison as _;

/// How many good chains are remembered: a hub has a few servers.
const MAX_CHAINS: usize = 64;

/// Whether a leaf whose status is in no CRL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeafStatus {
    /// It is refused, where there is a CRL at all.
    Required,
    /// It is accepted: the CRLs are of other CAs. One of its own issuer counts.
    Optional,
}

/// Checks the statuses of chains to one set of roots.
#[derive(Debug)]
pub(super) struct ChainStatus {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    crls: Arc<Crls>,
    leaf: LeafStatus,
    good: Mutex<Vec<GoodChain>>,
}

/// A chain that was found good, and when that holds.
#[derive(Debug)]
struct GoodChain {
    hash: [u8; 32],
    from: UnixTime,
    until: UnixTime,
}

impl ChainStatus {
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        crls: &Arc<Crls>,
        leaf: LeafStatus,
    ) -> Self {
        Self {
            roots: Arc::clone(roots),
            provider: Arc::clone(provider),
            crls: Arc::clone(crls),
            leaf,
            good: Mutex::default(),
        }
    }

    /// Checks a chain that is valid otherwise.
    ///
    /// # Errors
    /// As rustls's verifier.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.crls.is_empty() {
            return Ok(());
        }
        let hash = hash(leaf, intermediates);
        let is_good = |good: &GoodChain| good.hash == hash && good.from <= now && now < good.until;
        if self.good.lock().ignore_poison().iter().any(is_good) {
            return Ok(());
        }
        self.look_up(leaf, intermediates, now).map_err(of_status)?;
        if let Some(until) = self.changes_at(leaf, intermediates, now) {
            let mut good = self.good.lock().ignore_poison();
            if good.len() == MAX_CHAINS {
                good.clear();
            }
            good.retain(|other| other.hash != hash);
            good.push(GoodChain {
                hash,
                from: now,
                until,
            });
        }
        Ok(())
    }

    fn look_up(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists = self.crls.ders().iter();
        let lists = lists.map(|der| BorrowedCertRevocationList::from_der(der).map(Into::into));
        let lists: Vec<CertRevocationList<'_>> = lists.collect::<Result<_, _>>()?;
        let lists: Vec<_> = lists.iter().collect();
        let leaf = EndEntityCert::try_from(leaf)?;
        let check = |depth, unknown| {
            let options = RevocationOptionsBuilder::new(&lists)
                .map_err(|_| webpki::Error::UnknownRevocationStatus)?
                .with_depth(depth)
                .with_status_policy(unknown)
                .with_expiration_policy(match self.crls.stale() {
                    // An outdated list may lack what was revoked since.
                    StaleCrl::Refuse => ExpirationPolicy::Enforce,
                    StaleCrl::Warn => ExpirationPolicy::Ignore,
                });
            leaf.verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                KeyUsage::server_auth(),
                Some(options.build()),
                None,
            )
            .map(drop)
        };
        if self.leaf == LeafStatus::Required {
            check(RevocationCheckDepth::EndEntity, UnknownStatusPolicy::Deny)?;
        }
        check(RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow)
    }

    /// Until when the same lists and certificates have the same result: until one of them begins or ceases to be valid. `None` where
    /// that is not known.
    fn changes_at(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<UnixTime> {
        let mut dates = Vec::new();
        for der in std::iter::once(leaf).chain(intermediates) {
            let certificate = Certificate::from_der(der, "the server").ok()?;
            dates.extend([certificate.not_before_time(), certificate.not_after_time()]);
        }
        if self.crls.stale() == StaleCrl::Refuse {
            for list in self.crls.parsed()? {
                dates.push(list.next_update_time()?);
            }
        }
        let dates = dates.into_iter().filter_map(|date| {
            let since_1970 = date.duration_since(std::time::SystemTime::UNIX_EPOCH);
            Some(since_1970.ok()?.as_secs())
        });
        let next = dates.filter(|date| *date > now.as_secs()).min()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(next)))
    }
}

fn hash(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut hash = digest::Context::new(&SHA256);
    for der in std::iter::once(leaf).chain(intermediates) {
        hash.update(&(der.len() as u64).to_be_bytes());
        hash.update(der);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

#[cfg(test)]
#[path = "chain_status_tests.rs"]
mod tests;
