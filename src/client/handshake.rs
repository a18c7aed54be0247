//! One TLS handshake with the hub: its two runs around the signature, and what has to be true of it before its connection is
//! used.

use std::sync::Arc;
use std::time::Instant;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::Instrument;

use super::connector::{Connection, Connector, HubStream};
use super::handshake_stream::HandshakeStream;
use super::transport_stream::TransportStream;
use super::{ClientError, Stage};
use crate::config::origin::Origin;
use crate::engine::EngineError;
use crate::tls::handshake_observer::{Observation, Observer};
use crate::tls::issuers::{IssuerMatch, explain_refusal};
use crate::tls::replay::Replay;
use crate::tls::session_store::{ConnectionSessions, ResumedSession};
use crate::tls::{HandshakePhase, TlsError, from_handshake};

/// Why there is no connection.
pub(super) enum HandshakeFailure {
    /// The session that was offered may be why: without it, the handshake may succeed.
    Session(ClientError),
    Other(ClientError),
}

impl HandshakeFailure {
    fn map(self, explain: impl FnOnce(ClientError) -> ClientError) -> Self {
        match self {
            Self::Session(error) => Self::Session(explain(error)),
            Self::Other(error) => Self::Other(explain(error)),
        }
    }
}

impl From<HandshakeFailure> for ClientError {
    fn from(failure: HandshakeFailure) -> Self {
        match failure {
            HandshakeFailure::Session(error) | HandshakeFailure::Other(error) => error,
        }
    }
}

impl Connector {
    /// Makes the TLS handshake. Returns the observation also if the handshake failed.
    pub async fn handshake(
        &self,
        origin: &Origin,
        interaction_id: Option<String>,
        transport: impl Into<TransportStream>,
        deadline: Instant,
    ) -> (Result<Connection, ClientError>, Observation) {
        // For a single look at a server: it resumes none.
        let sessions = self.tls.sessions(origin, false);
        let handshake =
            self.handshake_with(origin, interaction_id, transport.into(), deadline, sessions);
        let (connection, observation) = handshake.await;
        (connection.map_err(ClientError::from), observation)
    }

    pub(super) async fn handshake_with(
        &self,
        origin: &Origin,
        interaction_id: Option<String>,
        transport: TransportStream,
        deadline: Instant,
        sessions: Option<Arc<ConnectionSessions>>,
    ) -> (Result<Connection, HandshakeFailure>, Observation) {
        let observer = Observer::new(origin.host_and_port(), interaction_id);
        let via = transport.via().cloned();
        let runs = self.runs(origin, transport, &observer, deadline, sessions.as_ref());
        let runs = runs.instrument(tracing::debug_span!("handshake"));
        let result = timeout_at(deadline.into(), runs).await;
        let result = result.unwrap_or_else(|_| {
            // It says nothing of the session.
            let error = self.deadline_error(Stage::Handshake, origin);
            Err(HandshakeFailure::Other(error))
        });
        let observation = observer.observation();
        let result = self.checked(origin, result, &observation, sessions);
        let result = match via {
            Some(via) => result.map_err(|failure| failure.map(|error| in_tunnel(error, &via))),
            None => result,
        };
        (result, observation)
    }

    /// Runs the handshake until rustls asks for the signature, awaits it, and runs the handshake again with it.
    async fn runs(
        &self,
        origin: &Origin,
        transport: TransportStream,
        observer: &Observer,
        deadline: Instant,
        sessions: Option<&Arc<ConnectionSessions>>,
    ) -> Result<HubStream, HandshakeFailure> {
        let name = server_name(origin).map_err(HandshakeFailure::Other)?;
        let handshakes = match sessions {
            Some(sessions) => with_sessions(&self.handshakes, sessions),
            None => self.handshakes.clone(),
        };
        let replay = Arc::new(Replay::default());
        let run = async |stream: HandshakeStream| {
            let connecting = async {
                handshakes
                    .connect(name.clone(), stream)
                    .into_fallible()
                    .await
            };
            let turns = self.turns.run(observer.observe(connecting));
            replay.run(turns).await
        };
        // Of a server that ends the handshake after it was offered a session, the session may be why.
        let failed = |error: TlsError| {
            let error = ClientError::Tls(error);
            match sessions.filter(|sessions| sessions.is_offered()) {
                Some(sessions) => {
                    sessions.refused();
                    HandshakeFailure::Session(error)
                }
                None => HandshakeFailure::Other(error),
            }
        };
        let (error, stream) = match run(HandshakeStream::new(transport, &replay)).await {
            // Nothing had to be signed.
            Ok(mut stream) => {
                stream.get_mut().0.stop_recording();
                return Ok(stream);
            }
            Err(ended) => ended,
        };
        if let Some(sessions) = sessions.filter(|_| !stream.has_sent_ticket()) {
            sessions.no_ticket_sent();
        }
        let error = from_handshake(&error);
        let Some(wanted) = replay.wanted() else {
            return Err(failed(error));
        };
        // rustls gives a ticket to one run only.
        if sessions.is_some_and(|sessions| sessions.ticket_not_taken()) {
            return Err(HandshakeFailure::Session(ClientError::Tls(error)));
        }
        let signing = async {
            // Further handshakes wait, and are not refused by the queue of the signer.
            let _permit = self.signatures.acquire().await;
            self.tls.sign(&wanted, observer).await
        };
        let signed = match self.signature_wait {
            Some(wait) => {
                // Where less time is left, it is the token all the same that has not signed.
                let wait = wait.min(deadline.saturating_duration_since(Instant::now()));
                let late = |_| Err(TlsError::Signature(Arc::new(EngineError::Deadline(wait))));
                timeout(wait, signing).await.unwrap_or_else(late)
            }
            None => signing.await,
        };
        replay.signed(signed.map_err(|error| HandshakeFailure::Other(ClientError::Tls(error)))?);
        let second = run(stream.rewound()).await;
        second.map_err(|(error, _)| match replay.second_run_error() {
            Some(error) => HandshakeFailure::Other(ClientError::Tls(error)),
            None => failed(from_handshake(&error)),
        })
    }

    /// The connection of a handshake, if it may be used; or its failure, explained.
    fn checked(
        &self,
        origin: &Origin,
        result: Result<HubStream, HandshakeFailure>,
        observation: &Observation,
        sessions: Option<Arc<ConnectionSessions>>,
    ) -> Result<Connection, HandshakeFailure> {
        let request = observation.certificate_request.as_ref();
        let foreign = match request.map(|request| self.tls.match_issuers(request)) {
            Some(IssuerMatch::Foreign(foreign)) => Some(foreign),
            _ => None,
        };
        // The verifier refuses a server that sends no CertificateRequest. This is a second check: no connection without a
        // CertificateRequest and a signature is returned, but for one that resumes the session of a connection that had both.
        let resumed = |stream: &HubStream| {
            let kind = stream.get_ref().1.handshake_kind();
            let sessions = sessions.clone()?;
            (kind == Some(HandshakeKind::Resumed)).then_some(ResumedSession(sessions))
        };
        let resumed = result.as_ref().ok().and_then(resumed);
        match result {
            Ok(stream) if resumed.is_some() => {
                if let Some(session) = &resumed {
                    session.0.admit_resumed();
                }
                Ok(Connection {
                    stream,
                    origin: origin.clone(),
                    foreign: None,
                    resumed,
                })
            }
            Ok(_) if request.is_none() || observation.signature.is_none() => Err(
                HandshakeFailure::Other(ClientError::Tls(TlsError::NotAsked)),
            ),
            Ok(stream) => {
                if let Some(sessions) = &sessions {
                    sessions.admit_full(&observation.server_chain);
                }
                Ok(Connection {
                    stream,
                    origin: origin.clone(),
                    foreign,
                    resumed: None,
                })
            }
            Err(failure) => Err(failure.map(|error| match error {
                ClientError::Tls(error) => {
                    let error = self.tls.explain_version(observation.add_phase(error));
                    let error = self.tls.explain_untrusted(error, &observation.server_chain);
                    ClientError::Tls(explain_refusal(error, foreign.as_deref()))
                }
                other => other,
            })),
        }
    }
}

/// The error of a handshake in a tunnel. Where the server said nothing, it may as well be the forward proxy that ended it, or that
/// drops what is sent.
fn in_tunnel(error: ClientError, via: &Arc<str>) -> ClientError {
    let may_be_its = match &error {
        ClientError::Deadline { .. } | ClientError::Tls(TlsError::Network(_)) => true,
        ClientError::Tls(TlsError::Closed { phase, .. }) => {
            *phase == HandshakePhase::AfterClientHello
        }
        _ => false,
    };
    match may_be_its {
        true => ClientError::InTunnel {
            proxy: via.to_string(),
            error: Box::new(error),
        },
        false => error,
    }
}

/// The same handshakes, with the sessions of one connection.
fn with_sessions(handshakes: &TlsConnector, sessions: &Arc<ConnectionSessions>) -> TlsConnector {
    let mut client = ClientConfig::clone(handshakes.config());
    // In TLS 1.2 by the session's id: in a ticket there would be room for what the signer process is not to sign.
    client.resumption = Resumption::store(Arc::clone(sessions) as Arc<_>)
        .tls12_resumption(Tls12Resumption::SessionIdOnly);
    TlsConnector::from(Arc::new(client))
}

/// The name that the server's certificate must contain.
///
/// # Errors
/// The host is neither a DNS name nor an IP address.
pub fn server_name(origin: &Origin) -> Result<ServerName<'static>, ClientError> {
    ServerName::try_from(origin.host.clone()).map_err(|error| ClientError::Resolve {
        host: origin.host.clone(),
        why: error.to_string(),
    })
}
