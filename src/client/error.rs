//! Why a request got no response, and what to do about it.

use std::fmt::{self, Display};
use std::time::Duration;

use thiserror::Error as ThisError;

use super::forward_proxy::ForwardProxyError;
use super::http2_error::Http2Ending;
use super::{MAX_RESPONSE_FIELDS, MAX_RESPONSE_HEAD};
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::identity::IdentityError;
use crate::tls::{Ending, SILENT_REFUSAL, TlsError};

/// A stage of a request that has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Resolving the host name.
    Resolve,
    /// The TLS handshake.
    Handshake,
    /// The response.
    Response,
}

impl Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "finding the address of",
            Self::Handshake => "the TLS handshake with",
            Self::Response => "the answer of",
        })
    }
}

/// Why a request got no response, or not a whole one.
#[derive(Debug, ThisError)]
pub enum ClientError {
    /// Token, key or certificate cannot be used.
    #[error(transparent)]
    Identity(Box<IdentityError>),
    /// The host is not configured. Nothing was sent.
    #[error("{origin} is not a configured host ({}); nothing was sent", configured.join(", "))]
    NotConfigured {
        /// The requested origin.
        origin: String,
        /// The configured origins.
        configured: Vec<String>,
    },
    /// The request is not valid: its URL or a header field. Nothing was sent.
    #[error("this is no request: {0}")]
    Request(String),
    /// The host name cannot be resolved.
    #[error("{host} cannot be resolved: {why}")]
    Resolve {
        /// The host name.
        host: String,
        /// The resolver's error.
        why: String,
    },
    /// No address accepts a connection.
    #[error("{host} cannot be reached: {why}")]
    Connect {
        /// The host name.
        host: String,
        /// Each address with its error.
        why: String,
    },
    /// No address accepted a connection before the deadline.
    #[error("connecting to {host} took longer than {} ms: {why}", after.as_millis())]
    ConnectDeadline {
        /// The host name.
        host: String,
        /// The timeout (`connect_timeout`).
        after: Duration,
        /// Each address with its error.
        why: String,
    },
    /// The deadline of a stage has passed.
    #[error("{stage} {host} took longer than {} ms", after.as_millis())]
    Deadline {
        /// Which stage.
        stage: Stage,
        /// The host name.
        host: String,
        /// The timeout (`connect_timeout` or `response_timeout`).
        after: Duration,
    },
    /// The forward proxy made no tunnel to the hub: nothing was sent there.
    #[error(transparent)]
    ForwardProxy(Box<ForwardProxyError>),
    /// The handshake failed in the tunnel of a forward proxy, before the server said anything.
    #[error("{error}, in the tunnel that the forward proxy {proxy} had made")]
    InTunnel {
        /// The forward proxy.
        proxy: String,
        /// What happened.
        error: Box<ClientError>,
    },
    /// The handshake failed, or the server refused the client right after it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connection ended before a response.
    #[error("the server {0} without an answer")]
    NoAnswer(Ending),
    /// The connection ended before this response. It had carried other responses, so the client certificate is accepted.
    #[error("the server {0} without an answer to this request; it had answered others over it")]
    ConnectionLost(Ending),
    /// An HTTP/2 stream or connection was ended before a response.
    #[error("{0}")]
    Http2(Http2Ending),
    /// The server did not acknowledge a PING of HTTP/2.
    #[error("the server did not answer a PING of HTTP/2 in time")]
    NoPing,
    /// The connection ended within the response.
    #[error("the server {0} in the middle of its answer")]
    HalfAnswer(Ending),
    /// The response body is malformed.
    #[error("the body of the answer cannot be read: {0}")]
    Body(String),
    /// The response is not HTTP. The text is hyper's error.
    #[error("the answer is not HTTP: {0}")]
    Http(String),
    /// The response is malformed HTTP. The text is hyper's error.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    /// The head of the response is longer than 128 KiB, or has more than 1024 fields.
    #[error("the head of the answer is longer than {} KiB, or has more than {} fields", MAX_RESPONSE_HEAD >> 10, MAX_RESPONSE_FIELDS)]
    HeadTooLong,
    /// The body of the response is longer than this many bytes.
    #[error("the answer is longer than {} KiB", .0 >> 10)]
    TooLong(usize),
    /// The `reqwest::Client` could not be built.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

impl From<IdentityError> for ClientError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(Box::new(error))
    }
}

impl From<ForwardProxyError> for ClientError {
    fn from(error: ForwardProxyError) -> Self {
        Self::ForwardProxy(Box::new(error))
    }
}

impl Diagnostic for ClientError {
    fn hint(&self) -> String {
        match self {
            Self::Identity(error) => error.hint(),
            Self::NotConfigured { .. } => {
                "the certificate is for the hub only: call a path on a configured host, or correct [hub]".to_owned()
            }
            Self::Request(_) => "write METHOD and an https URL, or SERVICE:/path with a service of the configuration".to_owned(),
            Self::Resolve { .. } => {
                "check `lfi_code` and [hub] (`hsm-mtls config check`), and this machine's DNS".to_owned()
            }
            Self::Connect { .. } => "where it was refused, nothing listens there: check host and port of [hub], and whether the hub runs; else check firewall and routes from this machine to it".to_owned(),
            Self::Deadline { stage, .. } => match stage {
                Stage::Handshake => {
                    "something on the way drops what is sent: `hsm-mtls verify` finds out whether the size of the hello is the cause".to_owned()
                }
                Stage::Response => "raise `response_timeout` of [hub], or ask the hub's operator".to_owned(),
                Stage::Resolve => {
                    "check DNS, firewall and routes; `connect_timeout` of [hub] sets the limit".to_owned()
                }
            },
            Self::ConnectDeadline { .. } => {
                "an address without an answer is behind a firewall, or nobody's: check firewall and routes from this machine to each; `connect_timeout` of [hub] sets the limit".to_owned()
            }
            Self::ForwardProxy(error) => error.hint(),
            Self::InTunnel { .. } => {
                "the forward proxy or what is behind it: its log says whether it reached the hub, and whether it looks into TLS, which ends connections that it cannot look into".to_owned()
            }
            Self::Tls(error) => error.hint(),
            Self::NoAnswer(Ending::Orderly) => {
                "a gateway whose service behind it is down does that, and so do servers that refuse a certificate without saying so: ask the hub's operator what its log says".to_owned()
            }
            Self::NoAnswer(_) => SILENT_REFUSAL.to_owned(),
            Self::ConnectionLost(_) => {
                "a gateway whose service behind it is down does that, and so does a server or load balancer that is restarted: try again where that is harmless".to_owned()
            }
            Self::Http2(ending) => ending.hint().to_owned(),
            Self::NoPing => {
                "the hub hangs, or something on the way drops what is sent without a word, as firewalls do with what was idle: try again where that is harmless, then ask who runs them".to_owned()
            }
            Self::Body(_) => "ask the hub's operator with the time and the interaction id of this call".to_owned(),
            Self::HalfAnswer(_) => {
                "a load balancer or proxy on the way ended it: try again where that is harmless, then ask who runs them".to_owned()
            }
            Self::Http(_) => "is this the hub? Something else answers on this port".to_owned(),
            Self::Malformed(_) => {
                "ask the hub's operator: a server or proxy there writes what others read otherwise, or not at all".to_owned()
            }
            Self::HeadTooLong => {
                "ask the hub's operator what fills the header fields of this answer".to_owned()
            }
            Self::TooLong(_) => "this client keeps the answer in memory; fetch it in parts".to_owned(),
            Self::Setup(_) => "this is a fault of ours: please report it".to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::ForwardProxy(error) => error.exit_code(),
            Self::InTunnel { error, .. } => error.exit_code(),
            Self::Tls(error) => error.exit_code(),
            Self::Identity(error) => error.exit_code(),
            Self::NotConfigured { .. } | Self::Request(_) => ExitCode::Configuration,
            Self::Setup(_) => ExitCode::Bug,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectDeadline { .. }
            | Self::Deadline { .. }
            | Self::NoAnswer(_)
            | Self::ConnectionLost(_)
            | Self::Http2(_)
            | Self::NoPing
            | Self::HalfAnswer(_)
            | Self::Body(_)
            | Self::Http(_)
            | Self::Malformed(_)
            | Self::HeadTooLong
            | Self::TooLong(_) => ExitCode::Network,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::ForwardProxy(error) => error.is_transient(),
            Self::InTunnel { error, .. } => error.is_transient(),
            Self::Tls(error) => error.is_transient(),
            Self::Identity(error) => error.is_transient(),
            _ => self.exit_code() == ExitCode::Network,
        }
    }
}
