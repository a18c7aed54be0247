//! Name, TCP, TLS: one watched connection to a configured host, each part with a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::Instrument;

use super::happy_eyeballs::Answered;
use super::resolution::Resolution;
use super::unhurried::Unhurried;
use super::{ClientError, Stage};
use crate::config::Config;
use crate::config::environment::Origin;
use crate::engine::handshake_threads::offload_after_first_poll;
use crate::tls::issuers::{Acceptance, ForeignIssuer, explain};
use crate::tls::observation::{Observation, Observer};
use crate::tls::{Tls, TlsError, of_handshake};

/// The stream of a watched connection.
pub type HubStream = TlsStream<Unhurried>;

/// Makes watched connections to the configured hosts, and to no other.
#[derive(Clone)]
pub struct Connector {
    handshakes: TlsConnector,
    tls: Tls,
    origins: Vec<Origin>,
    timeout: Duration,
    answered: Answered,
    resolution: Resolution,
}

/// A connection that the server asked our certificate for, and got it.
///
/// Made by a [`Connector`] only: a stream of other making might be anonymous.
pub struct Connection {
    stream: HubStream,
    origin: Origin,
    // In TLS 1.3 a refusal comes with the first read: this explains it then.
    foreign: Option<Box<ForeignIssuer>>,
}

impl Connection {
    /// Where it leads.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Version, suite and group, as an operator compares them.
    pub fn describe(&self) -> String {
        let (_, tls) = self.stream.get_ref();
        let version = tls
            .protocol_version()
            .map_or("", |version| version.as_str().unwrap_or(""));
        let suite = tls
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()));
        let group = tls
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name()));
        [Some(version.replace("_", ".")), suite, group]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Whether the server chose HTTP/2.
    pub fn is_h2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    /// The stream, and what the server's CertificateRequest said of our issuer where it does not accept it.
    pub fn into_parts(self) -> (HubStream, Option<Box<ForeignIssuer>>) {
        (self.stream, self.foreign)
    }
}

impl Connector {
    /// A connector with HTTP/1.1.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn new(config: &Config, tls: &Tls) -> Result<Self, TlsError> {
        Self::with_protocols(config, tls, &[b"http/1.1"])
    }

    /// A connector that offers these protocols (ALPN), the best first.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn with_protocols(
        config: &Config,
        tls: &Tls,
        protocols: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let client = tls.watched(config, protocols)?;
        Ok(Self {
            handshakes: TlsConnector::from(Arc::new(client)),
            tls: tls.clone(),
            origins: config.hub.origins().into_iter().cloned().collect(),
            timeout: config.hub.connect_timeout,
            answered: Answered::default(),
            resolution: Resolution::default(),
        })
    }

    /// The same, with HTTP/1.1 alone offered: for a server that wants no HTTP/2.
    #[cfg(feature = "front-end")]
    pub fn over_http1(&self) -> Self {
        let mut client = rustls::ClientConfig::clone(self.handshakes.config());
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            handshakes: TlsConnector::from(Arc::new(client)),
            ..self.clone()
        }
    }

    /// Connects; all three parts share one deadline.
    ///
    /// # Errors
    /// The host is not configured, cannot be reached, or the handshake fails.
    pub async fn connect(&self, origin: &Origin) -> Result<Connection, ClientError> {
        self.connect_for(origin, None).await
    }

    /// The same for the request of this `x-fapi-interaction-id`: the ledger names it.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_for(
        &self,
        origin: &Origin,
        interaction_id: Option<&str>,
    ) -> Result<Connection, ClientError> {
        let span = tracing::debug_span!("connection", host = origin.host, port = origin.port);
        let connecting = async {
            let deadline = self.deadline();
            self.tls.has_begun(SystemTime::now())?;
            let addresses = self.resolve(origin, deadline).await?;
            let tcp = self.tcp(origin, &addresses, deadline).await?;
            let interaction_id = interaction_id.map(str::to_owned);
            let (made, _) = self.handshake(origin, interaction_id, tcp, deadline).await;
            if made.is_err() {
                self.answered.forget(origin);
            }
            made
        };
        connecting.instrument(span).await
    }

    /// When a connection that is begun now must stand.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Resolves the host's name. Where that takes longer than a quarter of a second, what it gave before
    /// is good enough, for ten minutes.
    ///
    /// # Errors
    /// The host is not configured, has no address, or the resolver gave no answer in time.
    pub async fn resolve(
        &self,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ClientError> {
        if !self.origins.contains(origin) {
            return Err(ClientError::NotConfigured {
                origin: origin.to_string(),
                configured: self.origins.iter().map(Origin::to_string).collect(),
            });
        }
        let failed = |why: String| ClientError::Resolve {
            host: origin.host.clone(),
            why,
        };
        let looked_up = self.resolution.of(&origin.host, origin.port);
        let addresses = timeout_at(deadline.into(), looked_up)
            .await
            .map_err(|_| self.late(Stage::Resolve, origin))?
            .map_err(|error| failed(error.to_string()))?;
        if addresses.is_empty() {
            return Err(failed("the name has no address".to_owned()));
        }
        Ok(addresses)
    }

    /// Connects to the first address that answers (RFC 8305): the next one is tried where one is silent
    /// for a quarter of a second, or refuses; and the one that answered before is tried first.
    ///
    /// # Errors
    /// None does in time. Each that was tried is named, with what it said.
    pub async fn tcp(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<TcpStream, ClientError> {
        let trying = self.answered.connect(origin, addresses, deadline);
        let stream = trying
            .await
            .stream(origin, self.timeout, Instant::now() >= deadline)?;
        // A handshake is small writes that wait for answers: Nagle would add 40 ms to some.
        stream
            .set_nodelay(true)
            .map_err(|error| ClientError::Connect {
                host: origin.host.clone(),
                why: error.to_string(),
            })?;
        Ok(stream)
    }

    /// Makes the handshake, and says what it showed also where it failed.
    pub async fn handshake(
        &self,
        origin: &Origin,
        interaction_id: Option<String>,
        tcp: TcpStream,
        deadline: Instant,
    ) -> (Result<Connection, ClientError>, Observation) {
        let observer = Observer::of(origin.host_and_port(), interaction_id);
        let attempt = async {
            let name = server_name(origin)?;
            let stream = Unhurried::new(tcp);
            let (connecting, watched) = (self.handshakes.connect(name, stream), observer.clone());
            let handshake =
                offload_after_first_poll(async move { watched.watch(connecting).await })
                    .instrument(tracing::debug_span!("handshake"));
            timeout_at(deadline.into(), handshake)
                .await
                .map_err(|_| self.late(Stage::Handshake, origin))?
                .map_err(|error| ClientError::Tls(of_handshake(&error)))
        };
        let result = attempt.await;
        let seen = observer.seen();
        let foreign = match seen.asked.as_ref().map(|asked| self.tls.acceptance(asked)) {
            Some(Acceptance::Foreign(foreign)) => Some(foreign),
            _ => None,
        };
        // The verifier has refused already where we were not asked. This is the second lock: a
        // connection over which no certificate was asked for is never handed out.
        let result = match result {
            Ok(_) if seen.asked.is_none() || seen.signed.is_none() => {
                Err(ClientError::Tls(TlsError::NotAsked))
            }
            Ok(stream) => Ok(Connection {
                stream,
                origin: origin.clone(),
                foreign,
            }),
            Err(ClientError::Tls(error)) => {
                let error = self.tls.explain_version(seen.place(error));
                Err(ClientError::Tls(explain(error, foreign.as_deref())))
            }
            Err(other) => Err(other),
        };
        (result, seen)
    }

    fn late(&self, stage: Stage, origin: &Origin) -> ClientError {
        ClientError::Deadline {
            stage,
            host: origin.host.clone(),
            after: self.timeout,
        }
    }
}

/// The name that a server's certificate must carry.
///
/// # Errors
/// It is neither a DNS name nor an IP address.
pub fn server_name(origin: &Origin) -> Result<ServerName<'static>, ClientError> {
    ServerName::try_from(origin.host.clone()).map_err(|error| ClientError::Resolve {
        host: origin.host.clone(),
        why: error.to_string(),
    })
}
