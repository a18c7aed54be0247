//! The tunnel through a forward proxy: HTTP CONNECT (RFC 9110, section 9.3.6) to the hub's host and port, before anything of ours is
//! sent. TLS with the hub, and with it our certificate, is within the tunnel: the forward proxy sees the name and no more.

mod credentials;
mod error;
mod refusal;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::dns_cache::DnsCache;
use super::handshake::server_name;
use super::happy_eyeballs::PreferredAddresses;
use super::transport_stream::TransportStream;
use super::{ClientError, hyper_error};
use crate::config::Config;
use crate::config::network::ForwardProxyConfig;
use crate::config::origin::Origin;
use crate::config::paths::PathRole;
use crate::tls::anonymous::{anonymous_client_config, anonymous_client_config_of};
use crate::tls::{Ending, TlsError, from_handshake};
pub(super) use credentials::Authorization;
use credentials::Credentials;
pub use error::{ForwardProxyError, ForwardProxyFailure};
pub use refusal::Refusal;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 32 << 10;
/// The most fields of it.
const MAX_FIELDS: usize = 100;
/// How long others wait while credentials that were not accepted yet are on their way.
const LONGEST_TURN: Duration = Duration::from_secs(2);

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("hsm-mtls/", env!("CARGO_PKG_VERSION")));

/// A forward proxy. What is known of its addresses and of its credentials is kept.
#[derive(Debug)]
pub(super) struct ForwardProxy {
    /// `http://host:port`, for messages.
    name: Arc<str>,
    /// Its place. It is no origin of the hub's: only what connects takes it.
    place: Origin,
    tls: Option<OuterTls>,
    preferred: PreferredAddresses,
    dns: DnsCache,
    credentials: Option<Credentials>,
}

/// The TLS with a forward proxy at https: without a client certificate.
struct OuterTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for OuterTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(f)
    }
}

/// Until when a tunnel is to be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) deadline: Instant,
    /// How long that was from the start, for the messages.
    pub(super) after: Duration,
}

impl ForwardProxy {
    /// # Errors
    /// Its anchors cannot be used, or this machine has no public roots.
    pub(super) fn new(config: &Config, proxy: &ForwardProxyConfig) -> Result<Self, TlsError> {
        let url = &proxy.url;
        let place = Origin {
            host: url.host.clone(),
            port: url.port,
        };
        let tls = match (url.is_https, &proxy.anchors) {
            (false, _) => None,
            (true, None) => Some(anonymous_client_config(&config.tls)?),
            (true, Some(path)) => Some(anonymous_client_config_of(&config.tls, path)?),
        };
        let tls = tls.map(|client| {
            let name = server_name(&place).map_err(|error| TlsError::Setup(error.to_string()))?;
            let connector = TlsConnector::from(Arc::new(client));
            Ok::<_, TlsError>(OuterTls { connector, name })
        });
        let reader = config.file_users(&PathRole::ProxyCredentials).reader;
        Ok(Self {
            name: url.to_string().into(),
            place,
            tls: tls.transpose()?,
            preferred: PreferredAddresses::from_source(config.network.source_address),
            dns: DnsCache::default(),
            credentials: proxy
                .credentials
                .clone()
                .map(|source| Credentials::new(&url.to_string(), source, reader)),
        })
    }

    /// `http://host:port`.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A tunnel to `target`, which is `host:port`.
    ///
    /// # Errors
    /// There is none before the deadline.
    pub(super) async fn tunnel(
        &self,
        target: &str,
        limit: Limit,
    ) -> Result<TransportStream, ForwardProxyError> {
        let tunnel = async {
            let Some(credentials) = &self.credentials else {
                return self.connect_through(target, None, limit).await;
            };
            let late = |_| ForwardProxyFailure::Deadline(limit.after);
            let offer = timeout_at(limit.deadline.into(), credentials.offer()).await;
            let (sent, turn) = offer.map_err(late)??;
            let mut connecting = pin!(self.connect_through(target, Some(&sent), limit));
            let tunnel = match timeout(LONGEST_TURN, &mut connecting).await {
                Ok(tunnel) => tunnel,
                // It waits for the hub, it seems: others need not wait for that.
                Err(_) => {
                    drop(turn);
                    connecting.await
                }
            };
            match &tunnel {
                Ok(_) => credentials.were(&sent, true),
                Err(ForwardProxyFailure::Refused(refusal)) if refusal.is_of_credentials() => {
                    credentials.were(&sent, false);
                }
                // A rule is for those who are known. Of all else nobody knows whether the credentials were looked at.
                Err(ForwardProxyFailure::Refused(refusal)) if refusal.status == 403 => {
                    credentials.were(&sent, true);
                }
                Err(_) => {}
            }
            tunnel
        };
        let tunnel = tunnel
            .await
            .map_err(|failure| self.error(target, failure))?;
        Ok(tunnel.in_tunnel_of(&self.name))
    }

    /// A connection to the forward proxy itself, over which it is sent a request for a URL of http, and the field with the
    /// credentials.
    ///
    /// # Errors
    /// It cannot be reached, or the credentials cannot be read.
    pub(super) async fn connect(
        &self,
        target: &str,
        limit: Limit,
    ) -> Result<(TransportStream, Option<Authorization>), ForwardProxyError> {
        let connect = async {
            let field = self.credentials.as_ref().map(Credentials::of_now);
            Ok((self.reach(limit).await?, field.transpose()?))
        };
        connect.await.map_err(|failure| self.error(target, failure))
    }

    /// A 407 of the forward proxy to a request for a URL of http.
    pub(super) fn refused(
        &self,
        target: &str,
        fields: &HeaderMap,
        sent: Option<&Authorization>,
    ) -> ForwardProxyError {
        if let (Some(credentials), Some(sent)) = (&self.credentials, sent) {
            credentials.were(sent, false);
        }
        let credentials = self.credentials.as_ref().map(Credentials::source);
        let refusal = Refusal::of_fields(407, fields, credentials);
        self.error(target, ForwardProxyFailure::Refused(refusal.into()))
    }

    /// The field with the credentials, for another HTTP client.
    ///
    /// # Errors
    /// They cannot be read.
    #[cfg(feature = "reqwest")]
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, ForwardProxyError> {
        let field = self.credentials.as_ref().map(Credentials::of_now);
        let field = field
            .transpose()
            .map_err(|failure| self.error("", failure))?;
        Ok(field.map(|field| field.value))
    }

    fn error(&self, target: &str, failure: ForwardProxyFailure) -> ForwardProxyError {
        ForwardProxyError {
            proxy: self.name.to_string(),
            target: target.to_owned(),
            failure,
        }
    }

    /// Connects to the forward proxy: name resolution, TCP, and TLS if it is at https.
    async fn reach(&self, limit: Limit) -> Result<TransportStream, ForwardProxyFailure> {
        let Limit { deadline, after } = limit;
        let unresolved = ForwardProxyFailure::Unresolved;
        let lookup = self.dns.resolve(&self.place.host, self.place.port);
        let addresses: Vec<SocketAddr> = timeout_at(deadline.into(), lookup)
            .await
            .map_err(|_| unresolved(format!("no answer within {} ms", after.as_millis())))?
            .map_err(|error| unresolved(error.to_string()))?;
        if addresses.is_empty() {
            return Err(unresolved("the name has no address".to_owned()));
        }
        let connecting = self.preferred.connect(&self.place, &addresses, deadline);
        let connected = connecting.await;
        let is_late = Instant::now() >= deadline;
        let tcp = connected.into_stream(&self.place, after, is_late);
        let tcp = tcp.map_err(|error| {
            self.dns.expire(&self.place.host, self.place.port);
            match error {
                ClientError::ConnectDeadline { after, why, .. } => {
                    ForwardProxyFailure::ConnectDeadline { after, why }
                }
                ClientError::Connect { why, .. } => ForwardProxyFailure::Unreachable(why),
                other => ForwardProxyFailure::Unreachable(other.to_string()),
            }
        })?;
        let failed = |error: std::io::Error| ForwardProxyFailure::Unreachable(error.to_string());
        tcp.set_nodelay(true).map_err(failed)?;
        let Some(OuterTls { connector, name }) = &self.tls else {
            return Ok(tcp.into());
        };
        let handshake = connector.connect(name.clone(), tcp);
        let tls = timeout_at(deadline.into(), handshake)
            .await
            .map_err(|_| ForwardProxyFailure::Deadline(after))?
            .map_err(|error| ForwardProxyFailure::Tls(Box::new(from_handshake(&error))))?;
        Ok(tls.into())
    }

    async fn connect_through(
        &self,
        target: &str,
        sent: Option<&Authorization>,
        limit: Limit,
    ) -> Result<TransportStream, ForwardProxyFailure> {
        let stream = self.reach(limit).await?;
        let request = connect_request(target, sent.map(|sent| sent.value.clone()))
            .map_err(|error| ForwardProxyFailure::NotHttp(error.to_string()))?;
        tracing::debug!(proxy = %self.name, target, "CONNECT");
        let exchange = self.exchange(stream, request, sent.is_some());
        let exchange = timeout_at(limit.deadline.into(), exchange).await;
        exchange.unwrap_or(Err(ForwardProxyFailure::Deadline(limit.after)))
    }

    async fn exchange(
        &self,
        stream: TransportStream,
        request: Request<Empty<Bytes>>,
        with_credentials: bool,
    ) -> Result<TransportStream, ForwardProxyFailure> {
        let failed = |error| self.exchange_failure(error);
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD);
        let handshake = builder.handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(failed)?;
        if !response.status().is_success() {
            let source = || self.credentials.as_ref().map(Credentials::source);
            let credentials = with_credentials.then(source).flatten();
            let refusal = Refusal::read(response, credentials).await;
            return Err(ForwardProxyFailure::Refused(Box::new(refusal)));
        }
        // Length and coding of a 2xx to CONNECT are ignored, as RFC 9110 has it.
        let tunnel = hyper::upgrade::on(response).await.map_err(failed)?;
        let tunnel = tunnel.downcast::<TokioIo<TransportStream>>();
        let tunnel = tunnel.map_err(|_| ForwardProxyFailure::Ended(Ending::Abrupt))?;
        match tunnel.read_buf.len() {
            0 => Ok(tunnel.io.into_inner()),
            count => Err(ForwardProxyFailure::SpokeFirst(count)),
        }
    }

    fn exchange_failure(&self, error: hyper::Error) -> ForwardProxyFailure {
        match hyper_error::before_response(error, None, None, false) {
            // Without TLS there is no other end than that of TCP.
            ClientError::NoAnswer(Ending::Orderly) if self.tls.is_none() => {
                ForwardProxyFailure::Ended(Ending::Abrupt)
            }
            ClientError::NoAnswer(ending) => ForwardProxyFailure::Ended(ending),
            ClientError::Http(why) | ClientError::Malformed(why) => {
                ForwardProxyFailure::NotHttp(why)
            }
            ClientError::HeadTooLong => {
                ForwardProxyFailure::NotHttp("the head of its answer is too long".to_owned())
            }
            ClientError::Tls(error) => ForwardProxyFailure::Tls(Box::new(error)),
            other => ForwardProxyFailure::NotHttp(other.to_string()),
        }
    }
}

fn connect_request(
    target: &str,
    authorization: Option<HeaderValue>,
) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(target)
        .header(HOST, target)
        .header(USER_AGENT, AGENT);
    if let Some(value) = authorization {
        request = request.header(PROXY_AUTHORIZATION, value);
    }
    request.body(Empty::new())
}
