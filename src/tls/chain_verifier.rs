//! Verifies a server's chain against one set of trust anchors, with the CRLs of `[trust]`.
//!
//! The leaf must have a good status in a CRL. The CAs above it are checked against the CRLs that there are: whoever
//! configures the list of the Issuing CA only has none of the root's, and a revoked CA must be noticed where there is one.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier as _};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{Error, RootCertStore};

use super::TlsError;
use super::revocation::Crls;
use crate::config::trust::StaleCrl;

/// Whether a leaf whose status is in no CRL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeafStatus {
    /// It is refused, where there is a CRL at all.
    Required,
    /// It is accepted: the CRLs are of other CAs. One of its own issuer counts.
    Optional,
}

/// Verifies chains to one set of roots.
#[derive(Debug)]
pub(super) struct ChainVerifier {
    /// With the status of the leaf, where that is required.
    leaf: Arc<WebPkiServerVerifier>,
    /// With the statuses of the whole chain, as far as they are known. `None` where there are no CRLs.
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ChainVerifier {
    /// # Errors
    /// There are no roots, or a CRL cannot be used.
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        crls: &Crls,
        status: LeafStatus,
    ) -> Result<Self, TlsError> {
        let builder =
            || WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let with_crls = || {
            let builder = builder().with_crls(crls.ders().iter().cloned());
            match crls.stale() {
                // An outdated list may lack what was revoked since.
                StaleCrl::Refuse => builder.enforce_revocation_expiration(),
                StaleCrl::Warn => builder,
            }
        };
        let crls = crls.ders();
        let is_required = status == LeafStatus::Required && !crls.is_empty();
        let leaf = match is_required {
            true => with_crls().only_check_end_entity_revocation().build(),
            false => builder().build(),
        };
        let chain = (!crls.is_empty())
            .then(|| with_crls().allow_unknown_revocation_status().build())
            .transpose();
        let setup =
            |error: rustls::client::VerifierBuilderError| TlsError::Setup(error.to_string());
        Ok(Self {
            leaf: leaf.map_err(setup)?,
            chain: chain.map_err(setup)?,
        })
    }

    /// rustls's verifier, for the signatures of a handshake: roots and CRLs do not matter for them.
    pub(super) fn of_signatures(&self) -> &WebPkiServerVerifier {
        &self.leaf
    }

    /// Verifies dates, signatures, purpose, host name and status.
    ///
    /// # Errors
    /// As rustls's verifier.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .leaf
            .verify_server_cert(leaf, intermediates, name, &[], now)?;
        match &self.chain {
            Some(chain) => chain.verify_server_cert(leaf, intermediates, name, &[], now),
            None => Ok(verified),
        }
    }
}

/// The public roots of this machine.
///
/// # Errors
/// It has none that can be used.
pub(super) fn public_roots() -> Result<Arc<RootCertStore>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Certificates of the system's store that webpki cannot parse are left out.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let errors = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoPublicRoots(errors));
    }
    Ok(Arc::new(roots))
}
