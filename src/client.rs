//! The HTTP client: one mTLS request to the hub over a connection of its own. Redirects are returned, never followed: a 303
//! of an authorisation server is for the customer's browser.

mod client_hello;
mod connection;
pub mod connector;
mod cpu_turns;
mod dns_cache;
pub mod download;
mod error;
mod error_response;
#[cfg(feature = "front-end")]
pub mod failover;
pub mod forward_proxy;
pub mod handshake;
mod handshake_stream;
pub mod happy_eyeballs;
pub mod http2_error;
pub mod hyper_error;
pub mod jwks_fetch;
mod public_server;
mod read_after_epipe;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod route;
mod source_address;
pub mod transport_stream;

use std::fmt::Display;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, USER_AGENT,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout_at;
use url::Url;
use uuid::Uuid;

use crate::config::Config;
use crate::config::origin::Origin;
use crate::identity::Identity;
use crate::log_target;
use crate::tls::Tls;
use crate::token::guard::Attendance;
use crate::uuid_format::is_uuid_v4;
use connector::{Connection, Connector};
pub use error::{ClientError, Stage};
pub use error_response::ErrorResponse;

/// The header of the Open Finance scheme's correlation id, `x-fapi-interaction-id`. Its value is a UUIDv4; the hub silently
/// drops any other value.
pub const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");

/// The maximum size of a response's head, in bytes.
pub const MAX_RESPONSE_HEAD: usize = 128 << 10;
/// The maximum number of fields in a response's head of HTTP/1.1. hyper writes 64 bytes for each before it reads a head.
pub(crate) const MAX_RESPONSE_FIELDS: usize = 1024;

/// The default of the maximum size of a response body, in bytes: it is kept in memory.
const MAX_RESPONSE_BODY: usize = 64 << 20;

/// An HTTP/1.1 client of the configured hub, which makes a new connection for each request. Clones share DNS cache and
/// configuration.
///
/// ```no_run
/// use bytes::Bytes;
/// use http::{HeaderMap, Method};
///
/// use hsm_mtls::{Attendance, Client, Config};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::load("/etc/hsm-mtls/preprod.toml".as_ref())?;
/// let client = Client::open(&config, Attendance::Unattended)?;
/// let url = format!("{}/hello-mtls", config.hub.services[0].origin).parse()?;
/// let response = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new()).await?;
/// assert!(response.status.is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    response_timeout: Duration,
    max_body: usize,
}

/// A response of the hub with its whole body.
#[derive(Debug)]
pub struct HubResponse {
    /// The status. Redirects (3xx) are not followed.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The `x-fapi-interaction-id` of the request.
    pub interaction_id: String,
}

impl Client {
    /// Opens token, key and certificate as configured. It blocks: it loads the PKCS#11 module and logs in.
    ///
    /// # Errors
    /// Token, key, certificate or trust anchors cannot be used.
    pub fn open(config: &Config, attendance: Attendance) -> Result<Self, ClientError> {
        Self::of(config, &Identity::open(config, attendance)?)
    }

    /// A client with an identity that was opened before.
    ///
    /// # Errors
    /// The trust anchors or CRLs cannot be used.
    pub fn of(config: &Config, identity: &Identity) -> Result<Self, ClientError> {
        let tls = Tls::new(config, identity)?;
        Ok(Self::new(config, Connector::new(config, &tls)?))
    }

    /// A client with a connector that was made before.
    pub fn new(config: &Config, connector: Connector) -> Self {
        Self {
            connector,
            response_timeout: config.hub.response_timeout,
            max_body: MAX_RESPONSE_BODY,
        }
    }

    /// Sets the maximum size of a response body, in bytes (default 64 MiB). A longer body is [`ClientError::TooLong`].
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sends one request over a new connection, and reads the whole response.
    ///
    /// `url` is an absolute URL of a configured host. A request without the header [`INTERACTION_ID`] gets a new id.
    /// `Host` and the fields for length and connection (`Content-Length`, `Connection` ...) are set by this client. An
    /// error status such as 403 is an `Ok`.
    ///
    /// # Errors
    /// The host is not configured, a header field is not allowed, no connection was made within `connect_timeout`, or no
    /// valid response was received within `response_timeout`.
    pub async fn request(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<HubResponse, ClientError> {
        let origin = parse_origin(url)?;
        check_headers(&headers, &origin)?;
        let interaction_id = ensure_interaction_id(&mut headers)?;
        let connecting = self.connector.connect_for(&origin, Some(&interaction_id));
        let connection = connecting.await?;
        self.request_over(connection, method, url, headers, body)
            .await
    }

    /// Sends one request over an open connection, reads the whole response, and closes the connection.
    ///
    /// # Errors
    /// The connection is to another host, a header field is not allowed, or no valid response was received.
    pub async fn request_over(
        &self,
        connection: Connection,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<HubResponse, ClientError> {
        let origin = parse_origin(url)?;
        if origin != *connection.origin() {
            return Err(ClientError::NotConfigured {
                origin: origin.to_string(),
                configured: vec![connection.origin().to_string()],
            });
        }
        check_headers(&headers, &origin)?;
        let interaction_id = ensure_interaction_id(&mut headers)?;
        let request = build_request(method, url, &origin, headers, body)?;
        // Logged before it is sent: the id is needed most if no response arrives.
        tracing::info!(
            method = %request.method(),
            host = url.host_str(),
            path = url.path(),
            interaction_id,
            "sending"
        );
        let sent_id = interaction_id.clone();
        let deadline = (Instant::now() + self.response_timeout).into();
        let exchange = async {
            let (stream, foreign) = connection.into_parts();
            let failed =
                |error| hyper_error::before_response(error, foreign.as_deref(), None, false);
            let (mut sender, driver) = http1_builder()
                .handshake(TokioIo::new(stream))
                .await
                .map_err(failed)?;
            let driver = tokio::spawn(driver);
            let response = sender.send_request(request).await.map_err(failed)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.max_body).collect().await;
            driver.abort();
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => ClientError::TooLong(self.max_body),
                false => hyper_error::within_response(error.as_ref()),
            })?;
            Ok(HubResponse {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
                interaction_id,
            })
        };
        let response = timeout_at(deadline, exchange).await.unwrap_or_else(|_| {
            Err(ClientError::Deadline {
                stage: Stage::Response,
                host: origin.host.clone(),
                after: self.response_timeout,
            })
        });
        if let Err(error) = &response {
            // The hub's operator needs the id.
            tracing::warn!(target: log_target::CLIENT, interaction_id = sent_id, %error, "no answer");
        }
        response
    }
}

/// hyper's HTTP/1.1 client with the options for the hub. White space before a field's colon and folded lines (RFC 9112,
/// sections 5.1 and 5.2) are accepted in responses, since old servers send both.
pub fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .max_headers(MAX_RESPONSE_FIELDS)
        .max_header_size(MAX_RESPONSE_HEAD)
        .max_buf_size(MAX_RESPONSE_HEAD);
    builder
}

fn parse_origin(url: &Url) -> Result<Origin, ClientError> {
    if !url.username().is_empty() || url.password().is_some() {
        // The URL is not in the message: it may hold a password.
        return Err(ClientError::Request(
            "a URL with a user name in it".to_owned(),
        ));
    }
    Origin::of(url).ok_or_else(|| ClientError::Request(format!("{url} is not an https URL")))
}

/// Refuses header fields that this client sets itself: other values for length, connection or host would break the framing
/// of the request.
fn check_headers(headers: &HeaderMap, origin: &Origin) -> Result<(), ClientError> {
    for name in [
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        CONNECTION,
        TE,
        TRAILER,
        UPGRADE,
    ] {
        if headers.contains_key(&name) {
            return Err(ClientError::Request(format!(
                "{name} is set by this client: leave it out"
            )));
        }
    }
    let authority = origin.authority();
    match headers
        .get(HOST)
        .filter(|host| host.as_bytes() != authority.as_bytes())
    {
        Some(_) => Err(ClientError::Request(format!(
            "host is set by this client, to {authority}: leave it out"
        ))),
        None => Ok(()),
    }
}

/// The interaction id of the request; a new one is added if it has none.
fn ensure_interaction_id(headers: &mut HeaderMap) -> Result<String, ClientError> {
    let given = headers
        .get(INTERACTION_ID)
        .and_then(|value| value.to_str().ok());
    let valid = given.filter(|id| is_uuid_v4(id.as_bytes()));
    if let Some(id) = valid {
        return Ok(id.to_owned());
    }
    if headers.contains_key(INTERACTION_ID) {
        return Err(ClientError::Request(format!(
            "{INTERACTION_ID} is not a UUIDv4, and the hub would drop it silently"
        )));
    }
    let id = Uuid::new_v4().to_string();
    let value =
        HeaderValue::from_str(&id).map_err(|error| ClientError::Request(error.to_string()))?;
    headers.insert(INTERACTION_ID, value);
    Ok(id)
}

fn build_request(
    method: Method,
    url: &Url,
    origin: &Origin,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let invalid = |error: &dyn Display| ClientError::Request(error.to_string());
    let host = HeaderValue::from_str(&origin.authority()).map_err(|error| invalid(&error))?;
    // Always that of the origin, never one of the caller's.
    headers.insert(HOST, host);
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "hsm-mtls/",
            env!("CARGO_PKG_VERSION")
        )));
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .body(Full::new(body))
        .map_err(|error| invalid(&error))?;
    *request.headers_mut() = headers;
    Ok(request)
}
