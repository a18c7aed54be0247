//! What one handshake showed: whether we were asked, by whom, and how the token took it.
//!
//! rustls shares one resolver and one verifier among all connections of a configuration, and
//! tells neither which connection it serves. So each handshake is polled inside a task-local, and
//! what its callbacks note there belongs to it alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Moment, TlsError};
use crate::key::scheme::Scheme;
use crate::poison::IgnorePoison as _;

tokio::task_local! {
    static CURRENT: Arc<Mutex<Observation>>;
}

/// What was seen during one handshake.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The server's CertificateRequest, if it sent one.
    pub asked: Option<Asked>,
    /// The server's chain as it came, leaf first (DER). Empty: no full handshake got so far.
    pub server_chain: Vec<Vec<u8>>,
    /// The signature that we made.
    pub signed: Option<Signed>,
    /// Whom the connection is to, as `host:port`, or `host` where the port is not known.
    pub peer: Option<String>,
    /// `x-fapi-interaction-id` of the request that wants the connection, where there is one.
    pub interaction_id: Option<String>,
}

impl Observation {
    /// Says how far the handshake was when the server ended it.
    pub(crate) fn place(&self, error: TlsError) -> TlsError {
        let when = match (&self.signed, self.server_chain.is_empty(), &self.asked) {
            (Some(_), ..) => Moment::AfterOurCertificate,
            (None, true, None) => Moment::AfterOurHello,
            (None, ..) => Moment::DuringTheHandshake,
        };
        match error {
            TlsError::Closed { how, .. } => TlsError::Closed { how, when },
            TlsError::Alert { name, code, .. } => TlsError::Alert { name, code, when },
            other => other,
        }
    }
}

/// A CertificateRequest.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Distinguished names (DER) that the server accepts as issuers. Empty: it does not say.
    pub issuers: Vec<Vec<u8>>,
    /// The schemes that it accepts, by their names.
    pub schemes: Vec<String>,
}

/// Our signature.
#[derive(Clone, Copy, Debug)]
pub struct Signed {
    /// How.
    pub scheme: Scheme,
    /// How long the token took, queueing and verification included.
    pub elapsed: Duration,
}

/// A place that one handshake's callbacks note into.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<Observation>>);

impl Observer {
    /// For a connection to `peer`, wanted by the request of this interaction id.
    pub fn of(peer: String, interaction_id: Option<String>) -> Self {
        Self(Arc::new(Mutex::new(Observation {
            peer: Some(peer),
            interaction_id,
            ..Observation::default()
        })))
    }

    /// Polls a handshake so that what its callbacks note is noted here.
    pub async fn watch<F: Future>(&self, handshake: F) -> F::Output {
        CURRENT.scope(Arc::clone(&self.0), handshake).await
    }

    /// What was seen so far.
    pub fn seen(&self) -> Observation {
        self.0.lock().ignore_poison().clone()
    }
}

/// Notes something about the handshake that this task polls. `None` where nobody watches it.
pub(super) fn note<T>(with: impl FnOnce(&mut Observation) -> T) -> Option<T> {
    CURRENT
        .try_with(|seen| with(&mut seen.lock().ignore_poison()))
        .ok()
}
