//! Makes a connection to a configured host (DNS, TCP, TLS) within one deadline, through a forward proxy where one is configured.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tracing::Instrument;

pub use super::connection::{Connection, HubStream};
use super::cpu_turns::CpuTurns;
use super::dns_cache::DnsCache;
#[cfg(feature = "front-end")]
use super::failover::Failover;
use super::forward_proxy::Limit;
use super::handshake::HandshakeFailure;
use super::happy_eyeballs::PreferredAddresses;
use super::route::Routes;
use super::transport_stream::TransportStream;
use super::{ClientError, Stage};
use crate::config::Config;
use crate::config::origin::Origin;
use crate::engine::MAX_WAITING;
use crate::tls::{Tls, TlsError};

/// Makes connections to the configured hosts only, and observes each handshake.
#[derive(Clone)]
pub struct Connector {
    pub(super) handshakes: TlsConnector,
    pub(super) tls: Tls,
    origins: Vec<Origin>,
    timeout: Duration,
    preferred: PreferredAddresses,
    dns: DnsCache,
    routes: Routes,
    /// One permit for each handshake that may wait for its signature. Shared by all copies.
    pub(super) signatures: Arc<Semaphore>,
    pub(super) turns: CpuTurns,
    /// How long a signature is waited for, where another token can be asked.
    pub(super) signature_wait: Option<Duration>,
    /// Other tokens sign too: each connection is made by the connector of one of them.
    #[cfg(feature = "front-end")]
    pub(super) failover: Option<Arc<Failover>>,
    #[cfg(feature = "front-end")]
    is_http1_only: bool,
}

impl Connector {
    /// A connector that offers HTTP/1.1.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn new(config: &Config, tls: &Tls) -> Result<Self, TlsError> {
        Self::with_protocols(config, tls, &[b"http/1.1"])
    }

    /// A connector that offers these ALPN protocols, the preferred first.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn with_protocols(
        config: &Config,
        tls: &Tls,
        protocols: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let client = tls.observed_client_config(config, protocols)?;
        Ok(Self {
            handshakes: TlsConnector::from(Arc::new(client)),
            tls: tls.clone(),
            origins: config.hub.origins().into_iter().cloned().collect(),
            timeout: config.hub.connect_timeout,
            preferred: PreferredAddresses::from_source(config.network.source_address),
            dns: DnsCache::default(),
            routes: Routes::to_hub(config)?,
            signatures: Arc::new(Semaphore::new(MAX_WAITING)),
            turns: CpuTurns::default(),
            signature_wait: None,
            #[cfg(feature = "front-end")]
            failover: None,
            #[cfg(feature = "front-end")]
            is_http1_only: false,
        })
    }

    /// A copy that offers HTTP/1.1 only, for a server that requires it.
    #[cfg(feature = "front-end")]
    pub fn over_http1(&self) -> Self {
        let mut client = rustls::ClientConfig::clone(self.handshakes.config());
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            handshakes: TlsConnector::from(Arc::new(client)),
            is_http1_only: true,
            ..self.clone()
        }
    }

    /// A copy for one connection that another was asked for.
    #[cfg(feature = "front-end")]
    pub(super) fn as_asked(&self, asked: &Self, signature_wait: Option<Duration>) -> Self {
        let connector = match asked.is_http1_only {
            true => self.over_http1(),
            false => self.clone(),
        };
        Self {
            signature_wait,
            ..connector
        }
    }

    /// Connects. Name resolution, TCP and TLS have one common deadline.
    ///
    /// # Errors
    /// The host is not configured, cannot be reached, or the handshake fails.
    pub async fn connect(&self, origin: &Origin) -> Result<Connection, ClientError> {
        self.connect_for(origin, None).await
    }

    /// Connects for the request with this `x-fapi-interaction-id`, which the ledger records.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_for(
        &self,
        origin: &Origin,
        interaction_id: Option<&str>,
    ) -> Result<Connection, ClientError> {
        #[cfg(feature = "front-end")]
        if let Some(failover) = &self.failover {
            return failover.connect(self, origin, interaction_id).await;
        }
        let deadline = self.deadline();
        self.connect_until(origin, interaction_id, deadline).await
    }

    /// [`Self::connect_for`] with this token.
    pub(super) async fn connect_until(
        &self,
        origin: &Origin,
        interaction_id: Option<&str>,
        deadline: Instant,
    ) -> Result<Connection, ClientError> {
        let span = tracing::debug_span!("connection", host = origin.host, port = origin.port);
        let connecting = async {
            self.tls.check_not_before(SystemTime::now())?;
            let transport = self.open(origin, deadline).await?;
            let id = interaction_id.map(str::to_owned);
            let sessions = self.tls.sessions(origin, true);
            let offering = self.handshake_with(origin, id.clone(), transport, deadline, sessions);
            let (mut connection, _) = offering.await;
            // The handshake failed over the session that it offered, or its ticket was not taken.
            if let Err(HandshakeFailure::Session(_)) = &connection {
                let transport = self.open(origin, deadline).await?;
                let sessions = self.tls.sessions(origin, false);
                (connection, _) = self
                    .handshake_with(origin, id, transport, deadline, sessions)
                    .await;
            }
            connection.map_err(|failure| {
                self.preferred.forget(origin);
                self.dns.expire(&origin.host, origin.port);
                failure.into()
            })
        };
        connecting.instrument(span).await
    }

    /// Connects without TLS: by name resolution and TCP, or through the forward proxy that is on the way to the host.
    ///
    /// # Errors
    /// The host is not configured, or there is no connection before the deadline.
    pub async fn open(
        &self,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<TransportStream, ClientError> {
        if self.via(origin).is_none() {
            let addresses = self.resolve(origin, deadline).await?;
            let tcp = self.tcp(origin, &addresses, deadline).await;
            let tcp = tcp.inspect_err(|_| self.dns.expire(&origin.host, origin.port))?;
            return Ok(tcp.into());
        }
        let addresses = match self.routes.resolves_here() {
            true => Some(self.resolve(origin, deadline).await?),
            false => None,
        };
        self.tunnel(origin, addresses.as_deref(), deadline).await
    }

    /// The forward proxy on the way to this host, and whether the host's name is resolved here all the same. `None`: it is
    /// connected to directly.
    pub fn via(&self, origin: &Origin) -> Option<(&str, bool)> {
        let proxy = self.routes.forward_proxy(origin)?;
        Some((proxy.name(), self.routes.resolves_here()))
    }

    /// The tunnel of the forward proxy to the host, or to one of these addresses of it.
    ///
    /// # Errors
    /// The host is not configured, there is no forward proxy on the way to it, or no tunnel before the deadline.
    pub async fn tunnel(
        &self,
        origin: &Origin,
        addresses: Option<&[SocketAddr]>,
        deadline: Instant,
    ) -> Result<TransportStream, ClientError> {
        self.check_configured(origin)?;
        let Some(proxy) = self.routes.forward_proxy(origin) else {
            return Err(ClientError::Setup("no forward proxy".to_owned()));
        };
        let after = self.timeout;
        let limit = Limit { deadline, after };
        let tunnel = match addresses {
            None => proxy.tunnel(&origin.host_and_port(), limit).await,
            Some(addresses) => Routes::tunnel_to_address(proxy, addresses, limit).await,
        };
        Ok(tunnel?)
    }

    /// The local address of connections (`source_address`).
    pub fn source_address(&self) -> Option<IpAddr> {
        self.routes.source_address
    }

    fn check_configured(&self, origin: &Origin) -> Result<(), ClientError> {
        match self.origins.contains(origin) {
            true => Ok(()),
            false => Err(ClientError::NotConfigured {
                origin: origin.to_string(),
                configured: self.origins.iter().map(Origin::to_string).collect(),
            }),
        }
    }

    /// The deadline of a connection that is started now.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Resolves the host name. If the resolver takes longer than 250 ms, addresses of a lookup in the last ten minutes are
    /// used.
    ///
    /// # Errors
    /// The host is not configured, has no address, or the deadline passed.
    pub async fn resolve(
        &self,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ClientError> {
        self.check_configured(origin)?;
        let failed = |why: String| ClientError::Resolve {
            host: origin.host.clone(),
            why,
        };
        let lookup = self.dns.resolve(&origin.host, origin.port);
        let addresses = timeout_at(deadline.into(), lookup)
            .await
            .map_err(|_| self.deadline_error(Stage::Resolve, origin))?
            .map_err(|error| failed(error.to_string()))?;
        if addresses.is_empty() {
            return Err(failed("the name has no address".to_owned()));
        }
        Ok(addresses)
    }

    /// Connects to the first address that accepts (Happy Eyeballs, RFC 8305): the next is tried after 250 ms, or when one
    /// fails. The address of the last connection is tried first.
    ///
    /// # Errors
    /// No address accepts before the deadline. The error names each address that was tried, with its error.
    pub async fn tcp(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<TcpStream, ClientError> {
        let connecting = self.preferred.connect(origin, addresses, deadline);
        let stream =
            connecting
                .await
                .into_stream(origin, self.timeout, Instant::now() >= deadline)?;
        // A handshake is a sequence of small writes that wait for responses: Nagle's algorithm would delay some by 40 ms.
        stream
            .set_nodelay(true)
            .map_err(|error| ClientError::Connect {
                host: origin.host.clone(),
                why: error.to_string(),
            })?;
        Ok(stream)
    }

    pub(super) fn deadline_error(&self, stage: Stage, origin: &Origin) -> ClientError {
        ClientError::Deadline {
            stage,
            host: origin.host.clone(),
            after: self.timeout,
        }
    }
}
