//! Which certificate for which server: always ours. That we were asked is noted.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::observation::{Asked, note};
use super::signer::{TokenKey, name};
use crate::certificate::Certificate;
use crate::identity::Identity;
use crate::metrics::KeyMetrics;

/// Answers each CertificateRequest with the one identity.
#[derive(Debug)]
pub(super) struct OneIdentity {
    certified: Arc<CertifiedKey>,
    leaf: Certificate,
    meter: KeyMetrics,
}

impl OneIdentity {
    pub(super) fn of(identity: &Identity) -> Self {
        let chain = identity.chain().certificates();
        let der = chain.map(|certificate| CertificateDer::from(certificate.der().to_vec()));
        let key = TokenKey(Arc::clone(identity.signer()));
        Self {
            certified: Arc::new(CertifiedKey::new(der.collect(), Arc::new(key))),
            leaf: identity.chain().leaf().clone(),
            meter: KeyMetrics::new(&identity.signer().key_uri()),
        }
    }
}

impl OneIdentity {
    pub(super) fn leaf(&self) -> &Certificate {
        &self.leaf
    }
}

impl ResolvesClientCert for OneIdentity {
    /// Never `None`, also where the server's list of issuers lacks ours: the server refuses then,
    /// and says so, instead of serving a client that it does not know.
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        note(|seen| {
            seen.asked = Some(Asked {
                issuers: root_hint_subjects
                    .iter()
                    .map(|name| name.to_vec())
                    .collect(),
                schemes: sigschemes.iter().map(|scheme| name(*scheme)).collect(),
            });
        });
        self.meter
            .certificate(self.leaf.days_left(SystemTime::now()));
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
