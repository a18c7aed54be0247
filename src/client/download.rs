//! Fetches what the Trust Framework publishes for everybody: CRLs and CA certificates. No client certificate is offered, no
//! redirect followed, and neither time nor length is unbounded. What comes is believed for its signature or fingerprint, never
//! for the server that it comes from.

mod error;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use url::{Position, Url};

use super::connector::server_name;
use super::dns_cache::DnsCache;
use super::happy_eyeballs::PreferredAddresses;
use super::{ClientError, Stage, http1_builder, hyper_error};
use crate::config::Config;
use crate::config::environment::Origin;
use crate::tls::anonymous::anonymous_client_config;
use crate::tls::from_handshake;
pub use error::DownloadError;

/// How long name resolution, TCP and TLS may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How much is fetched, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct DownloadLimits {
    /// The longest content, in bytes.
    pub bytes: usize,
    /// From the start to the last byte.
    pub time: Duration,
}

/// Fetches the content at an http or https URL. The servers of https are trusted by the public roots of this machine, or those
/// of `SSL_CERT_FILE`.
///
/// # Errors
/// The server cannot be reached or trusted, its answer is not a 200, or is beyond the limits.
pub async fn download(
    config: &Config,
    url: &Url,
    limits: DownloadLimits,
) -> Result<Vec<u8>, DownloadError> {
    let host = url.host_str().ok_or(DownloadError::Url)?;
    let started = Instant::now();
    let fetching = Download {
        url,
        // For what connects: the scheme is told by the URL.
        origin: Origin {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: url.port_or_known_default().ok_or(DownloadError::Url)?,
        },
        limits,
        connect_by: started + CONNECT_TIME.min(limits.time),
    };
    tracing::info!(%url, "fetching");
    let by = (started + limits.time).into();
    timeout_at(by, fetching.run(config))
        .await
        .map_err(|_| fetching.late(Stage::Response, limits.time))?
}

struct Download<'a> {
    url: &'a Url,
    origin: Origin,
    limits: DownloadLimits,
    connect_by: Instant,
}

impl Download<'_> {
    async fn run(&self, config: &Config) -> Result<Vec<u8>, DownloadError> {
        let tcp = self.connect().await?;
        if self.url.scheme() == "http" {
            return self.exchange(tcp).await;
        }
        let tls = anonymous_client_config(&config.tls).map_err(|error| self.tls(error))?;
        let name = server_name(&self.origin).map_err(|error| self.client(error))?;
        let handshake = TlsConnector::from(Arc::new(tls)).connect(name, tcp);
        let stream = timeout_at(self.connect_by.into(), handshake)
            .await
            .map_err(|_| self.late(Stage::Handshake, CONNECT_TIME))?
            .map_err(|error| self.tls(from_handshake(&error)))?;
        self.exchange(stream).await
    }

    async fn connect(&self) -> Result<TcpStream, DownloadError> {
        let addresses = DnsCache::default();
        let lookup = addresses.resolve(&self.origin.host, self.origin.port);
        let unreachable = |why: String| DownloadError::Unreachable {
            url: self.url.to_string(),
            why,
        };
        let addresses = timeout_at(self.connect_by.into(), lookup)
            .await
            .map_err(|_| self.late(Stage::Resolve, CONNECT_TIME))?
            .map_err(|error| unreachable(format!("its name cannot be resolved: {error}")))?;
        if addresses.is_empty() {
            return Err(unreachable("its name has no address".to_owned()));
        }
        let preferred = PreferredAddresses::default();
        let connected = preferred.connect(&self.origin, &addresses, self.connect_by);
        let timed_out = |deadline| Instant::now() >= deadline;
        connected
            .await
            .into_stream(&self.origin, CONNECT_TIME, timed_out(self.connect_by))
            .map_err(|error| self.client(error))
    }

    async fn exchange<S>(&self, stream: S) -> Result<Vec<u8>, DownloadError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed = |error| self.client(hyper_error::before_response(error, None, None, false));
        let request = self.request()?;
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

    fn request(&self) -> Result<Request<Empty<Bytes>>, DownloadError> {
        let agent = concat!("hsm-mtls/", env!("CARGO_PKG_VERSION"));
        // Host and, where it is not that of the scheme, port.
        let authority = &self.url[Position::BeforeHost..Position::AfterPort];
        Request::get(&self.url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, authority)
            .header(USER_AGENT, HeaderValue::from_static(agent))
            .body(Empty::new())
            .map_err(|_| DownloadError::Url)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Vec<u8>, DownloadError> {
        let (head, mut body) = response.into_parts();
        let url = || self.url.to_string();
        let field = |name| {
            head.headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        if head.status.is_redirection() {
            let location = field(LOCATION).unwrap_or("nowhere");
            return Err(DownloadError::Redirect {
                url: url(),
                status: head.status.as_u16(),
                location: location.chars().take(300).collect(),
            });
        }
        if head.status != StatusCode::OK {
            return Err(DownloadError::Status {
                url: url(),
                status: head.status.as_u16(),
            });
        }
        let too_long = || DownloadError::TooLong {
            url: url(),
            limit: self.limits.bytes,
        };
        // What a server announces is not reserved at once.
        let announced = field(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.limits.bytes as u64) {
            return Err(too_long());
        }
        let mut content = Vec::new();
        while !body.is_end_stream() {
            let Some(frame) = body.frame().await else {
                break;
            };
            let frame = frame.map_err(|error| self.client(hyper_error::within_response(&error)))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if content.len() + data.len() > self.limits.bytes {
                return Err(too_long());
            }
            content.extend_from_slice(&data);
        }
        Ok(content)
    }

    fn late(&self, stage: Stage, after: Duration) -> DownloadError {
        DownloadError::Deadline {
            url: self.url.to_string(),
            stage,
            after,
        }
    }

    fn tls(&self, error: crate::tls::TlsError) -> DownloadError {
        DownloadError::Tls {
            url: self.url.to_string(),
            error: Box::new(error),
        }
    }

    /// The error of this stage, in the place of one that speaks of the hub.
    fn client(&self, error: ClientError) -> DownloadError {
        let url = self.url.to_string();
        match error {
            ClientError::Tls(error) => self.tls(error),
            ClientError::Connect { why, .. } | ClientError::ConnectDeadline { why, .. } => {
                DownloadError::Unreachable { url, why }
            }
            other => DownloadError::Http {
                url,
                why: other.to_string(),
            },
        }
    }
}
