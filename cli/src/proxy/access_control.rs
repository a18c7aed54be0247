//! Access control of a listener: which local processes may send requests. On a Unix socket by the peer credentials
//! (SO_PEERCRED), on a TCP port by the caller token.

use http::StatusCode;
use http::request::Parts;
use http::uri::PathAndQuery;
use tokio::net::unix::UCred;

use super::ProxyError;
use super::caller_token::{CALLER_TOKEN, CallerToken};
use super::connection_slots::Caller;
use super::problem_details::Problem;
use super::request_head::{skip_prefix, target_path};
use hsm_mtls::internal::config::listener::Callers;

/// The rule of one listener.
#[derive(Debug)]
pub(super) enum AccessControl {
    /// Processes with one of these user or group ids.
    Peers { uids: Vec<u32>, gids: Vec<u32> },
    /// Requests that carry this token.
    Token(CallerToken),
    /// No check: every process that can connect.
    Open,
}

impl AccessControl {
    /// # Errors
    /// The token's file cannot be used.
    pub(super) fn of(callers: &Callers) -> Result<Self, ProxyError> {
        Ok(match callers {
            Callers::SameUser => Self::Peers {
                uids: vec![rustix::process::geteuid().as_raw()],
                gids: Vec::new(),
            },
            Callers::Peers { uids, gids } => Self::Peers {
                uids: uids.clone(),
                gids: gids.clone(),
            },
            Callers::SocketMode | Callers::AnyLocalProcess => Self::Open,
            Callers::Token(path) => Self::Token(CallerToken::read(path)?),
        })
    }

    /// Whether a connection is allowed. `peer` holds the ids that the process had when it connected.
    pub(super) fn allows_peer(&self, peer: Option<UCred>) -> bool {
        match self {
            Self::Peers { uids, gids } => {
                peer.is_some_and(|peer| uids.contains(&peer.uid()) || gids.contains(&peer.gid()))
            }
            Self::Token(_) | Self::Open => true,
        }
    }

    /// Whose connection it is, before any of its requests was read.
    pub(super) fn caller(&self, peer: Option<UCred>) -> Caller {
        match (self, peer) {
            (_, Some(peer)) => Caller::User(peer.uid()),
            (Self::Token(_), None) => Caller::Unknown,
            (_, None) => Caller::Admitted,
        }
    }

    /// Whether the complete lines among the first bytes of a head show the token, as [`Self::check_request`] finds it
    /// later.
    pub(super) fn is_shown_in(&self, head: &[u8]) -> bool {
        let Self::Token(token) = self else {
            return true;
        };
        let mut lines = head.split_inclusive(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let target = first.split(|byte| *byte == b' ').nth(1);
        let path = target.map(|target| match target.strip_prefix(b"http://") {
            Some(rest) => &rest[rest.iter().take_while(|byte| **byte != b'/').count()..],
            None => target,
        });
        let path = path.and_then(|path| path.strip_prefix(b"/"));
        let segment = path.and_then(|path| path.split(|byte| b"/? ".contains(byte)).next());
        let is_complete = first.ends_with(b"\n");
        if segment.is_some_and(|segment| is_complete && token.matches(segment)) {
            return true;
        }
        lines
            .filter_map(|line| line.strip_suffix(b"\r\n"))
            .any(|line| {
                let colon = line.iter().position(|byte| *byte == b':');
                let (name, value) = line.split_at(colon.unwrap_or(line.len()));
                name.eq_ignore_ascii_case(CALLER_TOKEN.as_str().as_bytes())
                    && token.matches(value.strip_prefix(b":").unwrap_or_default().trim_ascii())
            })
    }

    /// Checks the token of a request. If the token was the first segment of the path, returns the rest of the path.
    ///
    /// # Errors
    /// The token is missing or wrong.
    pub(super) fn check_request(&self, head: &Parts) -> Result<Option<PathAndQuery>, Problem> {
        let Self::Token(token) = self else {
            return Ok(None);
        };
        let mut given = head.headers.get_all(CALLER_TOKEN).iter();
        match (given.next(), given.next()) {
            (Some(given), None) if token.matches(given.as_bytes()) => Ok(None),
            (None, _) => {
                let path = target_path(&head.uri).map_err(|_| unauthorized())?;
                let first = path.path()[1..].split('/').next().unwrap_or_default();
                match token.matches(first.as_bytes()) {
                    true => skip_prefix(&path, first.len() + 1).map(Some),
                    false => Err(unauthorized()),
                }
            }
            _ => Err(unauthorized()),
        }
    }
}

/// The response to a request without the caller token.
fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "caller",
        "the caller token is missing or wrong",
        "send it as the header x-hsm-mtls-caller, or put it before the path: http://127.0.0.1:PORT/TOKEN",
    )
    .closing()
}

/// The response to a head of which more than `limit` bytes have come without the caller token.
pub(super) fn late_token_problem(limit: usize) -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "caller",
        &format!("the caller token is missing, wrong, or not within the first {limit} bytes of the head"),
        "send x-hsm-mtls-caller as the first header, or put it before the path: http://127.0.0.1:PORT/TOKEN",
    )
    .closing()
}

/// The response to a process whose user may not use the listener.
pub(super) fn forbidden() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "caller",
        "this user may not call here",
        "add its uid to `callers` of the listener, or run the application as a user that may; of its groups only the primary one is known here",
    )
    .closing()
}
