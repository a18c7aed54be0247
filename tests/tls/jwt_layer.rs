//! JWT Auth in an application: each request of a tower service carries a token of its own; reqwest's client is such a service.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::rfc3339::unix_now;
use hsm_mtls::jwt::{AuthorizationError, AuthorizationLayer, Minter, TokenStock};
use hsm_mtls::{Attendance, Identity};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tower_layer::Layer as _;
use tower_service::Service;

use crate::common::bank::{Bank, config_of_child};
use crate::common::hub::{Hub, HubOptions};
use crate::common::jwt_verdicts::{Arrived, jwks_of, verdicts};
use crate::common::sig4;

/// The service below the layer, as hyper's client and tonic's channel are: it returns what it was sent.
#[derive(Clone)]
struct Echo;

impl Service<http::Request<String>> for Echo {
    type Response = Option<HeaderValue>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<String>) -> Self::Future {
        ready(Ok(request.headers().get(AUTHORIZATION).cloned()))
    }
}

#[test]
fn each_request_of_a_tower_service_carries_a_token_of_its_own() {
    if let Some(config) = config_of_child() {
        return call(&config);
    }
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.sections = sig4::section("scheme = \"JWT\""));
    bank.run_test(
        each_request_of_a_tower_service_carries_a_token_of_its_own,
        &[],
    );
    let tokens: Vec<Arrived> = hub
        .seen()
        .iter()
        .map(|request| {
            let value = request.headers[AUTHORIZATION].to_str().unwrap();
            (value.strip_prefix("JWT ").unwrap().to_owned(), unix_now())
        })
        .collect();
    assert_eq!(tokens.len(), 3);
    assert!(tokens[0].0 != tokens[1].0 && tokens[1].0 != tokens[2].0);
    for (hub, verdicts) in verdicts(&jwks_of(&[&bank.path("sig4.pem")]), &tokens) {
        assert_eq!(verdicts, ["ok"; 3], "{hub}");
    }
}

fn call(config: &Config) {
    let identity = Identity::open(config, Attendance::Unattended).unwrap();
    let minter = Minter::new(config, &identity).unwrap();
    let stock = Arc::new(TokenStock::start(minter, config.token.sessions).unwrap());
    let layer = AuthorizationLayer::new(Arc::clone(&stock), Duration::from_secs(10));
    let client = hsm_mtls::reqwest::of(config, &identity, |builder| builder).unwrap();
    let url = format!("{}/consents/1", config.hub.services[0].origin);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let mut with_tokens = layer.layer(client.clone());
        for _ in 0..3 {
            let request = client.get(&url).build().unwrap();
            assert_eq!(with_tokens.call(request).await.unwrap().status(), 200);
        }
        let own = client.get(&url).header(AUTHORIZATION, "Bearer x").build();
        let refused = with_tokens.call(own.unwrap()).await;
        assert!(matches!(refused, Err(AuthorizationError::Present)));

        let mut echo = layer.layer(Echo);
        let sent = echo.call(http::Request::new(String::new())).await.unwrap();
        let sent = sent.unwrap();
        assert!(sent.is_sensitive() && sent.to_str().unwrap().starts_with("JWT "));
        let mut own = http::Request::new(String::new());
        own.headers_mut()
            .insert(AUTHORIZATION, HeaderValue::from_static("x"));
        assert!(matches!(
            echo.call(own).await,
            Err(AuthorizationError::Present)
        ));
    });
    assert_eq!(stock.counts().at_once + stock.counts().waited, 4);
}
