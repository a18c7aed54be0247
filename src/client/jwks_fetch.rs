//! Fetches a published key set: plain HTTPS with the public roots of this machine, no client certificate, one deadline, no
//! redirect, and no more than a key set has.

mod error;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, DATE, ETAG, HOST, HeaderName, HeaderValue,
    LAST_MODIFIED, LOCATION, USER_AGENT,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use super::connector::server_name;
use super::dns_cache::DnsCache;
use super::happy_eyeballs::PreferredAddresses;
use super::{ClientError, Stage, http1_builder, hyper_error};
use crate::config::Config;
use crate::config::environment::Origin;
use crate::jwks::MAX_LEN;
use crate::tls::anonymous::anonymous_client_config;
use crate::tls::from_handshake;
pub use error::{Content, FetchError};

/// The longest that a fetch takes, whatever is configured for the hub.
const MAX_TIME: Duration = Duration::from_secs(10);

/// A published key set as it came, and what its fields say of its age.
#[derive(Clone, Debug, Default)]
pub struct FetchedSet {
    /// The JSON object.
    pub body: Bytes,
    /// `Date`: the server's clock.
    pub date: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Age`: for how many seconds a cache has had it.
    pub age: Option<u64>,
    /// `max-age` of `Cache-Control`: for how many seconds caches may keep it.
    pub max_age: Option<u64>,
}

/// Fetches the key set at this URL. Name resolution, TCP, TLS and the answer have one deadline: `connect_timeout` and
/// `response_timeout` of `[hub]` together, and no more than 10 s.
///
/// # Errors
/// The URL is not https, the server cannot be reached or trusted, or its answer is no JSON object of at most 256 KiB with
/// status 200.
pub async fn fetch(config: &Config, url: &Url) -> Result<FetchedSet, FetchError> {
    let has_user = !url.username().is_empty() || url.password().is_some();
    let origin = Origin::of(url).filter(|_| !has_user);
    let origin = origin.ok_or(FetchError::Url)?;
    let after = MAX_TIME.min(config.hub.connect_timeout + config.hub.response_timeout);
    let fetching = Fetch {
        origin,
        after,
        deadline: Instant::now() + after,
    };
    tracing::info!(
        host = fetching.origin.host,
        path = url.path(),
        "fetching the JWKS"
    );
    let stream = fetching.connect(config).await?;
    let exchange = fetching.exchange(stream, url);
    timeout_at(fetching.deadline.into(), exchange)
        .await
        .map_err(|_| fetching.late(Stage::Response))?
}

/// One fetch from one server.
struct Fetch {
    origin: Origin,
    after: Duration,
    deadline: Instant,
}

impl Fetch {
    async fn connect(&self, config: &Config) -> Result<TlsStream<TcpStream>, FetchError> {
        let tls = anonymous_client_config(&config.tls).map_err(|error| self.tls(error))?;
        let name = server_name(&self.origin).map_err(|error| self.client(error))?;
        let addresses = DnsCache::default();
        let lookup = addresses.resolve(&self.origin.host, self.origin.port);
        let addresses = timeout_at(self.deadline.into(), lookup)
            .await
            .map_err(|_| self.late(Stage::Resolve))?;
        let unknown = |why: String| FetchError::Resolve {
            host: self.origin.host.clone(),
            why,
        };
        let addresses = addresses.map_err(|error| unknown(error.to_string()))?;
        if addresses.is_empty() {
            return Err(unknown("the name has no address".to_owned()));
        }
        let preferred = PreferredAddresses::default();
        let connected = preferred.connect(&self.origin, &addresses, self.deadline);
        let tcp = connected
            .await
            .into_stream(&self.origin, self.after, Instant::now() >= self.deadline)
            .map_err(|error| self.client(error))?;
        let handshake = TlsConnector::from(Arc::new(tls)).connect(name, tcp);
        timeout_at(self.deadline.into(), handshake)
            .await
            .map_err(|_| self.late(Stage::Handshake))?
            .map_err(|error| self.tls(from_handshake(&error)))
    }

    async fn exchange(
        &self,
        stream: TlsStream<TcpStream>,
        url: &Url,
    ) -> Result<FetchedSet, FetchError> {
        let failed = |error| self.client(hyper_error::before_response(error, None, None, false));
        let request = self.request(url)?;
        let (mut sender, driver) = http1_builder()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let driver = tokio::spawn(driver);
        let response = sender.send_request(request).await.map_err(failed);
        let answered = match response {
            Ok(response) => self.read(response).await,
            Err(error) => Err(error),
        };
        driver.abort();
        answered
    }

    fn request(&self, url: &Url) -> Result<Request<Empty<Bytes>>, FetchError> {
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let agent = concat!("hsm-mtls/", env!("CARGO_PKG_VERSION"));
        Request::get(target)
            .header(HOST, self.origin.authority())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, HeaderValue::from_static(agent))
            .body(Empty::new())
            .map_err(|_| FetchError::Url)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<FetchedSet, FetchError> {
        let (head, body) = response.into_parts();
        let field = |name: HeaderName| text_of(&head.headers, &name);
        if head.status.is_redirection() {
            return Err(FetchError::Redirect {
                status: head.status.as_u16(),
                location: field(LOCATION).unwrap_or_else(|| "nowhere".to_owned()),
            });
        }
        if head.status != StatusCode::OK {
            return Err(FetchError::Status(head.status.as_u16()));
        }
        let body = Limited::new(body, MAX_LEN).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::Content(Content::TooLong),
            false => self.client(hyper_error::within_response(error.as_ref())),
        })?;
        let body = body.to_bytes();
        if let Some(other) = other_content(&body, field(CONTENT_TYPE)) {
            return Err(FetchError::Content(other));
        }
        let caching = field(CACHE_CONTROL);
        Ok(FetchedSet {
            body,
            date: field(DATE),
            last_modified: field(LAST_MODIFIED),
            etag: field(ETAG),
            age: field(AGE).and_then(|seconds| seconds.parse().ok()),
            max_age: caching.as_deref().and_then(max_age),
        })
    }

    fn late(&self, stage: Stage) -> FetchError {
        FetchError::Deadline {
            stage,
            host: self.origin.host.clone(),
            after: self.after,
        }
    }

    fn tls(&self, error: crate::tls::TlsError) -> FetchError {
        FetchError::Tls {
            host: self.origin.host.clone(),
            error: Box::new(error),
        }
    }

    /// The error of this stage, in the place of one that speaks of the hub.
    fn client(&self, error: ClientError) -> FetchError {
        let host = self.origin.host.clone();
        match error {
            ClientError::Tls(error) => self.tls(error),
            ClientError::Resolve { host, why } => FetchError::Resolve { host, why },
            ClientError::Connect { host, why } => FetchError::Connect { host, why },
            ClientError::ConnectDeadline { host, after, why } => {
                FetchError::ConnectDeadline { host, after, why }
            }
            other => FetchError::Http {
                host,
                why: other.to_string(),
            },
        }
    }
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.chars().take(300).collect())
}

/// `max-age` (RFC 9111, section 5.2.2.1); `no-store` and `no-cache` are 0.
fn max_age(cache_control: &str) -> Option<u64> {
    let directives = cache_control
        .split(',')
        .map(|one| one.trim().to_lowercase());
    let mut found = None;
    for directive in directives {
        match directive.split_once('=') {
            Some(("max-age", seconds)) => {
                found = found.or(seconds.trim_matches('"').parse().ok());
            }
            None if matches!(directive.as_str(), "no-store" | "no-cache") => return Some(0),
            _ => {}
        }
    }
    found
}

/// What the body is, where it is no JSON object.
fn other_content(body: &[u8], content_type: Option<String>) -> Option<Content> {
    let body = body.trim_ascii_start();
    match body.first() {
        Some(b'{') => None,
        None => Some(Content::Empty),
        Some(b'<') => Some(Content::Html),
        Some(_) => Some(Content::Other {
            content_type: content_type.unwrap_or_else(|| "none".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_caches_is_read_from_the_directives() {
        for (field, seconds) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"600\"", Some(600)),
            ("max-age=60, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("s-maxage=60", None),
            ("max-age=-1", None),
            ("", None),
        ] {
            assert_eq!(max_age(field), seconds, "{field}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_told_by_its_beginning() {
        let told = |body: &[u8]| other_content(body, Some("text/plain".to_owned()));
        assert_eq!(told(b" \r\n{\"keys\":[]}"), None);
        assert_eq!(told(b""), Some(Content::Empty));
        assert_eq!(told(b"\n<!doctype html>"), Some(Content::Html));
        for body in [&b"[]"[..], b"ok", b"\xef\xbb\xbf{}"] {
            assert!(matches!(told(body), Some(Content::Other { .. })));
        }
    }
}
