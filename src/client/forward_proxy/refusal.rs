//! The answer of a forward proxy that makes no tunnel: its status, what it says in fields or page, and what to do about it.

use std::fmt;
use std::time::Duration;

use http::header::{PROXY_AUTHENTICATE, VIA};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::super::error_response::excerpt;

/// How much of the page is looked at, in bytes, and for how long it is waited.
const MAX_PAGE: usize = 16 << 10;
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// An answer that is no 2xx.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// The fields `X-Squid-Error` and `Via` of it, or what is readable of its body, without control characters.
    pub said: String,
    /// The schemes of its `Proxy-Authenticate`.
    pub schemes: Vec<String>,
    /// The source of the credentials that were sent. `None`: none were.
    pub credentials: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.credentials) {
            (401 | 407, Some(source)) => {
                write!(f, "refuses the credentials of {source} ({}", self.status)?;
            }
            (407, None) => f.write_str("wants credentials, and none are configured (407")?,
            (500 | 502..=504, _) => write!(f, "did not reach the hub ({}", self.status)?,
            (status, _) => write!(f, "refuses CONNECT ({status}")?,
        }
        if !self.schemes.is_empty() {
            write!(f, "; it takes {}", self.schemes.join(", "))?;
        }
        match self.said.is_empty() {
            true => f.write_str(")"),
            false => write!(f, "; it says: {})", self.said),
        }
    }
}

impl Refusal {
    /// Whether the credentials were refused. tinyproxy answers 401 to wrong ones, and 407 to none.
    pub(super) fn is_of_credentials(&self) -> bool {
        self.status == 407 || (self.status == 401 && self.credentials.is_some())
    }

    fn takes_basic(&self) -> bool {
        let is_basic = |scheme: &String| scheme.eq_ignore_ascii_case("basic");
        self.schemes.is_empty() || self.schemes.iter().any(is_basic)
    }

    /// What to do about it.
    pub(super) fn hint(&self, target: &str) -> String {
        match (self.status, &self.credentials) {
            (407, _) if !self.takes_basic() => {
                "only Basic is spoken here: ask who runs it for an account with Basic, or for a rule that lets this machine pass without one".to_owned()
            }
            (401 | 407, Some(source)) => format!(
                "put `user:password` as who runs it has them into {source}; they are not sent again and again, so that the account is not locked"
            ),
            (407, None) => "put `user:password` into a file of mode 600, and set proxy_credentials = { file = \"/path\" } in [network]".to_owned(),
            (403 | 405 | 400, _) => {
                format!("ask who runs it to allow CONNECT to {target}; or is the hub to be reached directly (`no_proxy` of [network])?")
            }
            (500 | 502..=504, _) => format!(
                "the way from the forward proxy to {target} is at fault, not the one from here: check the host in [hub], then ask who runs it what its log says"
            ),
            (429, _) => "it asks for fewer connections: raise `max_age` of [proxy], or ask who runs it".to_owned(),
            _ => "is this the forward proxy? Ask who runs it what its log says".to_owned(),
        }
    }

    /// What is told by the fields alone.
    pub(super) fn of_fields(status: u16, fields: &HeaderMap, credentials: Option<String>) -> Self {
        Self {
            status,
            said: said_in(fields).unwrap_or_default(),
            schemes: schemes(fields),
            credentials,
        }
    }

    /// Reads what is to be told of an answer that is no 2xx.
    pub(super) async fn read(response: Response<Incoming>, credentials: Option<String>) -> Self {
        let (head, body) = response.into_parts();
        let mut refusal = Self::of_fields(head.status.as_u16(), &head.headers, credentials);
        if refusal.said.is_empty() {
            let page = Limited::new(body, MAX_PAGE).collect();
            let page = timeout(PAGE_TIMEOUT, page).await.ok();
            let page = page.and_then(Result::ok).map(|page| page.to_bytes());
            let page = page.unwrap_or_default();
            refusal.said = excerpt(&String::from_utf8_lossy(&page)).trim().to_owned();
        }
        refusal
    }
}

/// What squid writes of its error, and which program it is.
fn said_in(fields: &HeaderMap) -> Option<String> {
    let text = |name: &str| {
        let value = fields.get(name)?.to_str().ok()?;
        Some(value.chars().take(100).collect::<String>())
    };
    let error = text("x-squid-error")?;
    Some(match text(VIA.as_str()) {
        Some(via) => format!("{error}, via {via}"),
        None => error,
    })
}

/// The schemes of `Proxy-Authenticate`: the first word of each challenge.
fn schemes(fields: &HeaderMap) -> Vec<String> {
    let fields = fields.get_all(PROXY_AUTHENTICATE).into_iter();
    let values = fields.filter_map(|value| value.to_str().ok());
    let words = values.filter_map(|value| value.split_whitespace().next());
    let is_scheme = |word: &&str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let schemes = words
        .filter(is_scheme)
        .map(|word| word.chars().take(30).collect());
    schemes.take(5).collect()
}
