//! TLS without a client certificate, for what everybody may fetch: the published key sets. The servers are trusted by the public
//! roots of this machine, as any browser's are; the hub's are never reached this way.

use rustls::ClientConfig;

use super::chain_verifier::public_roots;
use super::{BOTH_VERSIONS, TlsError, provider};
use crate::config::TlsConfig;

/// A configuration that offers HTTP/1.1 and no client certificate. Where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, the roots
/// are those in there, as for OpenSSL.
///
/// # Errors
/// This machine has no public roots.
pub(crate) fn anonymous_client_config(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let mut client = ClientConfig::builder_with_provider(provider(config))
        .with_protocol_versions(BOTH_VERSIONS)
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(public_roots()?)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(client)
}
