//! TLS without a client certificate, for what everybody may fetch, the published key sets, and for a forward proxy at https. The
//! servers are trusted by the public roots of this machine, as any browser's are, or by those of a file; the hub's are never reached
//! this way.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::chain_verifier::public_roots;
use super::{BOTH_VERSIONS, TlsError, provider};
use crate::config::TlsConfig;

/// A configuration that offers HTTP/1.1 and no client certificate. Where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, the roots
/// are those in there, as for OpenSSL.
///
/// # Errors
/// This machine has no public roots.
pub(crate) fn anonymous_client_config(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    with_roots(config, public_roots()?)
}

/// The same, with the roots of this PEM file in the place of the public ones: for a forward proxy of the bank's own.
///
/// # Errors
/// The file has no certificate that can be a root.
pub(crate) fn anonymous_client_config_of(
    config: &TlsConfig,
    anchors: &Path,
) -> Result<ClientConfig, TlsError> {
    let unusable = |why: String| TlsError::ProxyAnchors(format!("{}: {why}", anchors.display()));
    let found =
        CertificateDer::pem_file_iter(anchors).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for root in found {
        let added = root.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(added)
            .map_err(|error| unusable(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(unusable("it has no certificate".to_owned())),
        false => with_roots(config, Arc::new(roots)),
    }
}

fn with_roots(config: &TlsConfig, roots: Arc<RootCertStore>) -> Result<ClientConfig, TlsError> {
    let mut client = ClientConfig::builder_with_provider(provider(config))
        .with_protocol_versions(BOTH_VERSIONS)
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(client)
}
