//! Names that are ours, and fields that are not the hub's.

use http::{HeaderValue, Request};

use super::*;

fn names() -> KnownHosts {
    let origin = Origin {
        host: "cm.mybank.example".to_owned(),
        port: 443,
    };
    KnownHosts::new(&[&origin], &["Hub.Internal".to_owned()])
}

fn checked(request: http::request::Builder) -> Result<(Parts, Target), Problem> {
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    let target = check(&mut head, &names(), RequestFraming::default())?;
    Ok((head, target.unwrap()))
}

#[test]
fn names_of_this_machine_of_the_hub_and_of_the_configuration_are_known() {
    let names = names();
    for known in [
        "localhost",
        "LocalHost:8080",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "cm.mybank.example",
        "CM.mybank.example:443",
        "hub.internal",
    ] {
        assert!(names.knows(known), "{known}");
    }
    for strange in [
        "",
        ":80",
        "localhost.",
        "localhost:80:90",
        "localhost@evil.example",
        "evil.example:localhost",
        "mybank.example",
        "::1",
        "127.0.0.2",
    ] {
        assert!(!names.knows(strange), "{strange}");
    }
}

#[test]
fn the_prefix_says_the_service_and_is_taken_off() {
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
fn what_connection_names_goes_and_the_requests_own_fields_stay() {
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

#[test]
fn an_answer_loses_what_is_of_the_connection_only() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("connection", "x-hop, content-length"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("location", "https://tpp.example/"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    strip_answer(&mut headers).unwrap();
    let mut left: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["location", "set-cookie", "set-cookie"]);
}
