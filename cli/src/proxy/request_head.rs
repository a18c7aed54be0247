//! The head of a request: validated, stripped of hop-by-hop fields and routed to a service of the hub. A request that
//! two servers could read differently is refused.
//!
//! The syntax was checked before, by [`super::request_syntax`] and hyper. Method, path and query are forwarded
//! unchanged.

use std::slice;

use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, Method, StatusCode};

use super::browser_origin;
use super::hop_by_hop_headers::strip_request;
use super::host_header::KnownHosts;
use super::problem_details::Problem;
use super::via::answers_max_forwards;
use hsm_mtls::internal::config::listener::ListenerConfig;
use hsm_mtls::internal::config::{Config, Service};

/// Where a request is forwarded to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) service: Service,
    pub(super) path: PathAndQuery,
}

/// What the listener and its access control determine about a request.
#[derive(Clone, Debug)]
pub(super) struct ListenerRoute<'a> {
    /// The path without the caller token, if the token was its first segment.
    pub(super) path: Option<PathAndQuery>,
    /// The services of the listener.
    pub(super) services: &'a ListenerServices,
    /// The request came over a Unix socket, for which an empty `Host` is right (RFC 9112, section 3.2).
    pub(super) over_unix_socket: bool,
}

/// The services that the requests of a listener go to.
#[derive(Clone, Debug)]
pub(super) enum ListenerServices {
    /// This one: the path is the service's.
    One(Service),
    /// One of these, which the first segment of the path names.
    ByPrefix(Vec<Service>),
}

impl ListenerServices {
    /// Those of a listener of this configuration.
    pub(super) fn of(config: &Config, listener: &ListenerConfig) -> Self {
        let named = listener.upstream.as_deref();
        match named.and_then(|name| config.hub.named(name)) {
            Some(one) => Self::One(one.service),
            None => Self::ByPrefix(config.hub.services.iter().map(|one| one.service).collect()),
        }
    }

    /// The service that a path names, and the length of its prefix.
    fn route(&self, path: &str) -> Option<(Service, usize)> {
        match self {
            Self::One(service) => Some((*service, 0)),
            Self::ByPrefix(services) => {
                let (name, _) = path.strip_prefix('/')?.split_once('/')?;
                let mut services = services.iter();
                let service = services.find(|service| service.label() == name)?;
                Some((*service, 1 + name.len()))
            }
        }
    }
}

/// Validates a head and strips its hop-by-hop fields. None: `Max-Forwards` is used up, and the proxy answers itself.
pub(super) fn check(
    head: &mut Parts,
    hosts: &KnownHosts,
    listener: ListenerRoute<'_>,
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
    let path = match (listener.path, listener.services) {
        (Some(path), _) => path,
        // OPTIONS * is about the whole service (RFC 9112, section 3.2.4).
        (None, ListenerServices::One(_))
            if head.method == Method::OPTIONS && head.uri.path() == "*" =>
        {
            PathAndQuery::from_static("*")
        }
        (None, _) => target_path(&head.uri)?,
    };
    route(path, listener.services).map(Some)
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
fn route(path: PathAndQuery, services: &ListenerServices) -> Result<Target, Problem> {
    match services.route(path.as_str()) {
        Some((service, 0)) => Ok(Target { service, path }),
        Some((service, prefix)) => {
            let path = skip_prefix(&path, prefix)?;
            Ok(Target { service, path })
        }
        None => Err(no_service(services)),
    }
}

fn no_service(services: &ListenerServices) -> Problem {
    let services = match services {
        ListenerServices::One(service) => slice::from_ref(service),
        ListenerServices::ByPrefix(services) => services,
    };
    let prefixes = services
        .iter()
        .map(|service| format!("/{}/", service.label()));
    let prefixes: Vec<_> = prefixes.collect();
    let advice = services
        .iter()
        .map(|service| format!("/{} before a path of {}", service.label(), service.name()));
    let advice: Vec<_> = advice.collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "route",
        &match &prefixes[..] {
            [one, other] => format!("the path begins with neither {one} nor {other}"),
            all => format!("the path begins with none of {}", all.join(", ")),
        },
        &format!(
            "put {}, or give the listener an `upstream`",
            advice.join(", ")
        ),
    )
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
    use hsm_mtls::internal::config::origin::Origin;
    use hsm_mtls::internal::regime::Regime;

    fn hosts() -> KnownHosts {
        let origin = Origin {
            host: "cm.mybank.example".to_owned(),
            port: 443,
        };
        KnownHosts::new(&[&origin], &["Hub.Internal".to_owned()])
    }

    fn services() -> ListenerServices {
        let regime = Regime::named("uae").unwrap();
        ListenerServices::ByPrefix(regime.services.iter().map(Service::of).collect())
    }

    fn checked(request: http::request::Builder) -> Result<(Parts, Target), Problem> {
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let services = services();
        let route = ListenerRoute {
            path: None,
            services: &services,
            over_unix_socket: false,
        };
        let target = check(&mut head, &hosts(), route)?;
        Ok((head, target.unwrap()))
    }

    #[test]
    fn the_path_prefix_names_the_service_and_is_removed() {
        for (path, service, rest) in [
            ("/cm/", "cm", "/"),
            ("/cm/a%2Fb?c=d", "cm", "/a%2Fb?c=d"),
            ("/hh//x", "hh", "//x"),
        ] {
            let request = Request::get(path).header(HOST, "localhost");
            let (_, target) = checked(request).unwrap();
            assert_eq!(
                (target.service.label(), target.path.as_str()),
                (service, rest)
            );
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
