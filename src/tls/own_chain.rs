//! Our own chain, verified as a server of the environment would: so that a certificate that no hub would take is
//! not installed.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::TlsError;
use super::algorithms::for_certificates;
use super::trust::root_store;
use super::unsupported::{self, Against};
use crate::certificate::anchors::{Anchors, Chain};
use crate::certificate::{Certificate, CertificateError};

/// Verifies it up to a root of the bundle.
///
/// # Errors
/// It does not verify.
pub fn verify_own_chain(
    chain: &Chain,
    anchors: &Anchors,
    provider: &Arc<CryptoProvider>,
) -> Result<(), TlsError> {
    let roots = Arc::new(root_store(anchors)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, for_certificates(provider))
        .build()
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let der = |certificate: &Certificate| CertificateDer::from(certificate.der().to_vec());
    let issuers: Vec<_> = chain.certificates().skip(1).map(der).collect();
    let verified = verifier.verify_client_cert(&der(chain.leaf()), &issuers, UnixTime::now());
    let Err(error) = verified else {
        return Ok(());
    };
    let certificates: Vec<_> = chain.certificates().cloned().collect();
    let against = Against {
        chain: &certificates,
        is_whole: true,
        anchors,
        crls: &[],
    };
    match unsupported::explain(&error, &against) {
        // What the library has no means for is checked here.
        TlsError::Unsupported(_) => Ok(chain.check_path(anchors, SystemTime::now())?),
        _ => Err(CertificateError::Chain(error.to_string()).into()),
    }
}
