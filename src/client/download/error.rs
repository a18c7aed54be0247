//! Why a CRL or a CA certificate could not be fetched, and what to do about it.

use std::time::Duration;

use thiserror::Error as ThisError;

use super::super::Stage;
use super::super::forward_proxy::ForwardProxyError;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::tls::TlsError;

/// Why something was not fetched.
#[derive(Debug, ThisError)]
pub enum DownloadError {
    /// The URL is none to fetch from.
    #[error("this is no http or https URL with a host")]
    Url,
    /// The name cannot be resolved, or no address accepts a connection.
    #[error("{url} cannot be fetched: {why}")]
    Unreachable {
        /// The URL.
        url: String,
        /// Each address with its error, or the resolver's error.
        why: String,
    },
    /// The forward proxy on the way made no tunnel, or wants credentials.
    #[error("{url} cannot be fetched: {error}")]
    ForwardProxy {
        /// The URL.
        url: String,
        /// Why.
        error: Box<ForwardProxyError>,
    },
    /// The deadline passed in this stage.
    #[error("fetching {url} took longer than {} s: {stage} the server was not over", after.as_secs())]
    Deadline {
        /// The URL.
        url: String,
        /// Which stage.
        stage: Stage,
        /// The time that there was.
        after: Duration,
    },
    /// TLS failed, with the public roots of this machine.
    #[error("{url} cannot be fetched: no TLS: {error}")]
    Tls {
        /// The URL.
        url: String,
        /// Why.
        error: Box<TlsError>,
    },
    /// There was no answer, or no whole one.
    #[error("{url} cannot be fetched: {why}")]
    Http {
        /// The URL.
        url: String,
        /// Why.
        why: String,
    },
    /// The answer is a redirect, which is not followed.
    #[error("nothing is at {url}: a redirect ({status}) leads to {location}; it was not followed")]
    Redirect {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
        /// Where it leads.
        location: String,
    },
    /// The status is not 200.
    #[error("nothing is at {url}: the answer has the status {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// The content is longer than what is looked for.
    #[error("what is at {url} is longer than {} KiB, and no more is read", limit >> 10)]
    TooLong {
        /// The URL.
        url: String,
        /// The longest content, in bytes.
        limit: usize,
    },
}

impl Diagnostic for DownloadError {
    fn hint(&self) -> String {
        match self {
            Self::Url => "correct the URL in [trust]",
            Self::ForwardProxy { error, .. } => return error.hint(),
            Self::Unreachable { .. } | Self::Deadline { .. } => {
                "check this machine's DNS, firewall and routes to that host: it is reached without a client certificate, and over a \
                 forward proxy where `fetch_proxy` or `proxy` of [network] says so. Where it stays closed, fetch the file elsewhere and put it in its place"
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
                "if it has moved for good, and the Trust Framework says so, write the new URL into [trust]"
            }
            Self::Status { status: 500.., .. } => "try again, then ask the Trust Framework's operator",
            Self::Status { .. } => "compare the URL with the Trust Framework's documentation, and correct it in [trust]",
            Self::TooLong { .. } => "does the URL lead to what it is meant for? Compare it with the Trust Framework's documentation",
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
        match self {
            Self::ForwardProxy { error, .. } => error.is_transient(),
            Self::Unreachable { .. } | Self::Deadline { .. } | Self::Http { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Url | Self::Tls { .. } | Self::Redirect { .. } | Self::TooLong { .. } => false,
        }
    }
}
