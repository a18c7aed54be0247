//! Fetches what the Trust Framework publishes for everybody: CRLs and CA certificates. No client certificate is offered, no
//! redirect followed, and neither time nor length is unbounded. What comes is believed for its signature or fingerprint, never
//! for the server that it comes from.

mod error;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout_at;
use url::{Position, Url};

use super::public_server::{self, Failure, OpenResponse, PublicServer};
use super::{ClientError, Stage, hyper_error};
use crate::config::Config;
use crate::config::origin::Origin;
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
    let connect_time = CONNECT_TIME.min(limits.time);
    let fetching = Download {
        url,
        limits,
        server: PublicServer {
            // For what connects: the scheme is told by the URL.
            origin: Origin {
                host: host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned(),
                port: url.port_or_known_default().ok_or(DownloadError::Url)?,
            },
            deadline: started + connect_time,
            after: connect_time,
        },
    };
    tracing::info!(%url, "fetching");
    let by = (started + limits.time).into();
    timeout_at(by, fetching.run(config))
        .await
        .map_err(|_| fetching.late(Stage::Response, limits.time))?
}

struct Download<'a> {
    url: &'a Url,
    limits: DownloadLimits,
    server: PublicServer,
}

impl Download<'_> {
    async fn run(&self, config: &Config) -> Result<Vec<u8>, DownloadError> {
        let failed = |failure| self.failed(failure);
        let request = self.request()?;
        // A forward proxy is asked for a URL of http as a whole (RFC 9112, section 3.2.2): many refuse CONNECT to its port.
        let mut asked = None;
        let sent = match self.url.scheme() {
            "http" => match self.server.forward_proxy(config).map_err(failed)? {
                Some(proxy) => {
                    let connecting = proxy.connect(self.url.as_str(), self.server.limit());
                    let connected = connecting.await.map_err(|error| self.client(error.into()));
                    let (stream, authorization) = connected?;
                    let value = authorization.as_ref().map(|sent| sent.value.clone());
                    asked = Some((proxy, authorization));
                    public_server::send(stream, self.whole(request, value)?).await
                }
                None => {
                    let stream = self.server.connect(config).await.map_err(failed)?;
                    public_server::send(stream, request).await
                }
            },
            _ => {
                let stream = self.server.connect_tls(config).await.map_err(failed)?;
                public_server::send(stream, request).await
            }
        };
        let OpenResponse {
            response,
            connection: _open,
        } = sent.map_err(|error| self.client(error))?;
        match asked {
            Some((proxy, sent))
                if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED =>
            {
                let error = proxy.refused(self.url.as_str(), response.headers(), sent.as_ref());
                Err(self.client(error.into()))
            }
            _ => self.read(response).await,
        }
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

    /// The request as a forward proxy is sent it: for the whole URL, with the credentials.
    fn whole(
        &self,
        mut request: Request<Empty<Bytes>>,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<Empty<Bytes>>, DownloadError> {
        let whole = &self.url[..Position::AfterQuery];
        *request.uri_mut() = whole.parse().map_err(|_| DownloadError::Url)?;
        if let Some(value) = authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        Ok(request)
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

    fn failed(&self, failure: Failure) -> DownloadError {
        match failure {
            Failure::Late(stage) => self.late(stage, self.server.after),
            Failure::Unresolved(why) => DownloadError::Unreachable {
                url: self.url.to_string(),
                why: format!("its name cannot be resolved: {why}"),
            },
            Failure::Client(error) => self.client(error),
        }
    }

    /// The error of this stage, in the place of one that speaks of the hub.
    fn client(&self, error: ClientError) -> DownloadError {
        let url = self.url.to_string();
        match error {
            ClientError::Tls(error) => DownloadError::Tls {
                url,
                error: Box::new(error),
            },
            ClientError::ForwardProxy(error) => DownloadError::ForwardProxy { url, error },
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
