//! The resolver of the client certificate: returns the same certificate for every CertificateRequest, and records the
//! request.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::handshake_observer::{CertificateRequest, record};
use super::signing_key::{TokenSigningKey, scheme_name};
use crate::certificate::Certificate;
use crate::engine::Sign;
use crate::identity::Identity;
use crate::metrics::KeyMetrics;

/// Answers each CertificateRequest with the identity's certificate.
#[derive(Debug)]
pub(super) struct ClientCertResolver {
    certified: Arc<CertifiedKey>,
    leaf: Certificate,
    key: Arc<dyn Sign>,
    metrics: KeyMetrics,
}

impl ClientCertResolver {
    pub(super) fn new(identity: &Identity) -> Self {
        let chain = identity.chain().certificates();
        let der = chain.map(|certificate| CertificateDer::from(certificate.der().to_vec()));
        let key = TokenSigningKey(Arc::clone(identity.signer()));
        Self {
            certified: Arc::new(CertifiedKey::new(der.collect(), Arc::new(key))),
            leaf: identity.chain().leaf().clone(),
            key: Arc::clone(identity.signer()),
            metrics: KeyMetrics::new(&identity.signer().key_uri()),
        }
    }
}

impl ClientCertResolver {
    pub(super) fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    pub(super) fn key(&self) -> &Arc<dyn Sign> {
        &self.key
    }
}

impl ResolvesClientCert for ClientCertResolver {
    /// Never `None`, even if the server's list of issuers lacks the certificate's: the server then refuses the certificate
    /// with a reason, instead of serving an anonymous client.
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        record(|observation| {
            observation.certificate_request = Some(CertificateRequest {
                issuers: root_hint_subjects
                    .iter()
                    .map(|name| name.to_vec())
                    .collect(),
                schemes: sigschemes
                    .iter()
                    .map(|scheme| scheme_name(*scheme))
                    .collect(),
            });
        });
        self.metrics
            .certificate(self.leaf.days_left(SystemTime::now()));
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
