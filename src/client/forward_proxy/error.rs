//! Why a forward proxy made no tunnel to the hub, apart from what is wrong with the hub. Nothing was sent to the hub: each of
//! these may be tried again without harm.

use std::fmt;
use std::time::Duration;

use thiserror::Error as ThisError;

use super::refusal::Refusal;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;
use crate::tls::{Ending, TlsError};

/// Which forward proxy made no tunnel, to where, and why.
#[derive(Debug, ThisError)]
#[error("the forward proxy {proxy} {failure}")]
pub struct ForwardProxyError {
    /// `http://host:port` of the forward proxy.
    pub proxy: String,
    /// `host:port` that it was to connect to.
    pub target: String,
    /// What went wrong.
    pub failure: ForwardProxyFailure,
}

/// What went wrong with a forward proxy.
#[derive(Debug)]
pub enum ForwardProxyFailure {
    /// Its name cannot be resolved. The text is the resolver's.
    Unresolved(String),
    /// No address of it accepts a connection: each with its error.
    Unreachable(String),
    /// No address of it accepted a connection before the deadline.
    ConnectDeadline {
        /// The timeout (`connect_timeout`).
        after: Duration,
        /// Each address with its error.
        why: String,
    },
    /// It is at https, and there is no TLS with it.
    Tls(Box<TlsError>),
    /// It accepted the connection, and did not answer before the deadline.
    Deadline(Duration),
    /// It ended the connection without an answer, or within one.
    Ended(Ending),
    /// What it answers is no HTTP, or malformed. The text is the parser's.
    NotHttp(String),
    /// It sent so many bytes behind the head of its answer, where the hub's come only after ours.
    SpokeFirst(usize),
    /// It refuses, with an answer.
    Refused(Box<Refusal>),
    /// It refused these credentials a moment ago, and they are not sent again for so long.
    HeldBack(Duration),
    /// The credentials cannot be read: their source, why, and what to do.
    Credentials {
        /// The source.
        source: String,
        /// Why.
        why: String,
        /// What to do about it.
        advice: String,
    },
}

impl fmt::Display for ForwardProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(why) => write!(f, "cannot be resolved: {why}"),
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::ConnectDeadline { after, why } => {
                write!(
                    f,
                    "did not accept a connection within {} ms: {why}",
                    after.as_millis()
                )
            }
            Self::Tls(error) => write!(f, "cannot be spoken to by TLS: {error}"),
            Self::Deadline(after) => {
                write!(f, "did not answer CONNECT within {} ms", after.as_millis())
            }
            Self::Ended(ending) => write!(f, "{ending} without a whole answer to CONNECT"),
            Self::NotHttp(why) => write!(f, "does not answer CONNECT in HTTP: {why}"),
            Self::SpokeFirst(count) => {
                write!(
                    f,
                    "sent {count} bytes behind its answer to CONNECT, before anything was sent to the hub"
                )
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::HeldBack(left) => write!(
                f,
                "refused these credentials a moment ago: they are not sent again for {} s, or until their source has others",
                left.as_secs().max(1)
            ),
            Self::Credentials { source, why, .. } => {
                write!(
                    f,
                    "was not called, for want of credentials from {source}: {why}"
                )
            }
        }
    }
}

impl ForwardProxyFailure {
    /// Whether the time was over.
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::ConnectDeadline { .. } | Self::Deadline(_))
            || matches!(self, Self::Refused(refusal) if refusal.status == 504)
    }

    fn is_status(&self, statuses: &[u16]) -> bool {
        matches!(self, Self::Refused(refusal) if statuses.contains(&refusal.status))
    }
}

impl Diagnostic for ForwardProxyError {
    fn hint(&self) -> String {
        match &self.failure {
            ForwardProxyFailure::Unresolved(_) => {
                "check `proxy` of [network] (`hsm-mtls config check`), and this machine's DNS".to_owned()
            }
            ForwardProxyFailure::Unreachable(_) => {
                "where it was refused, nothing listens there: check host and port in `proxy` of [network]; else check firewall and routes from this machine to it".to_owned()
            }
            ForwardProxyFailure::ConnectDeadline { .. } => {
                "an address without an answer is behind a firewall, or nobody's: check `proxy` of [network], firewall and routes from this machine to it".to_owned()
            }
            ForwardProxyFailure::Tls(_) => {
                "is it spoken to by TLS at all? If not, write http:// in `proxy` of [network]; if so, `proxy_anchors` names the roots of its certificate (the public ones are the default)".to_owned()
            }
            ForwardProxyFailure::Deadline(_) => format!(
                "it hangs, or waits for {}: ask who runs it; `connect_timeout` of [hub] sets the limit", self.target
            ),
            ForwardProxyFailure::Ended(_) => {
                "a forward proxy that is restarted, or that knows no CONNECT, does that; so does one that is at https:// where `proxy` says http://: check `proxy` of [network], then ask who runs it".to_owned()
            }
            ForwardProxyFailure::NotHttp(_) => {
                "is this a forward proxy? Something else listens there: check host and port in `proxy` of [network]".to_owned()
            }
            ForwardProxyFailure::SpokeFirst(_) => {
                "no forward proxy does that: something else listens there, or a server that is not the hub's is behind it".to_owned()
            }
            ForwardProxyFailure::Refused(refusal) => refusal.hint(&self.target),
            ForwardProxyFailure::HeldBack(_) => {
                "correct what the source of `proxy_credentials` has: it is read again for each connection, and others are sent at once".to_owned()
            }
            ForwardProxyFailure::Credentials { advice, .. } => advice.clone(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match &self.failure {
            ForwardProxyFailure::Credentials { .. } => ExitCode::Configuration,
            _ => ExitCode::Network,
        }
    }

    fn is_transient(&self) -> bool {
        match &self.failure {
            ForwardProxyFailure::Unresolved(_)
            | ForwardProxyFailure::Unreachable(_)
            | ForwardProxyFailure::ConnectDeadline { .. }
            | ForwardProxyFailure::Deadline(_)
            | ForwardProxyFailure::Ended(_) => true,
            ForwardProxyFailure::Tls(error) => error.is_transient(),
            failure @ ForwardProxyFailure::Refused(_) => {
                failure.is_status(&[408, 429, 500, 502, 503, 504])
            }
            ForwardProxyFailure::NotHttp(_)
            | ForwardProxyFailure::SpokeFirst(_)
            | ForwardProxyFailure::HeldBack(_)
            | ForwardProxyFailure::Credentials { .. } => false,
        }
    }
}
