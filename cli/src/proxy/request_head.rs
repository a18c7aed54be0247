//! The head of a request: refused where two servers could read it differently, made into exactly
//! one well-formed request for the hub where not.
//!
//! hyper has parsed it by now: bytes that are no HTTP never come here. What it lets through and
//! could mislead somebody is looked at one by one. Method, path and query stay as they came.

use std::collections::HashSet;
use std::str;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderMap, Method, StatusCode, Version};

use super::problem_details::Problem;
use super::via::ends_here;
use hsm_mtls::internal::config::environment::{Origin, Service};

/// Fields of one connection (RFC 9110, section 7.6.1), and those that are between us and the caller.
const OF_THE_CONNECTION: [HeaderName; 11] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    super::caller_auth::TOKEN,
];

/// What of an answer is of one connection, beside `Connection` and what that names.
const OF_THE_ANSWERS_CONNECTION: [HeaderName; 6] = [
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What is forwarded where.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) service: Service,
    pub(super) path: PathAndQuery,
}

/// The names that a request may be for.
#[derive(Debug)]
pub(super) struct KnownHosts {
    hosts: HashSet<Box<str>>,
}

impl KnownHosts {
    /// Names of this machine, of the hub, and what is configured: a browser on this machine that is
    /// led here under another name is not served.
    pub(super) fn new(origins: &[&Origin], configured: &[String]) -> Self {
        let mut hosts: HashSet<Box<str>> = ["localhost", "127.0.0.1", "[::1]"]
            .map(Box::from)
            .into_iter()
            .collect();
        for origin in origins {
            hosts.insert(origin.host.as_str().into());
        }
        hosts.extend(configured.iter().map(|name| name.to_lowercase().into()));
        Self { hosts }
    }

    fn knows(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        self.hosts.contains(host) || self.hosts.contains(host.to_ascii_lowercase().as_str())
    }
}

/// What is asked of a listener beside the head itself.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestFraming {
    /// The path without the caller token, where that stood before it.
    pub(super) path: Option<PathAndQuery>,
    /// The service that the listener is for.
    pub(super) service: Option<Service>,
    /// It came over a Unix socket, which has no name: then an empty Host is right (RFC 9112,
    /// section 3.2).
    pub(super) nameless: bool,
}

/// Checks a head, and takes out of it what is not for the hub. None: no hop is left to it, and it
/// is to be answered here.
pub(super) fn check(
    head: &mut Parts,
    names: &KnownHosts,
    asked: RequestFraming,
) -> Result<Option<Target>, Problem> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "CONNECT and TRACE are not forwarded",
            "the proxy forwards requests to the hub, and is no tunnel: call it as if it were the hub",
        )
        .closing());
    }
    host(head, names, asked.nameless)?;
    framing(&head.headers)?;
    expectation(&head.headers)?;
    strip(&mut head.headers)?;
    if ends_here(head)? {
        return Ok(None);
    }
    let path = match (asked.path, asked.service) {
        (Some(path), _) => path,
        // Of the whole service (RFC 9112, section 3.2.4).
        (None, Some(_)) if head.method == Method::OPTIONS && head.uri.path() == "*" => {
            PathAndQuery::from_static("*")
        }
        (None, _) => own_path(&head.uri)?,
    };
    route(path, asked.service).map(Some)
}

/// The path of a request, also where it came in absolute form.
pub(super) fn own_path(uri: &Uri) -> Result<PathAndQuery, Problem> {
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => Ok(path.clone()),
        _ => Err(Problem::malformed("the request is for no path")),
    }
}

fn host(head: &Parts, names: &KnownHosts, nameless: bool) -> Result<(), Problem> {
    let elsewhere = || {
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "the request is for a host that is neither this machine nor the hub",
            "call 127.0.0.1, localhost or the hub's own name, or add the name to `host_names` of the listener",
        )
        .closing()
    };
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.as_bytes()),
        (None, _) if head.version == Version::HTTP_10 => None,
        (None, _) => return Err(Problem::malformed("there is no Host")),
        (Some(_), Some(_)) => return Err(Problem::malformed("there are two Hosts")),
    };
    let host = match host {
        Some(b"") if nameless => None,
        Some(b"") => return Err(elsewhere()),
        Some(host) => Some(authority(host)?),
        None => None,
    };
    // An absolute form says the host once more. Both must be one that we stand for.
    let absolute = head.uri.authority().map(|authority| authority.as_str());
    if head.uri.scheme_str().is_some_and(|scheme| scheme != "http") {
        return Err(elsewhere());
    }
    match [host, absolute]
        .into_iter()
        .flatten()
        .all(|name| names.knows(name))
    {
        true => Ok(()),
        false => Err(elsewhere()),
    }
}

/// A Host that is none is not one of somebody else's (RFC 9112, section 3.2: 400).
fn authority(host: &[u8]) -> Result<&str, Problem> {
    let text = str::from_utf8(host).ok();
    let well_formed = |text: &&str| {
        let Ok(parsed) = text.parse::<Authority>() else {
            return false;
        };
        let port = text.strip_prefix(parsed.host());
        let port = port.map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        // Without a user before it.
        !parsed.host().is_empty()
            && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.filter(well_formed)
        .ok_or_else(|| Problem::malformed("Host is no host"))
}

/// Where the body ends must be said once, and in one way.
fn framing(headers: &HeaderMap) -> Result<(), Problem> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (length, another) = (lengths.next(), lengths.next());
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let (coding, further) = (codings.next(), codings.next());
    if another.is_some() || further.is_some() || (length.is_some() && coding.is_some()) {
        return Err(Problem::malformed(
            "the length of the body is said more than once",
        ));
    }
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if length.is_some_and(|length| !digits(length.as_bytes())) {
        return Err(Problem::malformed("Content-Length is not a number"));
    }
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        // RFC 9112, section 6.1.
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "request",
            "Transfer-Encoding is something else than chunked",
            "send the body with Content-Length, or in chunks: a compressed one is named by Content-Encoding",
        )
        .closing());
    }
    Ok(())
}

fn expectation(headers: &HeaderMap) -> Result<(), Problem> {
    let met = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    let mut all = headers.get_all(EXPECT).iter();
    match all.all(|value| met(value.as_bytes())) {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::EXPECTATION_FAILED,
            "request",
            "Expect says something else than 100-continue",
            "leave the header out",
        )
        .closing()),
    }
}

/// Takes out what is of this connection, and what `Connection` says is.
fn strip(headers: &mut HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(CONNECTION) {
        let named: Vec<_> = named(headers).collect();
        for name in named {
            // To take these out would change what the request is.
            if [HOST, CONTENT_LENGTH].contains(&name) {
                return Err(Problem::malformed(
                    "Connection names a field that is the request's own",
                ));
            }
            headers.remove(name);
        }
    }
    for name in &OF_THE_CONNECTION {
        headers.remove(name);
    }
    Ok(())
}

fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    values.flat_map(|value| {
        let options = value.as_bytes().split(|byte| *byte == b',');
        options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
    })
}

/// Takes the connection's own fields out of an answer, and says its length at most once; everything
/// else is handed on as it came.
///
/// # Errors
/// It is not framed as it may be: its end, or what it is, would be a guess.
pub(super) fn strip_answer(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        // The body would be handed on coded, without a word about it.
        (_, Some(_)) => return Err("its Transfer-Encoding is something else than chunked"),
        (Some(coding), None) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            return Err("its Transfer-Encoding is something else than chunked");
        }
        // The chunks say how long it is; what else was said is not true (RFC 9112, section 6.3).
        (Some(_), None) => {
            headers.remove(CONTENT_LENGTH);
        }
    }
    if headers.contains_key(CONTENT_LENGTH) {
        let length = length(headers).ok_or("its Content-Length is not one number")?;
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<_> = named(headers).collect();
        for name in named {
            if name != CONTENT_LENGTH {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in &OF_THE_ANSWERS_CONNECTION {
        headers.remove(name);
    }
    Ok(())
}

/// The length that all lines and all their parts agree on (RFC 9110, section 8.6).
fn length(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    let mut said = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let number = |text: &[u8]| -> Option<u64> {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
    };
    let first = number(said.next()?)?;
    said.all(|other| number(other) == Some(first))
        .then_some(first)
}

fn route(path: PathAndQuery, service: Option<Service>) -> Result<Target, Problem> {
    if let Some(service) = service {
        return Ok(Target { service, path });
    }
    let prefix = |text: &str| match text.as_bytes().get(..4) {
        Some(b"/cm/") => Some(Service::ConsentManager),
        Some(b"/hh/") => Some(Service::HeadlessHeimdall),
        _ => None,
    };
    let Some(service) = prefix(path.as_str()) else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "route",
            "the path begins with neither /cm/ nor /hh/",
            "put /cm before a path of Consent Manager, /hh before one of Headless Heimdall, or give the listener an `upstream`",
        ));
    };
    let path = behind(&path, 3)?;
    Ok(Target { service, path })
}

/// The path without its first bytes.
pub(super) fn behind(path: &PathAndQuery, bytes: usize) -> Result<PathAndQuery, Problem> {
    path.as_str()
        .get(bytes..)
        .and_then(|rest| rest.parse().ok())
        .ok_or_else(|| Problem::malformed("the request is for no path"))
}

#[cfg(test)]
#[path = "request_head_tests.rs"]
mod tests;
