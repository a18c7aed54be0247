//! One mTLS request to the hub. Redirects are handed back, never followed: a 303 of Headless
//! Heimdall is for the customer's browser.

pub mod connector;
mod error;
pub mod failure;
pub mod happy_eyeballs;
pub mod http2;
mod read_on;
mod refusal;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod resolution;
mod unhurried;

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
use crate::config::environment::Origin;
use crate::identity::Identity;
use crate::tls::Tls;
use crate::token::guard::Attendance;
use connector::{Connection, Connector};
pub use error::{ClientError, Stage};
pub use refusal::Refusal;

/// The scheme's correlation id: a UUIDv4; the hub silently drops any other value.
pub const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");

/// The longest head of an answer, in bytes.
pub const ANSWER_HEAD: usize = 128 << 10;
/// What HTTP/2 counts for a field beside its letters (RFC 9113, section 6.5.2), in bytes: so many
/// fields and no more fit into a head, in HTTP/1.1 too.
pub(crate) const FIELD: usize = 32;

/// The longest body that is kept in memory, in bytes.
const LONGEST_BODY: usize = 64 << 20;

/// A client of the configured hub, with a connection per request.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    response_timeout: Duration,
    longest_body: usize,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status; 3xx too.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The `x-fapi-interaction-id` that was sent.
    pub interaction_id: String,
}

impl Client {
    /// Opens token, key and certificate as configured.
    ///
    /// # Errors
    /// Any of it is not as it must be; the error of the stage.
    pub fn open(config: &Config, attendance: Attendance) -> Result<Self, ClientError> {
        Self::of(config, &Identity::open(config, attendance)?)
    }

    /// A client of an identity that was opened before.
    ///
    /// # Errors
    /// The trust anchors are not as they must be.
    pub fn of(config: &Config, identity: &Identity) -> Result<Self, ClientError> {
        let tls = Tls::new(config, identity)?;
        Ok(Self::new(config, Connector::new(config, &tls)?))
    }

    /// A client over a connector.
    pub fn new(config: &Config, connector: Connector) -> Self {
        Self {
            connector,
            response_timeout: config.hub.response_timeout,
            longest_body: LONGEST_BODY,
        }
    }

    /// The same, with an answer of so many bytes at the most.
    pub fn with_longest_body(mut self, bytes: usize) -> Self {
        self.longest_body = bytes;
        self
    }

    /// Sends one request over a connection of its own.
    ///
    /// # Errors
    /// The host is not configured, or there is no answer.
    pub async fn request(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let origin = origin_of(url)?;
        check_fields(&headers, &origin)?;
        let interaction_id = interaction_id(&mut headers)?;
        let connecting = self.connector.connect_for(&origin, Some(&interaction_id));
        let connection = connecting.await?;
        self.request_over(connection, method, url, headers, body)
            .await
    }

    /// Sends one request over a given connection, which ends with it.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn request_over(
        &self,
        connection: Connection,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let origin = origin_of(url)?;
        if origin != *connection.origin() {
            return Err(ClientError::NotConfigured {
                origin: origin.to_string(),
                configured: vec![connection.origin().to_string()],
            });
        }
        check_fields(&headers, &origin)?;
        let interaction_id = interaction_id(&mut headers)?;
        let request = assemble(method, url, &origin, headers, body)?;
        // Before it is sent: an answer that never comes can then still be asked about.
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
            let refused = |error| failure::before_an_answer(error, foreign.as_deref(), None, false);
            let (mut sender, driver) = http1_of_the_hub()
                .handshake(TokioIo::new(stream))
                .await
                .map_err(refused)?;
            let driver = tokio::spawn(driver);
            let response = sender.send_request(request).await.map_err(refused)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.longest_body).collect().await;
            driver.abort();
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => ClientError::TooLong(self.longest_body),
                false => failure::within_an_answer(error.as_ref()),
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
                interaction_id,
            })
        };
        let answer = timeout_at(deadline, exchange).await.unwrap_or_else(|_| {
            Err(ClientError::Deadline {
                stage: Stage::Response,
                host: origin.host.clone(),
                after: self.response_timeout,
            })
        });
        if let Err(error) = &answer {
            // What the hub's operator will ask for.
            tracing::warn!(interaction_id = sent_id, %error, "no answer");
        }
        answer
    }
}

/// HTTP/1.1 as the hub is spoken to. White space before the colon of a field is taken out of an
/// answer, and a folded line is made one (RFC 9112, sections 5.1 and 5.2): old servers write both.
pub fn http1_of_the_hub() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .max_headers(ANSWER_HEAD / FIELD)
        .max_header_size(ANSWER_HEAD)
        .max_buf_size(ANSWER_HEAD);
    builder
}

fn origin_of(url: &Url) -> Result<Origin, ClientError> {
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it may be a password.
        return Err(ClientError::Request(
            "a URL with a user name in it".to_owned(),
        ));
    }
    Origin::of(url).ok_or_else(|| ClientError::Request(format!("{url} is not an https URL")))
}

/// What says where the request ends and whom it is for is this client's to say: another word for it would cut the
/// body short, or keep the hub waiting for more of it.
fn check_fields(headers: &HeaderMap, origin: &Origin) -> Result<(), ClientError> {
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

fn interaction_id(headers: &mut HeaderMap) -> Result<String, ClientError> {
    let given = headers
        .get(INTERACTION_ID)
        .and_then(|value| value.to_str().ok());
    let fit = given.filter(|id| Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 4));
    if let Some(id) = fit {
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

fn assemble(
    method: Method,
    url: &Url,
    origin: &Origin,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let wrong = |error: &dyn Display| ClientError::Request(error.to_string());
    let host = HeaderValue::from_str(&origin.authority()).map_err(|error| wrong(&error))?;
    // The certificate is good for this host and no other: a Host of somebody's wish is not sent.
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
        .map_err(|error| wrong(&error))?;
    *request.headers_mut() = headers;
    Ok(request)
}
