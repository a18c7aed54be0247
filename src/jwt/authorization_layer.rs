//! A tower layer that puts a fresh token into the `Authorization` header of each request: for `reqwest::Client`, which is a tower
//! service, for hyper's clients, and for tonic's channels.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tower_layer::Layer;
use tower_service::Service;

use super::TokenStock;
use crate::engine::EngineError;

/// Adds a token of a stock to each request, wherever that goes: it is for clients that call the hub only, as those of
/// [`crate::reqwest`] do.
#[derive(Clone, Debug)]
pub struct AuthorizationLayer {
    stock: Arc<TokenStock>,
    timeout: Duration,
}

impl AuthorizationLayer {
    /// `timeout` is how long a request may wait for a token, where none is in stock.
    pub fn new(stock: Arc<TokenStock>, timeout: Duration) -> Self {
        Self { stock, timeout }
    }
}

impl<S> Layer<S> for AuthorizationLayer {
    type Service = AuthorizationService<S>;

    fn layer(&self, inner: S) -> AuthorizationService<S> {
        AuthorizationService {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service that [`AuthorizationLayer`] makes.
#[derive(Clone, Debug)]
pub struct AuthorizationService<S> {
    layer: AuthorizationLayer,
    inner: S,
}

/// Why a request was not sent, or how it failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError<E: Error + 'static> {
    /// The request has an `Authorization` already: which of the two was meant is not known.
    #[error("the request has an Authorization of its own, where the token of JWT Auth goes")]
    Present,
    /// There is no token.
    #[error("no token of JWT Auth: {0}")]
    NoToken(Arc<EngineError>),
    /// The service failed.
    #[error(transparent)]
    Service(E),
}

/// A request that has headers.
pub trait RequestHeaders {
    /// Its headers.
    fn headers_mut(&mut self) -> &mut HeaderMap;
}

impl<B> RequestHeaders for http::Request<B> {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        http::Request::headers_mut(self)
    }
}

impl RequestHeaders for reqwest::Request {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        reqwest::Request::headers_mut(self)
    }
}

impl<S, R> Service<R> for AuthorizationService<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Error: Error + 'static,
    S::Future: Send,
    R: RequestHeaders + Send + 'static,
{
    type Response = S::Response;
    type Error = AuthorizationError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner
            .poll_ready(context)
            .map_err(AuthorizationError::Service)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        // The one that is ready is used, and a clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let AuthorizationLayer { stock, timeout } = self.layer.clone();
        Box::pin(async move {
            if request.headers_mut().contains_key(AUTHORIZATION) {
                return Err(AuthorizationError::Present);
            }
            let token = stock.token(Instant::now() + timeout).await;
            let token = token.map_err(AuthorizationError::NoToken)?;
            request
                .headers_mut()
                .insert(AUTHORIZATION, token.authorization());
            inner
                .call(request)
                .await
                .map_err(AuthorizationError::Service)
        })
    }
}
