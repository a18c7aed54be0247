//! A `reqwest::Client` that cannot be made to send an anonymous or software-signed handshake.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hsm_mtls::{client, config::Config, token::guard::Attendance};
//!
//! let config = Config::load("/etc/hsm-mtls/preprod.toml".as_ref())?;
//! let hub = config.hub.consent_manager.to_string();
//! let client = client::reqwest::client(&config, Attendance::Unattended)?;
//! let answer = client.get(format!("{hub}/hello-mtls")).send().await?;
//! println!("{}", answer.text().await?);
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
use reqwest::{Client, ClientBuilder};
use tower_layer::Layer;
use tower_service::Service;

use super::ClientError;
use super::happy_eyeballs::{Answered, in_order};
use super::resolution::Resolution;
use crate::config::Config;
use crate::config::environment::Origin;
use crate::engine::handshake_threads::offload;
use crate::identity::Identity;
use crate::tls::Tls;
use crate::tls::observation::Observer;
use crate::token::guard::Attendance;

/// A client for the configured hub: HTTP/2 and HTTP/1.1, keep-alive, no redirects, no proxy.
///
/// Connections are made on threads of their own: a token that takes its time for a signature keeps
/// no other task waiting, also on a runtime of one thread.
///
/// # Errors
/// Token, key, certificate or trust anchors are not as they must be.
pub fn client(config: &Config, attendance: Attendance) -> Result<Client, ClientError> {
    customized(config, attendance, |builder| builder)
}

/// As [`client`], with options of your own (headers, time-outs, pool). What this crate stands for
/// is set after them and cannot be undone: the TLS configuration, HTTPS only, no redirects, and no
/// proxy, because reqwest would offer it the certificate.
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

/// As [`customized`], with an identity that was opened before: with a ledger of your own
/// ([`Identity::open_with_ledger`]), say.
///
/// # Errors
/// The trust anchors are not as they must be.
pub fn of(
    config: &Config,
    identity: &Identity,
    customize: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Client, ClientError> {
    let tls = Tls::new(config, identity)?;
    let rustls = tls.watched(config, &[b"h2", b"http/1.1"])?;
    let resolver = Arc::new(AnsweringFirst::of(config));
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
        .connector_layer(WatchLayer(resolver))
        .build()
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    Ok(client)
}

/// Resolves names so that an address that answers comes first.
///
/// reqwest tries the addresses of a family one after the other, and gives each its share of the connect
/// time-out; and it makes its own TCP connections, which nobody else can make for it. So where a name
/// has several addresses, the first that answers is found out by a connection of our own, which is closed.
#[derive(Debug)]
struct AnsweringFirst {
    origins: Vec<Origin>,
    timeout: Duration,
    answered: Answered,
    resolution: Resolution,
}

impl AnsweringFirst {
    fn of(config: &Config) -> Self {
        Self {
            origins: config.hub.origins().into_iter().cloned().collect(),
            timeout: config.hub.connect_timeout,
            answered: Answered::default(),
            resolution: Resolution::default(),
        }
    }

    /// A connection failed. Which service's is not told.
    fn forget(&self) {
        for origin in &self.origins {
            self.answered.forget(origin);
        }
    }
}

impl Resolve for AnsweringFirst {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        // Which port is meant is not told. Where two services have this name, what is found of one is no
        // more than an order for the other.
        let services: Vec<_> = self
            .origins
            .iter()
            .filter(|origin| origin.host == host)
            .cloned()
            .collect();
        let certain = services
            .iter()
            .all(|service| Some(service) == services.first());
        let origin = services.into_iter().next();
        let (answered, resolution) = (self.answered.clone(), self.resolution.clone());
        let timeout = self.timeout;
        Box::pin(async move {
            let patience = if certain { timeout } else { timeout / 2 };
            let deadline = Instant::now() + patience;
            let port = origin.as_ref().map_or(0, |origin| origin.port);
            let mut addresses = in_order(&resolution.of(&host, port).await?, None);
            if let (Some(origin), 2..) = (origin, addresses.len()) {
                let trying = answered.connect(&origin, &addresses, deadline);
                let late = |now| now >= deadline;
                match trying.await.stream(&origin, timeout, late(Instant::now())) {
                    Ok(stream) => addresses = in_order(&addresses, stream.peer_addr().ok()),
                    Err(error) if certain => return Err(error.into()),
                    Err(_) => {}
                }
            }
            // The port is the URL's.
            for address in &mut addresses {
                address.set_port(0);
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Puts each connection attempt into a watched scope of its own. Without it the verifier refuses
/// every handshake, so that forgetting it cannot make a client anonymous.
#[derive(Clone, Debug)]
struct WatchLayer(Arc<AnsweringFirst>);

impl<S> Layer<S> for WatchLayer {
    type Service = Watch<S>;

    fn layer(&self, connector: S) -> Watch<S> {
        Watch(connector, Arc::clone(&self.0))
    }
}

#[derive(Clone, Debug)]
struct Watch<S>(S, Arc<AnsweringFirst>);

impl<S, R> Service<R> for Watch<S>
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
            let made = Observer::default().watch(connecting).await;
            if made.is_err() {
                resolver.forget();
            }
            made
        }))
    }
}
