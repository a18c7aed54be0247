//! A `reqwest::Client` whose handshakes are signed by the token and never anonymous (feature `reqwest`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hsm_mtls::{Attendance, Config};
//!
//! let config = Config::load("/etc/hsm-mtls/preprod.toml".as_ref())?;
//! let hub = &config.hub.services[0].origin;
//! let client = hsm_mtls::reqwest::client(&config, Attendance::Unattended)?;
//! let response = client.get(format!("{hub}/hello-mtls")).send().await?;
//! println!("{}", response.text().await?);
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use super::ClientError;
use super::dns_cache::DnsCache;
use super::forward_proxy::ForwardProxy;
use super::happy_eyeballs::{PreferredAddresses, sort_addresses};
use crate::config::Config;
use crate::config::network::ResolvedBy;
use crate::config::origin::Origin;
use crate::engine::handshake_threads::offload;
use crate::identity::Identity;
use crate::tls::Tls;
use crate::tls::handshake_observer::Observer;
use crate::token::guard::Attendance;

/// Opens token, key and certificate as configured, and makes a client for the configured hub: HTTP/2 and HTTP/1.1, a
/// connection pool, no redirects, no proxy but the one of `[network]`.
///
/// This function blocks: it loads the PKCS#11 module and logs in. Connections are made on separate threads later, so that a
/// slow signature blocks no task of the runtime.
///
/// # Errors
/// Token, key, certificate or trust anchors cannot be used.
pub fn client(config: &Config, attendance: Attendance) -> Result<Client, ClientError> {
    customized(config, attendance, |builder| builder)
}

/// As [`client`], with options of the application's (headers, timeouts, pool). `customize` gets a builder with
/// `connect_timeout` of the configuration. The options that this crate depends on are set after it and cannot be
/// overridden: the TLS configuration, HTTPS only, no redirects, and no forward proxy but that of `[network]`, in
/// whose tunnel the certificate is; not one at https, since reqwest would offer it the certificate.
///
/// # Errors
/// As [`client`].
pub fn customized(
    config: &Config,
    attendance: Attendance,
    customize: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Client, ClientError> {
    of(config, &Identity::open(config, attendance)?, customize)
}

/// As [`customized`], with an identity that was opened before, for example with the application's own ledger
/// ([`Identity::open_with_ledger`]).
///
/// # Errors
/// The trust anchors or CRLs cannot be used, or reqwest refuses the options.
pub fn of(
    config: &Config,
    identity: &Identity,
    customize: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Client, ClientError> {
    let tls = Tls::new(config, identity)?;
    let rustls = tls.observed_client_config(config, &[b"h2", b"http/1.1"])?;
    let resolver = Arc::new(PreferringResolver::new(config));
    let defaults = Client::builder()
        .connect_timeout(config.hub.connect_timeout)
        .dns_resolver(Arc::clone(&resolver))
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true);
    let client = customize(defaults)
        .tls_backend_preconfigured(rustls)
        .https_only(true)
        .redirect(Policy::none())
        .no_proxy()
        .local_address(config.network.source_address);
    let client = match forward_proxy(config)? {
        Some(proxy) => client.proxy(proxy),
        None => client,
    };
    let client = client
        .connector_layer(ObserverLayer(resolver))
        .build()
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    Ok(client)
}

/// The forward proxy of the configuration, for reqwest: it makes the tunnel itself, by CONNECT over plain TCP.
fn forward_proxy(config: &Config) -> Result<Option<Proxy>, ClientError> {
    let Some(proxy) = &config.network.proxy else {
        return Ok(None);
    };
    let refused = |why: &str| {
        Err(ClientError::Request(format!(
            "{why} of [network] is not for reqwest; hsm_mtls::Client and the proxy take it"
        )))
    };
    if proxy.url.is_https {
        // reqwest would offer it the certificate.
        return refused("a forward proxy at https in `proxy`");
    }
    if config.network.resolve == ResolvedBy::Local {
        return refused("resolve = \"local\"");
    }
    let url = Url::parse(&proxy.url.to_string())
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    let no_proxy = config.network.no_proxy.clone();
    let reached = Proxy::custom(move |to| {
        let host = to.host_str()?.trim_matches(['[', ']']);
        let port = to.port_or_known_default()?;
        (!no_proxy.covers(host, port)).then(|| url.clone())
    });
    let authorization = ForwardProxy::new(config, proxy)?.authorization()?;
    Ok(Some(match authorization {
        Some(value) => reached.custom_http_auth(value),
        None => reached,
    }))
}

/// A DNS resolver for reqwest that puts an address that accepts connections first.
///
/// reqwest makes its own TCP connections, and tries the addresses of a family one after the other, each with a share of
/// the connect timeout. So for a name with several addresses, this resolver finds an address that accepts by a
/// connection of its own, which it closes.
#[derive(Debug)]
struct PreferringResolver {
    origins: Vec<Origin>,
    timeout: Duration,
    preferred: PreferredAddresses,
    dns: DnsCache,
}

impl PreferringResolver {
    fn new(config: &Config) -> Self {
        Self {
            origins: config.hub.origins().into_iter().cloned().collect(),
            timeout: config.hub.connect_timeout,
            preferred: PreferredAddresses::from_source(config.network.source_address),
            dns: DnsCache::default(),
        }
    }

    /// Forgets all addresses after a failed connection: reqwest does not tell a layer the host.
    fn forget(&self) {
        for origin in &self.origins {
            self.preferred.forget(origin);
            self.dns.expire(&origin.host, origin.port);
        }
    }
}

impl Resolve for PreferringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        // reqwest does not tell a resolver the port. If two services have this host name, the connection to one only sorts
        // the addresses for the other.
        let services: Vec<_> = self
            .origins
            .iter()
            .filter(|origin| origin.host == host)
            .cloned()
            .collect();
        let is_unambiguous = services
            .iter()
            .all(|service| Some(service) == services.first());
        let origin = services.into_iter().next();
        let (preferred, dns) = (self.preferred.clone(), self.dns.clone());
        let timeout = self.timeout;
        Box::pin(async move {
            let limit = if is_unambiguous { timeout } else { timeout / 2 };
            let deadline = Instant::now() + limit;
            let port = origin.as_ref().map_or(0, |origin| origin.port);
            let mut addresses = sort_addresses(&dns.resolve(&host, port).await?, None);
            if let (Some(origin), 2..) = (origin, addresses.len()) {
                let connecting = preferred.connect(&origin, &addresses, deadline);
                let timed_out = |now| now >= deadline;
                let result = connecting.await;
                match result.into_stream(&origin, timeout, timed_out(Instant::now())) {
                    Ok(stream) => addresses = sort_addresses(&addresses, stream.peer_addr().ok()),
                    Err(error) if is_unambiguous => return Err(error.into()),
                    Err(_) => {}
                }
            }
            // With port 0, reqwest uses the URL's port.
            for address in &mut addresses {
                address.set_port(0);
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The layer that observes each connection attempt. Without it the verifier refuses every handshake, so a missing layer
/// cannot make a client anonymous.
#[derive(Clone, Debug)]
struct ObserverLayer(Arc<PreferringResolver>);

impl<S> Layer<S> for ObserverLayer {
    type Service = ObservedConnector<S>;

    fn layer(&self, connector: S) -> ObservedConnector<S> {
        ObservedConnector(connector, Arc::clone(&self.0))
    }
}

#[derive(Clone, Debug)]
struct ObservedConnector<S>(S, Arc<PreferringResolver>);

impl<S, R> Service<R> for ObservedConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (connecting, resolver) = (self.0.call(request), Arc::clone(&self.1));
        Box::pin(offload(async move {
            let connection = Observer::default().observe(connecting).await;
            if connection.is_err() {
                resolver.forget();
            }
            connection
        }))
    }
}
