//! Refuses requests that a web page of another origin made a browser on this machine send to a TCP port: neither loopback
//! nor the caller's network tells them from those of an application.
//!
//! A browser says where a request comes from in `Origin` (RFC 6454, section 7) and `Sec-Fetch-Site` (Fetch Metadata). A
//! page cannot set or remove them. Programs send neither.

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::problem_details::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks the origin of a request whose `Host` is known.
///
/// # Errors
/// A page of another origin sent it: `Sec-Fetch-Site` is neither `same-origin` nor `none` (typed by the user), or `Origin`
/// is not the host that the request is for. That of a sandboxed page or a file is `null`.
pub(super) fn check(head: &Parts) -> Result<(), Problem> {
    let headers = &head.headers;
    let own = headers.get(HOST).map(|host| host.as_bytes());
    let is_own = |origin: &[u8]| {
        let authority = [&b"http://"[..], b"https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(*scheme));
        matches!((authority, own), (Some(authority), Some(own))
            if without_default_port(authority).eq_ignore_ascii_case(without_default_port(own)))
    };
    let is_near = |site: &[u8]| matches!(site, b"same-origin" | b"none");
    let from_elsewhere = !all(headers, &ORIGIN, is_own) || !all(headers, &SEC_FETCH_SITE, is_near);
    match from_elsewhere {
        false => Ok(()),
        true => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "origin",
            "a browser sent the request for a web page of another origin",
            "this port is for programs of this machine; a program that only passes a browser's request on leaves Origin and Sec-Fetch-Site out, or calls over a Unix socket",
        )
        .closing()),
    }
}

/// Whether all fields of this name hold what is allowed. True if there are none.
fn all(headers: &HeaderMap, name: &HeaderName, is_allowed: impl Fn(&[u8]) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    values.all(|value| is_allowed(value.as_bytes()))
}

/// An authority without the port that its scheme implies, which an origin leaves out.
fn without_default_port(authority: &[u8]) -> &[u8] {
    let port = [&b":80"[..], b":443"]
        .iter()
        .find_map(|port| authority.strip_suffix(*port));
    port.unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn only_pages_of_the_same_origin_and_programs_may_call() {
        let allowed = |host: &str, origin: Option<&str>, site: Option<&str>| {
            let mut request = Request::get("/pay/").header(HOST, host);
            for (name, value) in [(ORIGIN, origin), (SEC_FETCH_SITE, site)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            check(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        for (host, origin, site) in [
            ("localhost:8080", None, None),
            ("localhost:8080", None, Some("none")),
            ("localhost:8080", None, Some("same-origin")),
            (
                "localhost:8080",
                Some("http://localhost:8080"),
                Some("same-origin"),
            ),
            ("LOCALHOST:8080", Some("http://localhost:8080"), None),
            ("hub.internal", Some("https://hub.internal"), None),
            ("hub.internal:443", Some("https://hub.internal"), None),
            ("[::1]:80", Some("http://[::1]"), None),
        ] {
            assert!(allowed(host, origin, site), "{host} {origin:?} {site:?}");
        }
        let host = "localhost:8080";
        for (origin, site) in [
            (Some("https://evil.example"), Some("cross-site")),
            (Some("https://evil.example"), None),
            (None, Some("cross-site")),
            (None, Some("same-site")),
            (None, Some("")),
            (None, Some("same-origin, none")),
            (Some("http://localhost:8080"), Some("same-site")),
            (Some("http://localhost:8081"), None),
            (Some("http://localhost"), None),
            (Some("http://127.0.0.1:8080"), None),
            (Some("file://localhost:8080"), None),
            (Some("localhost:8080"), None),
            (Some("null"), None),
            (Some(""), None),
        ] {
            assert!(!allowed(host, origin, site), "{origin:?} {site:?}");
        }
        let twice = Request::get("/pay/")
            .header(HOST, host)
            .header(ORIGIN, "http://localhost:8080")
            .header(ORIGIN, "https://evil.example");
        assert!(check(&twice.body(()).unwrap().into_parts().0).is_err());
    }
}
