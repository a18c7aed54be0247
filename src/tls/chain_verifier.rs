//! Verifies a server's chain against one set of trust anchors, with the CRLs of `[trust]`: dates, signatures, purpose and host name by
//! rustls, the status of its certificates by [`super::chain_status`].

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier as _};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};

use super::TlsError;
use super::chain_status::ChainStatus;
pub(super) use super::chain_status::LeafStatus;
use super::revocation::Crls;
use crate::certificate::anchors::Anchors;

/// Verifies chains to one set of roots.
#[derive(Debug)]
pub(super) struct ChainVerifier {
    chain: Arc<WebPkiServerVerifier>,
    status: ChainStatus,
}

impl ChainVerifier {
    /// # Errors
    /// There are no roots.
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        crls: &Arc<Crls>,
        status: LeafStatus,
    ) -> Result<Self, TlsError> {
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        Ok(Self {
            chain: verifier
                .build()
                .map_err(|error| TlsError::Setup(error.to_string()))?,
            status: ChainStatus::new(roots, provider, crls, status),
        })
    }

    /// rustls's verifier, for the signatures of a handshake: roots and CRLs do not matter for them.
    pub(super) fn of_signatures(&self) -> &WebPkiServerVerifier {
        &self.chain
    }

    /// Verifies dates, signatures, purpose, host name and status. The host name comes last: an error about it means that the
    /// chain was accepted.
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
            .chain
            .verify_server_cert(leaf, intermediates, name, &[], now);
        match &verified {
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(_) => return verified,
        }
        self.status.check(leaf, intermediates, now)?;
        verified
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

/// The roots of the configured anchors.
///
/// # Errors
/// One of them cannot be used.
pub(super) fn root_store(anchors: &Anchors) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in anchors.roots() {
        roots
            .add(CertificateDer::from(root.der().to_vec()))
            .map_err(|error| TlsError::Anchor(error.to_string()))?;
    }
    Ok(roots)
}
