//! The head of a request: validated, stripped of hop-by-hop fields and routed to a service of the hub. A request that
//! two servers could read differently is refused.
//!
//! The syntax was checked before, by [`super::request_syntax`] and hyper. Method, path and query are forwarded
//! unchanged.

use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, Method, StatusCode};

use super::browser_origin;
use super::hop_by_hop_headers::strip_request;
use super::host_header::KnownHosts;
use super::problem_details::Problem;
use super::via::answers_max_forwards;
use hsm_mtls::internal::config::environment::Service;

/// Where a request is forwarded to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) service: Service,
    pub(super) path: PathAndQuery,
}

/// What the listener and its access control determine about a request.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerRoute {
    /// The path without the caller token, if the token was its first segment.
    pub(super) path: Option<PathAndQuery>,
    /// The service of the listener. None: the path's prefix names it.
    pub(super) service: Option<Service>,
    /// The request came over a Unix socket, for which an empty `Host` is right (RFC 9112, section 3.2).
    pub(super) over_unix_socket: bool,
}

/// Validates a head and strips its hop-by-hop fields. None: `Max-Forwards` is used up, and the proxy answers itself.
pub(super) fn check(
    head: &mut Parts,
    hosts: &KnownHosts,
    listener: ListenerRoute,
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
    hosts.check(head, listener.over_unix_socket)?;
    if !listener.over_unix_socket {
        browser_origin::check(head)?;
    }
    check_framing(&head.headers)?;
    check_expectation(&head.headers)?;
    strip_request(&mut head.headers)?;
    if answers_max_forwards(head)? {
        return Ok(None);
    }
    let path = match (listener.path, listener.service) {
        (Some(path), _) => path,
        // OPTIONS * is about the whole service (RFC 9112, section 3.2.4).
        (None, Some(_)) if head.method == Method::OPTIONS && head.uri.path() == "*" => {
            PathAndQuery::from_static("*")
        }
        (None, _) => target_path(&head.uri)?,
    };
    route(path, listener.service).map(Some)
}

/// The path of a request target in origin form or absolute form.
pub(super) fn target_path(uri: &Uri) -> Result<PathAndQuery, Problem> {
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => Ok(path.clone()),
        _ => Err(Problem::malformed("the request is for no path")),
    }
}

/// The length of the body must be given once, in one form: otherwise two servers could disagree about it (request
/// smuggling).
fn check_framing(headers: &HeaderMap) -> Result<(), Problem> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (length, second_length) = (lengths.next(), lengths.next());
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let (coding, second_coding) = (codings.next(), codings.next());
    if second_length.is_some() || second_coding.is_some() || (length.is_some() && coding.is_some())
    {
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

fn check_expectation(headers: &HeaderMap) -> Result<(), Problem> {
    let supported = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    let mut all = headers.get_all(EXPECT).iter();
    match all.all(|value| supported(value.as_bytes())) {
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

/// Finds the service by the listener, or by the prefix of the path, which is removed.
fn route(path: PathAndQuery, service: Option<Service>) -> Result<Target, Problem> {
    if let Some(service) = service {
        return Ok(Target { service, path });
    }
    let service = match path.as_str().as_bytes().get(..4) {
        Some(b"/cm/") => Service::ConsentManager,
        Some(b"/hh/") => Service::HeadlessHeimdall,
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "route",
                "the path begins with neither /cm/ nor /hh/",
                "put /cm before a path of Consent Manager, /hh before one of Headless Heimdall, or give the listener an `upstream`",
            ));
        }
    };
    let path = skip_prefix(&path, 3)?;
    Ok(Target { service, path })
}

/// The path without its first `bytes` bytes.
pub(super) fn skip_prefix(path: &PathAndQuery, bytes: usize) -> Result<PathAndQuery, Problem> {
    path.as_str()
        .get(bytes..)
        .and_then(|rest| rest.parse().ok())
        .ok_or_else(|| Problem::malformed("the request is for no path"))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HOST;

    use super::*;
    use hsm_mtls::internal::config::environment::Origin;

    fn hosts() -> KnownHosts {
        let origin = Origin {
            host: "cm.mybank.example".to_owned(),
            port: 443,
        };
        KnownHosts::new(&[&origin], &["Hub.Internal".to_owned()])
    }

    fn checked(request: http::request::Builder) -> Result<(Parts, Target), Problem> {
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let target = check(&mut head, &hosts(), ListenerRoute::default())?;
        Ok((head, target.unwrap()))
    }

    #[test]
    fn the_path_prefix_names_the_service_and_is_removed() {
        for (path, service, rest) in [
            ("/cm/", Service::ConsentManager, "/"),
            ("/cm/a%2Fb?c=d", Service::ConsentManager, "/a%2Fb?c=d"),
            ("/hh//x", Service::HeadlessHeimdall, "//x"),
        ] {
            let request = Request::get(path).header(HOST, "localhost");
            let (_, target) = checked(request).unwrap();
            assert_eq!((target.service, target.path.as_str()), (service, rest));
        }
        for path in ["/", "/cm", "/CM/x", "/x/cm/"] {
            let problem = checked(Request::get(path).header(HOST, "localhost")).unwrap_err();
            assert_eq!(problem.stage, "route", "{path}");
        }
    }

    #[test]
    fn connection_may_name_any_field_but_host_and_content_length() {
        let request = Request::get("/cm/")
            .header(HOST, "localhost")
            .header("connection", "X-A , close")
            .header("connection", ",x-b,")
            .header("x-a", "1")
            .header("x-b", "1")
            .header("x-c", "1")
            .header("te", "trailers")
            .header("x-hsm-mtls-caller", "secret");
        let (head, _) = checked(request).unwrap();
        let mut left: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-c"]);
        for own in ["host", "content-length", "close, Content-Length"] {
            let request = Request::get("/cm/")
                .header(HOST, "localhost")
                .header("connection", own);
            assert_eq!(checked(request).unwrap_err().stage, "request", "{own}");
        }
    }
}
