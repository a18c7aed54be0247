//! Fetches a published key set: plain HTTPS with the public roots of this machine, no client certificate, one deadline, no
//! redirect, and no more than a key set has.

mod error;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, DATE, ETAG, HOST, HeaderName, HeaderValue,
    LAST_MODIFIED, LOCATION, USER_AGENT,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout_at;
use tokio_rustls::client::TlsStream;
use url::Url;

use super::public_server::{self, Failure, OpenResponse, PublicServer};
use super::transport_stream::TransportStream;
use super::{ClientError, Stage, hyper_error};
use crate::config::Config;
use crate::config::origin::Origin;
use crate::jwks::MAX_LEN;
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
    let fetching = Fetch(PublicServer {
        origin,
        deadline: Instant::now() + after,
        after,
    });
    tracing::info!(
        host = fetching.0.origin.host,
        path = url.path(),
        "fetching the JWKS"
    );
    let stream = fetching.0.connect_tls(config).await;
    let stream = stream.map_err(|failure| fetching.failed(failure))?;
    let exchange = fetching.exchange(stream, url);
    timeout_at(fetching.0.deadline.into(), exchange)
        .await
        .map_err(|_| fetching.late(Stage::Response))?
}

/// One fetch from one server.
struct Fetch(PublicServer);

impl Fetch {
    async fn exchange(
        &self,
        stream: TlsStream<TransportStream>,
        url: &Url,
    ) -> Result<FetchedSet, FetchError> {
        let request = self.request(url)?;
        let sent = public_server::send(stream, request).await;
        let OpenResponse {
            response,
            connection: _open,
        } = sent.map_err(|error| self.client(error))?;
        self.read(response).await
    }

    fn request(&self, url: &Url) -> Result<Request<Empty<Bytes>>, FetchError> {
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let agent = concat!("hsm-mtls/", env!("CARGO_PKG_VERSION"));
        Request::get(target)
            .header(HOST, self.0.origin.authority())
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
            host: self.0.origin.host.clone(),
            after: self.0.after,
        }
    }

    fn failed(&self, failure: Failure) -> FetchError {
        match failure {
            Failure::Late(stage) => self.late(stage),
            Failure::Unresolved(why) => FetchError::Resolve {
                host: self.0.origin.host.clone(),
                why,
            },
            Failure::Client(error) => self.client(error),
        }
    }

    /// The error of this stage, in the place of one that speaks of the hub.
    fn client(&self, error: ClientError) -> FetchError {
        let host = self.0.origin.host.clone();
        match error {
            ClientError::Tls(error) => FetchError::Tls {
                host,
                error: Box::new(error),
            },
            ClientError::ForwardProxy(error) => FetchError::ForwardProxy { host, error },
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
