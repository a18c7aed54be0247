//! A connection to a server that everybody may ask: of key sets, CRLs and CA certificates. Its name is resolved here, TLS trusts the
//! public roots of this machine, and no client certificate is offered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dns_cache::DnsCache;
use super::forward_proxy::{ForwardProxy, Limit};
use super::handshake::server_name;
use super::happy_eyeballs::PreferredAddresses;
use super::route::Routes;
use super::transport_stream::TransportStream;
use super::{ClientError, Stage, http1_builder, hyper_error};
use crate::config::Config;
use crate::config::origin::Origin;
use crate::tls::anonymous::anonymous_client_config;
use crate::tls::{TlsError, from_handshake};

/// A server, and until when it is to be connected to.
pub(super) struct PublicServer {
    pub(super) origin: Origin,
    pub(super) deadline: Instant,
    /// How long that was from the start, for the messages.
    pub(super) after: Duration,
}

/// Why there is no connection, or no response.
pub(super) enum Failure {
    /// The deadline passed in this stage.
    Late(Stage),
    /// The name has no address. The text is why.
    Unresolved(String),
    Client(ClientError),
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Client(error.into())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// The head of a response, its body, and the connection, which ends when this is dropped.
pub(super) struct OpenResponse {
    pub(super) response: Response<Incoming>,
    pub(super) connection: JoinSet<hyper::Result<()>>,
}

impl PublicServer {
    /// The forward proxy on the way to it. `None`: it is connected to directly.
    pub(super) fn forward_proxy(
        &self,
        config: &Config,
    ) -> Result<Option<Arc<ForwardProxy>>, Failure> {
        let routes = Routes::of_fetches(config)?;
        Ok(routes.forward_proxy(&self.origin).cloned())
    }

    /// The time that a connection may take.
    pub(super) fn limit(&self) -> Limit {
        Limit {
            deadline: self.deadline,
            after: self.after,
        }
    }

    /// Connects directly.
    pub(super) async fn connect(&self, config: &Config) -> Result<TcpStream, Failure> {
        let addresses = DnsCache::default();
        let lookup = addresses.resolve(&self.origin.host, self.origin.port);
        let addresses = timeout_at(self.deadline.into(), lookup)
            .await
            .map_err(|_| Failure::Late(Stage::Resolve))?
            .map_err(|error| Failure::Unresolved(error.to_string()))?;
        if addresses.is_empty() {
            return Err(Failure::Unresolved("the name has no address".to_owned()));
        }
        let preferred = PreferredAddresses::from_source(config.network.source_address);
        let connected = preferred.connect(&self.origin, &addresses, self.deadline);
        let stream = connected.await.into_stream(
            &self.origin,
            self.after,
            Instant::now() >= self.deadline,
        )?;
        Ok(stream)
    }

    /// Connects by TLS, in the tunnel of a forward proxy where one is on the way.
    pub(super) async fn connect_tls(
        &self,
        config: &Config,
    ) -> Result<TlsStream<TransportStream>, Failure> {
        let tls = anonymous_client_config(&config.tls)?;
        let name = server_name(&self.origin)?;
        let transport = match self.forward_proxy(config)? {
            Some(proxy) => {
                let target = self.origin.host_and_port();
                let tunnel = proxy.tunnel(&target, self.limit()).await;
                tunnel.map_err(ClientError::from)?
            }
            None => self.connect(config).await?.into(),
        };
        let handshake = TlsConnector::from(Arc::new(tls)).connect(name, transport);
        let stream = timeout_at(self.deadline.into(), handshake)
            .await
            .map_err(|_| Failure::Late(Stage::Handshake))?
            .map_err(|error| from_handshake(&error))?;
        Ok(stream)
    }
}

/// Sends the request over HTTP/1.1, and waits for the head of its response.
pub(super) async fn send<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<OpenResponse, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error| hyper_error::before_response(error, None, None, false);
    let handshake = http1_builder().handshake(TokioIo::new(stream));
    let (mut sender, driver) = handshake.await.map_err(failed)?;
    let mut connection = JoinSet::new();
    connection.spawn(driver);
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(OpenResponse {
        response,
        connection,
    })
}
