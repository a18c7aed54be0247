//! Observes one handshake: records the server's CertificateRequest and certificate chain, and the client's signature.
//!
//! rustls shares one resolver and one verifier among all connections of a configuration, and does not tell them to which
//! connection a call belongs. So each handshake is polled with a task-local value, in which resolver, signer and verifier
//! record.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{HandshakePhase, TlsError};
use crate::key::scheme::Scheme;
use crate::poison::IgnorePoison as _;

tokio::task_local! {
    static CURRENT: Arc<Mutex<Observation>>;
}

/// What was recorded during one handshake.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The server's CertificateRequest, if it sent one.
    pub certificate_request: Option<CertificateRequest>,
    /// The certificates (DER) that the server sent, leaf first. Empty: the handshake ended before that.
    pub server_chain: Vec<Vec<u8>>,
    /// The client's signature.
    pub signature: Option<HandshakeSignature>,
    /// The server, as `host:port`, or `host` where the port is not known.
    pub peer: Option<String>,
    /// `x-fapi-interaction-id` of the request that the connection is made for.
    pub interaction_id: Option<String>,
}

impl Observation {
    /// Sets the handshake phase of an error by which the server ended the handshake.
    pub(crate) fn add_phase(&self, error: TlsError) -> TlsError {
        let phase = match (
            &self.signature,
            self.server_chain.is_empty(),
            &self.certificate_request,
        ) {
            (Some(_), ..) => HandshakePhase::AfterClientCertificate,
            (None, true, None) => HandshakePhase::AfterClientHello,
            (None, ..) => HandshakePhase::DuringHandshake,
        };
        match error {
            TlsError::Closed { ending, .. } => TlsError::Closed { ending, phase },
            TlsError::Alert { name, code, .. } => TlsError::Alert { name, code, phase },
            other => other,
        }
    }
}

/// The server's CertificateRequest.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The distinguished names (DER) of the accepted issuers. Empty: any issuer.
    pub issuers: Vec<Vec<u8>>,
    /// The names of the accepted signature schemes.
    pub schemes: Vec<String>,
}

/// The client's signature in a handshake.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeSignature {
    /// The signature scheme.
    pub scheme: Scheme,
    /// How long it took, including queueing and verification.
    pub elapsed: Duration,
}

/// Observes one handshake.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<Observation>>);

impl Observer {
    /// An observer for a connection to `peer`, made for the request with this interaction id.
    pub fn new(peer: String, interaction_id: Option<String>) -> Self {
        Self(Arc::new(Mutex::new(Observation {
            peer: Some(peer),
            interaction_id,
            ..Observation::default()
        })))
    }

    /// Polls a handshake so that its resolver, signer and verifier record in this observer.
    pub async fn observe<F: Future>(&self, handshake: F) -> F::Output {
        CURRENT.scope(Arc::clone(&self.0), handshake).await
    }

    /// The server, and the interaction id.
    pub(super) fn peer(&self) -> (Option<String>, Option<String>) {
        let observation = self.0.lock().ignore_poison();
        (observation.peer.clone(), observation.interaction_id.clone())
    }

    /// Records the client's signature.
    pub(super) fn signed(&self, signature: HandshakeSignature) {
        self.0.lock().ignore_poison().signature = Some(signature);
    }

    /// What was recorded so far.
    pub fn observation(&self) -> Observation {
        self.0.lock().ignore_poison().clone()
    }
}

/// Records in the observation of the handshake that the current task polls. `None`: it is not observed.
pub(super) fn record<T>(with: impl FnOnce(&mut Observation) -> T) -> Option<T> {
    CURRENT
        .try_with(|current| with(&mut current.lock().ignore_poison()))
        .ok()
}
