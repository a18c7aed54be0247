//! Who calls: told by the kernel on a Unix socket, by what the caller knows on a TCP port.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::StatusCode;
use http::header::HeaderName;
use http::request::Parts;
use http::uri::PathAndQuery;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::unix::UCred;

use super::ProxyError;
use super::problem_details::Problem;
use super::request_head::{behind, own_path};
use hsm_mtls::internal::config::listener::Callers;
use hsm_mtls::internal::config::proxy::ProxyConfig;
use hsm_mtls::internal::path_permissions::{Exposure, check_owner_and_mode};

/// The header that carries the caller token.
pub const TOKEN: HeaderName = HeaderName::from_static("x-hsm-mtls-caller");

/// How long a token is, in bytes: no shorter than can withstand guessing.
const LENGTH: std::ops::RangeInclusive<usize> = 20..=200;

/// Who may call a listener, ready to be asked.
#[derive(Debug)]
pub(super) enum Gate {
    Peers { uids: Vec<u32>, gids: Vec<u32> },
    Token(SecretString),
    Open,
}

impl Gate {
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
            Callers::Token(path) => Self::Token(read(path)?),
        })
    }

    /// Whether this process may come in. The kernel noted its ids when it connected.
    pub(super) fn admits(&self, peer: Option<UCred>) -> bool {
        match self {
            Self::Peers { uids, gids } => {
                peer.is_some_and(|peer| uids.contains(&peer.uid()) || gids.contains(&peer.gid()))
            }
            Self::Token(_) | Self::Open => true,
        }
    }

    /// Whether this request may go on, and its path without the token where that was part of it.
    pub(super) fn check(&self, head: &Parts) -> Result<Option<PathAndQuery>, Problem> {
        let Self::Token(token) = self else {
            return Ok(None);
        };
        let token = token.expose_secret().as_bytes();
        let mut given = head.headers.get_all(TOKEN).iter();
        match (given.next(), given.next()) {
            (Some(given), None) if same(given.as_bytes(), token) => Ok(None),
            (None, _) => {
                let path = own_path(&head.uri).map_err(|_| stranger())?;
                let first = path.path()[1..].split('/').next().unwrap_or_default();
                match same(first.as_bytes(), token) {
                    true => behind(&path, first.len() + 1).map(Some),
                    false => Err(stranger()),
                }
            }
            _ => Err(stranger()),
        }
    }
}

/// Looks at each caller token as the start of the proxy does, for the user that this process has.
///
/// # Errors
/// One cannot be used: the proxy would not start.
pub fn check_tokens(config: &ProxyConfig) -> Result<(), ProxyError> {
    config
        .token_files()
        .try_for_each(|file| read(file).map(drop))
}

/// How long the comparison takes says nothing of where they differ.
fn same(given: &[u8], token: &[u8]) -> bool {
    verify_slices_are_equal(given, token).is_ok()
}

fn stranger() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "caller",
        "the caller token is missing or wrong",
        "send it as the header x-hsm-mtls-caller, or put it before the path: http://127.0.0.1:PORT/TOKEN",
    )
    .closing()
}

/// What a process is told that may not call.
pub(super) fn not_admitted() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "caller",
        "this user may not call here",
        "add its uid to `callers` of the listener, or run the application as a user that may; of its groups only the primary one is known here",
    )
    .closing()
}

fn read(path: &Path) -> Result<SecretString, ProxyError> {
    let wrong = |why: String| ProxyError::CallerToken {
        path: path.to_owned(),
        why,
    };
    let failed = |error: std::io::Error| wrong(error.to_string());
    let mut file = File::open(path).map_err(failed)?;
    // The open file is asked, not the path: nobody can swap one for the other in between.
    let meta = file.metadata().map_err(failed)?;
    match check_owner_and_mode(&meta, 0o077) {
        Ok(()) if meta.is_file() => {}
        Err(Exposure::Mode(mode)) if meta.is_file() => {
            return Err(wrong(format!(
                "its mode is {mode:03o}: others than its owner may use it"
            )));
        }
        _ => return Err(wrong("it is not a file of this user".to_owned())),
    }
    let mut text = String::with_capacity(*LENGTH.end() + 2);
    Read::by_ref(&mut file)
        .take(*LENGTH.end() as u64 + 2)
        .read_to_string(&mut text)
        .map_err(|_| wrong("it cannot be read as text".to_owned()))?;
    let token = text.trim_end_matches(['\r', '\n']);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !LENGTH.contains(&token.len()) || !token.bytes().all(plain) {
        return Err(wrong(
            "it is not 20 to 200 letters, digits, - or _".to_owned(),
        ));
    }
    Ok(SecretString::from(token))
}
