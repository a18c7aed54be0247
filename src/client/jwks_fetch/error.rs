//! Why a key set could not be fetched, by stage, and what to do about it.

use std::time::Duration;

use thiserror::Error as ThisError;

use super::super::Stage;
use super::super::forward_proxy::ForwardProxyError;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::jwks::MAX_LEN;
use crate::tls::TlsError;

/// What came in the place of a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Content {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// More than a key set has.
    #[error("it is longer than {} KiB, and no more is read", MAX_LEN >> 10)]
    TooLong,
    /// A page for people.
    #[error("it is HTML, a page for people")]
    Html,
    /// Something else.
    #[error("it begins like no JSON object (Content-Type: {content_type})")]
    Other {
        /// What the server calls it.
        content_type: String,
    },
}

/// Why a key set could not be fetched.
#[derive(Debug, ThisError)]
pub enum FetchError {
    /// The URL is not https, or has a user name. It is not in the message: it may have a password.
    #[error("the JWKS is fetched from an https URL without a user name")]
    Url,
    /// The host name cannot be resolved.
    #[error("{host}, where the JWKS is, cannot be resolved: {why}")]
    Resolve {
        /// The host name.
        host: String,
        /// The resolver's error.
        why: String,
    },
    /// No address accepts a connection.
    #[error("{host}, where the JWKS is, cannot be reached: {why}")]
    Connect {
        /// The host name.
        host: String,
        /// Each address with its error.
        why: String,
    },
    /// No address accepted a connection before the deadline.
    #[error("connecting to {host}, where the JWKS is, took longer than {} ms: {why}", after.as_millis())]
    ConnectDeadline {
        /// The host name.
        host: String,
        /// The time that the fetch had.
        after: Duration,
        /// Each address with its error.
        why: String,
    },
    /// The forward proxy on the way made no tunnel.
    #[error("no way to {host}, where the JWKS is: {error}")]
    ForwardProxy {
        /// The host name.
        host: String,
        /// Why.
        error: Box<ForwardProxyError>,
    },
    /// The deadline passed in this stage.
    #[error("fetching the JWKS took longer than {} ms: {stage} {host} was not over", after.as_millis())]
    Deadline {
        /// Which stage.
        stage: Stage,
        /// The host name.
        host: String,
        /// The time that the fetch had.
        after: Duration,
    },
    /// TLS failed, without a client certificate and with the public roots of this machine.
    #[error("no TLS with {host}, where the JWKS is: {error}")]
    Tls {
        /// The host name.
        host: String,
        /// Why.
        error: Box<TlsError>,
    },
    /// There was no answer, or no whole one.
    #[error("no JWKS from {host}: {why}")]
    Http {
        /// The host name.
        host: String,
        /// Why.
        why: String,
    },
    /// The answer is a redirect, which is not followed.
    #[error(
        "the JWKS is not there: a redirect ({status}) leads to {location}; it was not followed"
    )]
    Redirect {
        /// The status.
        status: u16,
        /// Where it leads.
        location: String,
    },
    /// The status is not 200.
    #[error("the JWKS is not there: the answer has the status {0}")]
    Status(u16),
    /// The content is no key set.
    #[error("what was answered is no JWKS: {0}")]
    Content(Content),
}

impl FetchError {
    /// The stage that failed: `url`, `proxy`, `dns`, `tcp`, `tls`, `http` or `content`.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Resolve { .. } => "dns",
            Self::ForwardProxy { .. } => "proxy",
            Self::Connect { .. } | Self::ConnectDeadline { .. } => "tcp",
            Self::Tls { .. } => "tls",
            Self::Deadline { stage, .. } => match stage {
                Stage::Resolve => "dns",
                Stage::Handshake => "tls",
                Stage::Response => "http",
            },
            Self::Http { .. } | Self::Redirect { .. } | Self::Status(_) => "http",
            Self::Content(_) => "content",
        }
    }
}

impl Diagnostic for FetchError {
    fn hint(&self) -> String {
        match self {
            Self::Url => "write https://host/path, in `jwks` of [sig4] or after --url",
            Self::Resolve { .. } => {
                "check this machine's DNS, and the host name in `jwks` of [sig4] or after --url"
            }
            Self::ForwardProxy { error, .. } => return error.hint(),
            Self::Connect { .. } | Self::ConnectDeadline { .. } | Self::Deadline { .. } => {
                "check firewall and routes from this machine to the keystore: it is reached over the Internet, without a client \
                 certificate; `--file` judges a copy that was fetched elsewhere"
            }
            Self::Tls { error, .. } if matches!(**error, TlsError::NoPublicRoots(_)) => {
                "install `ca-certificates`, or name a file of roots in the variable SSL_CERT_FILE"
            }
            Self::Tls { .. } => {
                "its certificate is checked with the public roots of this machine, or those of the file that the variable \
                 SSL_CERT_FILE names: does something on the way, such as a proxy of the bank, answer in its place?"
            }
            Self::Http { .. } => "try again, then ask the Trust Framework's operator",
            Self::Redirect { .. } => {
                "if the key set has moved for good, write its URL in `jwks` of [sig4]: the keys of the bank are taken from no \
                 other place than the one that is configured"
            }
            Self::Status(404) => {
                "compare the URL with the one that the Trust Framework shows for the application: OU and CN of the Sig4 \
                 certificate are in it; `jwks` of [sig4] or --url overrides it"
            }
            Self::Status(_) => "try again, then ask the Trust Framework's operator",
            Self::Content(Content::TooLong) => {
                "is this the JWKS of the one application? The URL ends with ORGANISATION/CLIENT/application.jwks"
            }
            Self::Content(_) => {
                "the URL leads to something else, such as a portal or a login page: correct `jwks` of [sig4] or --url"
            }
        }
        .to_owned()
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Url => ExitCode::Configuration,
            Self::ForwardProxy { error, .. } => error.exit_code(),
            _ => ExitCode::Network,
        }
    }

    fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::Url | Self::Redirect { .. } | Self::Content(_) | Self::Status(404)
        )
    }
}
