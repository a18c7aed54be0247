//! Verifies the client certificate's chain in the same way as a server of the environment, so that no certificate is
//! installed that the hub would refuse.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::TlsError;
use super::chain_verifier::root_store;
use super::signature_algorithms::with_all_algorithms;
use super::unsupported::{self, VerificationContext};
use crate::certificate::anchors::{Anchors, Chain};
use crate::certificate::{Certificate, CertificateError};

/// Verifies the chain up to a root of the bundle.
///
/// # Errors
/// The chain does not verify.
pub fn verify_client_chain(
    chain: &Chain,
    anchors: &Anchors,
    provider: &Arc<CryptoProvider>,
) -> Result<(), TlsError> {
    let roots = Arc::new(root_store(anchors)?);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, with_all_algorithms(provider))
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
    let der = |certificate: &Certificate| CertificateDer::from(certificate.der().to_vec());
    let issuers: Vec<_> = chain.certificates().skip(1).map(der).collect();
    let verified = verifier.verify_client_cert(&der(chain.leaf()), &issuers, UnixTime::now());
    let Err(error) = verified else {
        return Ok(());
    };
    let certificates: Vec<_> = chain.certificates().cloned().collect();
    let context = VerificationContext {
        chain: &certificates,
        is_complete: true,
        anchors,
        crls: &[],
    };
    match unsupported::explain(&error, &context) {
        // rustls does not support something in the chain: this crate's own path validation decides.
        TlsError::Unsupported(_) => Ok(chain.check_path(anchors, SystemTime::now())?),
        _ => Err(CertificateError::Chain(error.to_string()).into()),
    }
}
