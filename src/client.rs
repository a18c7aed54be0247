//! One mTLS request to the hub. Redirects are handed back, never followed: a 303 of Headless
//! Heimdall is for the customer's browser.

pub mod connector;
#[cfg(feature = "reqwest")]
pub mod reqwest;

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error as ThisError;
use tokio::time::timeout_at;
use url::Url;
use uuid::Uuid;

use crate::certificate::anchors::Anchors;
use crate::config::Config;
use crate::config::environment::Origin;
use crate::error::Error;
use crate::identity::Identity;
use crate::tls::{Tls, TlsError, diagnose};
use crate::token::guard::Attendance;
use connector::{Connection, Connector};

/// The scheme's correlation id: a UUIDv4; the hub silently drops any other value.
pub const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");

/// The longest body that is kept in memory, in bytes.
const LONGEST_BODY: usize = 64 << 20;

/// What had to be done by a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name.
    Resolve,
    /// TCP.
    Connect,
    /// TLS.
    Handshake,
    /// The answer.
    Response,
}

impl Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Connect => "connecting",
            Self::Handshake => "the TLS handshake",
            Self::Response => "the answer",
        })
    }
}

/// Why a request got no answer.
#[derive(Debug, ThisError)]
pub enum ClientError {
    /// Not a host of the configuration.
    #[error("{origin} is not a configured host ({}); nothing was sent", configured.join(", "))]
    NotConfigured {
        /// Who would have been called.
        origin: String,
        /// Who may be.
        configured: Vec<String>,
    },
    /// The request cannot be made from what was given.
    #[error("this is no request: {0}")]
    Request(String),
    /// The name has no address.
    #[error("{host} cannot be resolved: {why}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// No address answers.
    #[error("{host} cannot be reached: {why}")]
    Connect {
        /// The name.
        host: String,
        /// What each address said.
        why: String,
    },
    /// Too late.
    #[error("{stage} of {host} took longer than {} ms", after.as_millis())]
    Deadline {
        /// Of what.
        stage: Stage,
        /// The name.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// The handshake failed, or the server refused us right after it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// HTTP failed.
    #[error("the connection failed while waiting for the answer: {0}")]
    Http(String),
    /// The answer is too long.
    #[error("the answer is longer than {} MiB", .0 >> 20)]
    TooLong(usize),
    /// reqwest could not be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

impl ClientError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NotConfigured { .. } => {
                "the certificate is for the hub only: call a path on a configured host, or correct [hub]".to_owned()
            }
            Self::Request(_) => "write METHOD and an https URL, or a path after `cm:` or `hh:`".to_owned(),
            Self::Resolve { .. } => {
                "check `lfi_code` and [hub] (`hsm-mtls config check`), and this machine's DNS".to_owned()
            }
            Self::Connect { .. } => "check firewall and routes from this machine to the hub".to_owned(),
            Self::Deadline { stage, .. } => match stage {
                Stage::Handshake => {
                    "a large hello that is dropped on the way looks so: try `groups = [\"x25519\", \"secp256r1\"]` in [tls]".to_owned()
                }
                Stage::Response => "raise `response_timeout` of [hub], or ask the hub's operator".to_owned(),
                Stage::Resolve | Stage::Connect => {
                    "check DNS, firewall and routes; `connect_timeout` of [hub] sets the limit".to_owned()
                }
            },
            Self::Tls(error) => error.hint(),
            Self::Http(_) => {
                "if it repeats right after the handshake, the server refuses the certificate without saying so: `hsm-mtls verify`".to_owned()
            }
            Self::TooLong(_) => "this client keeps the answer in memory; fetch it in parts".to_owned(),
            Self::Setup(_) => "this is a fault of ours: please report it".to_owned(),
        }
    }
}

/// A client of the configured hub, with a connection per request.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    response_timeout: Duration,
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
    pub fn open(config: &Config, attendance: Attendance) -> Result<Self, Error> {
        let identity = Identity::open(config, attendance)?;
        let anchors = Anchors::load(&config.trust)?;
        let tls = Tls::new(config, &identity, &anchors)?;
        Ok(Self::new(config, Connector::new(config, &tls)?))
    }

    /// A client over a connector.
    pub fn new(config: &Config, connector: Connector) -> Self {
        Self {
            connector,
            response_timeout: config.hub.response_timeout,
        }
    }

    /// Sends one request over a connection of its own.
    ///
    /// # Errors
    /// The host is not configured, or there is no answer.
    pub async fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let origin = Origin::of(url)
            .ok_or_else(|| ClientError::Request(format!("{url} is not an https URL")))?;
        let connection = self.connector.connect(&origin).await?;
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
        let interaction_id = interaction_id(&mut headers)?;
        let request = assemble(method, url, headers, body)?;
        // Before it is sent: an answer that never comes can then still be asked about.
        tracing::info!(
            method = %request.method(),
            host = url.host_str(),
            path = url.path(),
            interaction_id,
            "sending"
        );
        let host = url.host_str().unwrap_or_default().to_owned();
        let late = || ClientError::Deadline {
            stage: Stage::Response,
            host: host.clone(),
            after: self.response_timeout,
        };
        let deadline = (Instant::now() + self.response_timeout).into();
        let exchange = async {
            let io = TokioIo::new(connection.stream);
            let (mut sender, driver) = http1::handshake(io).await.map_err(of_http)?;
            let driver = tokio::spawn(driver);
            let response = sender.send_request(request).await.map_err(of_http)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LONGEST_BODY).collect().await;
            driver.abort();
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return ClientError::TooLong(LONGEST_BODY);
                }
                match diagnose(error.as_ref()) {
                    Some(tls) => ClientError::Tls(tls),
                    None => ClientError::Http(chain(error.as_ref())),
                }
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
                interaction_id,
            })
        };
        timeout_at(deadline, exchange).await.map_err(|_| late())?
    }
}

fn of_http(error: hyper::Error) -> ClientError {
    match diagnose(&error) {
        Some(tls) => ClientError::Tls(tls),
        None => ClientError::Http(chain(&error)),
    }
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
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
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let wrong = |error: &dyn Display| ClientError::Request(error.to_string());
    let authority = url.authority().to_owned();
    let host = HeaderValue::from_str(&authority).map_err(|error| wrong(&error))?;
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
