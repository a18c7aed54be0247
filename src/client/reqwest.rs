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
use std::task::{Context, Poll};

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use tower_layer::Layer;
use tower_service::Service;

use super::ClientError;
use crate::config::Config;
use crate::engine::runtime::apart;
use crate::error::Error;
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
pub fn client(config: &Config, attendance: Attendance) -> Result<Client, Error> {
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
) -> Result<Client, Error> {
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
) -> Result<Client, Error> {
    let tls = Tls::new(config, identity)?;
    let rustls = tls.watched(config, &[b"h2", b"http/1.1"])?;
    let defaults = Client::builder()
        .connect_timeout(config.hub.connect_timeout)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true);
    let client = customize(defaults)
        .tls_backend_preconfigured(rustls)
        .https_only(true)
        .redirect(Policy::none())
        .no_proxy()
        .connector_layer(WatchLayer)
        .build()
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    Ok(client)
}

/// Puts each connection attempt into a watched scope of its own. Without it the verifier refuses
/// every handshake, so that forgetting it cannot make a client anonymous.
#[derive(Clone, Copy, Debug)]
struct WatchLayer;

impl<S> Layer<S> for WatchLayer {
    type Service = Watch<S>;

    fn layer(&self, connector: S) -> Watch<S> {
        Watch(connector)
    }
}

#[derive(Clone, Debug)]
struct Watch<S>(S);

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
        let connecting = self.0.call(request);
        Box::pin(apart(
            async move { Observer::default().watch(connecting).await },
        ))
    }
}
