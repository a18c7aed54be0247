//! Ambiguous and misleading requests: each is refused, or the hub sees exactly one well-formed request. The hub of
//! this test keeps the bytes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::common::proxy::{body, status};
use crate::common::raw_answer::RawAnswer;
use crate::common::raw_requests::{GET, HOST, POST, head, scene};

#[test]
fn tls_to_a_listener_is_told_at_once() {
    let scene = scene();
    for version in [1, 3] {
        // A ClientHello of which the rest is still to come.
        let hello = [0x16, 0x03, version, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc];
        let answer = String::from_utf8_lossy(&scene.proxy.raw(&hello)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("this is TLS"), "{answer}");
    }
}

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
    let path = format!("GET /cm/{} HTTP/1.1", "a".repeat(40 << 10));
    scene.refused("a long path", &head(&path, &[HOST]), 414);
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
fn each_request_of_a_connection_is_looked_at() {
    let scene = scene();
    let lines = |more: &[&'static str]| [&[HOST][..], more].concat();
    let mut chunked = head(POST, &lines(&["Transfer-Encoding: chunked"]));
    chunked.extend_from_slice(b"2\r\n{}\r\n0\r\n\r\n");
    let mut sized = head(POST, &lines(&["Content-Length: 2"]));
    sized.extend_from_slice(b"{}");
    // Nobody reads the body of the last: it is not taken for a request.
    let mut refused = head("POST /nowhere HTTP/1.1", &lines(&["Content-Length: 56"]));
    refused.extend_from_slice(b"GET /cm/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n0123456789");
    for (name, first, status) in [
        ("no body", head(GET, &lines(&[])), 200),
        ("a length", sized, 200),
        ("chunks", chunked, 200),
        ("a body that nobody reads", refused, 404),
    ] {
        let mut stream = UnixStream::connect(scene.proxy.socket()).unwrap();
        let mut answer = |bytes: &[u8]| {
            stream.write_all(bytes).unwrap();
            let mut come = Vec::new();
            let mut piece = [0; 4096];
            // Its last byte ends the body of both kinds.
            while !come.ends_with(b"ok") && !come.ends_with(b"}") {
                let length = stream.read(&mut piece).unwrap();
                assert!(length > 0, "{name}: {}", String::from_utf8_lossy(&come));
                come.extend_from_slice(&piece[..length]);
            }
            RawAnswer::of(&come)
        };
        for _ in 0..3 {
            assert_eq!(answer(&first).status, status, "{name}");
        }
        let bad = answer(&head("GET /cm/a b HTTP/1.1", &[HOST]));
        assert_eq!(bad.status, 400, "{name}: {bad:?}");
        assert_eq!(body(&bad.text())["stage"], "request", "{name}");
        let seen = scene.hub.requests();
        assert!(
            seen.iter().all(|raw| !raw.head[0].contains("smuggled")),
            "{name}: {seen:?}"
        );
        assert_eq!(seen.len(), if status == 200 { 3 } else { 0 }, "{name}");
    }
}
