//! What an application, or somebody through it, may write to mislead: each request is refused, or
//! the hub sees exactly one well-formed request. The hub of this test keeps the bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::bank::Bank;
use common::proxy::{Proxy, body, status};
use common::recording::{Raw, RecordingHub};

struct Scene {
    _bank: Bank,
    hub: RecordingHub,
    proxy: Proxy,
    host: String,
}

fn scene() -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = RecordingHub::start(&bank.framework);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let host = format!("localhost:{}", hub.port());
    Scene {
        _bank: bank,
        hub,
        proxy,
        host,
    }
}

/// A head that ends the connection, so that the answer has an end.
fn head(first: &str, lines: &[&str]) -> Vec<u8> {
    let mut text = format!("{first}\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    (text + "\r\n").into_bytes()
}

impl Scene {
    /// What the proxy says: every status of what comes back.
    fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let answer = self.proxy.raw(bytes);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let starts = text.match_indices("HTTP/1.1 ").map(|(at, _)| at);
        starts.map(|at| status(&text[at..])).collect()
    }

    fn refused(&self, name: &str, bytes: &[u8], expected: u16) {
        assert_eq!(self.statuses(bytes), [expected], "{name}");
        assert_eq!(self.hub.requests(), [], "{name}: the hub was asked");
    }

    /// The one request that the hub saw.
    fn forwarded(&self, name: &str, bytes: &[u8]) -> Raw {
        assert_eq!(self.statuses(bytes), [200], "{name}");
        let mut seen = self.hub.requests();
        assert_eq!(seen.len(), 1, "{name}: {seen:?}");
        let seen = seen.remove(0);
        let hosts: Vec<_> = seen
            .head
            .iter()
            .filter(|line| line.starts_with("host"))
            .collect();
        assert_eq!(hosts, [&format!("host: {}", self.host)], "{name}");
        seen
    }
}

fn names(raw: &Raw) -> Vec<&str> {
    let lines = raw.head.iter().skip(1);
    let mut names: Vec<_> = lines.map(|line| line.split(':').next().unwrap()).collect();
    names.sort_unstable();
    names
}

const HOST: &str = "Host: localhost";
const CLOSE: &str = "Connection: close";
const GET: &str = "GET /cm/consents HTTP/1.1";
const POST: &str = "POST /cm/consents HTTP/1.1";

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let scene = scene();
    let smuggled = "GET /cm/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let with_body = |lines: &[&str], body: &str| {
        let mut bytes = head(POST, lines);
        bytes.extend_from_slice(body.as_bytes());
        bytes
    };
    for (name, bytes) in [
        (
            "two lengths that differ",
            with_body(&[HOST, "Content-Length: 0", "Content-Length: 49"], smuggled),
        ),
        (
            "a list of lengths",
            with_body(&[HOST, "Content-Length: 2, 2"], "{}"),
        ),
        (
            "a length with a sign",
            with_body(&[HOST, "Content-Length: +2"], "{}"),
        ),
        (
            "another coding",
            with_body(&[HOST, "Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"),
        ),
        (
            "a coding with a tab",
            with_body(&[HOST, "Transfer-Encoding: \x0bchunked"], "0\r\n\r\n"),
        ),
        (
            "the coding twice",
            with_body(
                &[
                    HOST,
                    "Transfer-Encoding: chunked",
                    "Transfer-Encoding: identity",
                ],
                "0\r\n\r\n",
            ),
        ),
        ("two Hosts", head(GET, &[HOST, HOST])),
        ("no Host", head(GET, &[])),
        ("a space before the colon", head(GET, &[HOST, "X : y"])),
        ("a folded line", head(GET, &[HOST, "X: a", " b"])),
        ("a folded line at once", head(GET, &[" X: a", HOST])),
        ("NUL in a value", head(GET, &[HOST, "X: a\0b"])),
        ("NUL in the path", head("GET /cm/a\0b HTTP/1.1", &[HOST])),
        ("a bare CR in a value", head(GET, &[HOST, "X: a\rY: b"])),
        ("no version", head("GET /cm/consents", &[HOST])),
        (
            "another version",
            head("GET /cm/consents HTTP/3.0", &[HOST]),
        ),
        (
            "Connection names Host",
            head(GET, &[HOST, "Connection: close, host"]),
        ),
        (
            "Connection names Content-Length",
            with_body(
                &[HOST, "Connection: content-length", "Content-Length: 2"],
                "{}",
            ),
        ),
        ("an asterisk", head("OPTIONS * HTTP/1.1", &[HOST])),
    ] {
        scene.refused(name, &bytes, 400);
    }
}

#[test]
fn nobody_is_led_elsewhere() {
    let scene = scene();
    for (name, bytes, expected) in [
        (
            "an absolute URI of another host",
            head(
                "GET http://evil.example/cm/x HTTP/1.1",
                &["Host: evil.example"],
            ),
            421,
        ),
        (
            "the same with our Host",
            head("GET http://evil.example/cm/x HTTP/1.1", &[HOST]),
            421,
        ),
        (
            "our URI with another Host",
            head(
                "GET http://localhost/cm/x HTTP/1.1",
                &["Host: evil.example"],
            ),
            421,
        ),
        (
            "an absolute URI of another scheme",
            head("GET https://localhost/cm/x HTTP/1.1", &[HOST]),
            421,
        ),
        (
            "a name before an @",
            head("GET http://localhost@evil.example/cm/x HTTP/1.1", &[HOST]),
            421,
        ),
        (
            "the Host of another site",
            head(GET, &["Host: evil.example"]),
            421,
        ),
        (
            "a Host that only begins as ours",
            head(GET, &["Host: localhost.evil.example"]),
            421,
        ),
        (
            "CONNECT",
            head("CONNECT localhost:443 HTTP/1.1", &[HOST]),
            405,
        ),
        ("TRACE", head("TRACE /cm/consents HTTP/1.1", &[HOST]), 405),
        ("no service", head("GET /consents HTTP/1.1", &[HOST]), 404),
        (
            "a service that only begins as one",
            head("GET /cmx/consents HTTP/1.1", &[HOST]),
            404,
        ),
        (
            "an unknown expectation",
            head(GET, &[HOST, "Expect: cake"]),
            417,
        ),
    ] {
        let mut bytes = bytes;
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        scene.refused(name, &bytes, expected);
    }
    let answer = scene.proxy.raw(&head(GET, &["Host: evil.example"]));
    let problem = body(&String::from_utf8(answer).unwrap());
    assert_eq!(problem["stage"], "host");
    assert_eq!(problem["status"], 421);
}

#[test]
fn heads_and_bodies_have_limits() {
    let scene = scene();
    let long = format!("X: {}", "a".repeat(1 << 20));
    scene.refused("1 MiB in one line", &head(GET, &[HOST, &long]), 431);
    let many = vec!["X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; 16 << 10];
    scene.refused("1 MiB in many lines", &head(GET, &many), 431);
    let many = vec!["X: a"; 200];
    scene.refused("200 lines", &head(GET, &[&[HOST][..], &many].concat()), 431);
    let path = format!("GET /cm/{} HTTP/1.1", "a".repeat(40 << 10));
    scene.refused("a long path", &head(&path, &[HOST]), 431);
    scene.refused(
        "a body that says it is too long",
        &head(POST, &[HOST, "Content-Length: 17000000"]),
        413,
    );
    let mut chunked = head(POST, &[HOST, "Transfer-Encoding: chunked"]);
    for _ in 0..17 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.resize(chunked.len() + (1 << 20), b'a');
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = String::from_utf8_lossy(&scene.proxy.raw(&chunked)).into_owned();
    assert_eq!(status(&answer), 413, "{answer}");
}

#[test]
fn what_goes_through_is_one_well_formed_request() {
    let scene = scene();
    let plain = scene.forwarded("plain", &head(GET, &[HOST, CLOSE, "Accept: a/b"]));
    assert_eq!(plain.head[0], "GET /consents HTTP/1.1");
    assert_eq!(names(&plain), ["accept", "host", "x-fapi-interaction-id"]);

    // A bare LF is an end of line to some: it is one to the proxy, and the hub sees CRLF.
    let bare = b"GET /cm/a HTTP/1.1\nHost: localhost\nX: y\nConnection: close\n\n";
    let seen = scene.forwarded("bare LF", bare);
    assert_eq!(names(&seen), ["host", "x", "x-fapi-interaction-id"]);

    let absolute = scene.forwarded(
        "an absolute URI of ours",
        &head("GET http://localhost/cm/a?b=c HTTP/1.1", &[HOST, CLOSE]),
    );
    assert_eq!(absolute.head[0], "GET /a?b=c HTTP/1.1");
    let hubs = format!("Host: {}", scene.host);
    scene.forwarded("the hub's own name", &head(GET, &[&hubs, CLOSE]));

    let hop_by_hop = [
        HOST,
        "Connection: close, X-Mine, keep-alive",
        "X-Mine: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eDp5",
        "TE: trailers",
        "Upgrade: h2c, websocket",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "X-Kept: 1",
        "X-Kept: 2",
    ];
    let seen = scene.forwarded("fields of the connection", &head(GET, &hop_by_hop));
    assert_eq!(
        names(&seen),
        ["host", "x-fapi-interaction-id", "x-kept", "x-kept"]
    );

    // Both, in either order: hyper goes by the chunks and ends the connection after the answer, so
    // what looks like another request behind them is none.
    let orders = [
        ["Transfer-Encoding: chunked", "Content-Length: 100"],
        ["Content-Length: 7", "Transfer-Encoding: chunked"],
    ];
    for [first, second] in orders {
        let mut both = head(POST, &[HOST, first, second]);
        both.extend_from_slice(b"2\r\n{}\r\n0\r\n\r\n");
        both.extend_from_slice(b"GET /cm/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let seen = scene.forwarded("two lengths", &both);
        assert_eq!(seen.head[0], "POST /consents HTTP/1.1");
        assert_eq!(seen.body, b"{}");
        assert_eq!(
            names(&seen),
            ["content-length", "host", "x-fapi-interaction-id"]
        );
    }

    let mut alike = head(
        POST,
        &[HOST, CLOSE, "Content-Length: 2", "Content-Length: 2"],
    );
    alike.extend_from_slice(b"{}");
    let seen = scene.forwarded("two lengths that are alike", &alike);
    assert_eq!(
        names(&seen),
        ["content-length", "host", "x-fapi-interaction-id"]
    );

    let mut trailers = head(
        POST,
        &[HOST, CLOSE, "Transfer-Encoding: chunked", "Trailer: X-Late"],
    );
    trailers.extend_from_slice(b"2;ext=1\r\n{}\r\n0\r\nX-Late: 1\r\nHost: evil.example\r\n\r\n");
    let seen = scene.forwarded("trailers", &trailers);
    assert_eq!(seen.body, b"{}");
    assert_eq!(
        names(&seen),
        ["content-length", "host", "x-fapi-interaction-id"]
    );
}

#[test]
fn path_and_query_are_untouched() {
    let scene = scene();
    for target in [
        "/",
        "//a//b/",
        "/a/../b/./c",
        "/a;p=1,2/b",
        "/%2e%2E/%2f%00?x=%0d%0aHost:%20evil",
        "/auth?a=1&a=2&&=&b&c=%41+%20~!$'()*,;:@/?[]{}|^`\\",
        "/auth?",
        "/auth?redirect_uri=https://tpp.example/cb?x=y&claims=%7B%22a%22%3Anull%7D",
    ] {
        let seen = scene.forwarded(
            target,
            &head(&format!("GET /cm{target} HTTP/1.1"), &[HOST, CLOSE])
                .into_iter()
                .collect::<Vec<_>>(),
        );
        assert_eq!(seen.head[0], format!("GET {target} HTTP/1.1"));
    }
}

#[test]
fn requests_in_one_go_are_answered_one_by_one() {
    let scene = scene();
    let mut bytes = Vec::new();
    for at in 0..5 {
        bytes.extend(head(&format!("GET /cm/{at} HTTP/1.1"), &[HOST]));
        let mut post = head(
            &format!("POST /cm/{at} HTTP/1.1"),
            &[HOST, "Content-Length: 4"],
        );
        post.extend_from_slice(b"body");
        bytes.extend(post);
    }
    bytes.extend(head("GET /cm/last HTTP/1.1", &[HOST, CLOSE]));
    assert_eq!(scene.statuses(&bytes), [200; 11]);
    let seen = scene.hub.requests();
    let asked: Vec<_> = seen.iter().map(|raw| raw.head[0].clone()).collect();
    assert_eq!(asked.len(), 11);
    for at in 0..5 {
        assert_eq!(asked[2 * at], format!("GET /{at} HTTP/1.1"));
        assert_eq!(asked[2 * at + 1], format!("POST /{at} HTTP/1.1"));
        assert_eq!(seen[2 * at + 1].body, b"body");
    }
    // After a request that could be read in two ways, nothing more of the connection is read.
    let mut bytes = head(GET, &[HOST]);
    bytes.extend(head(
        POST,
        &[HOST, "Content-Length: 3", "Content-Length: 4"],
    ));
    bytes.extend(head("GET /cm/after HTTP/1.1", &[HOST, CLOSE]));
    assert_eq!(scene.statuses(&bytes), [200, 400]);
    assert_eq!(scene.hub.requests().len(), 1);
}
