//! Heads that two servers could read differently (RFC 9112, sections 2.2, 5.2 and 6.3) are refused on every place of a
//! connection: as its first head, after an answer, and in one go with a body that hyper reads. The hub keeps the bytes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::proxy::body;
use crate::common::raw_answer::RawAnswer;
use crate::common::raw_requests::{GET, HOST, POST, Scene, head, refused, scene};

const SMUGGLED: &str = "GET /cm/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Heads that are refused, each with what somebody else could take for its body.
fn ambiguous() -> Vec<(&'static str, Vec<u8>)> {
    let with_body = |lines: &[&str], body: &str| {
        let mut bytes = head(POST, lines);
        bytes.extend_from_slice(body.as_bytes());
        bytes
    };
    let raw = |text: &str| text.as_bytes().to_vec();
    vec![
        (
            "two lengths that differ",
            with_body(&[HOST, "Content-Length: 0", "Content-Length: 49"], SMUGGLED),
        ),
        (
            "two lengths that are alike",
            with_body(&[HOST, "Content-Length: 2", "Content-Length: 2"], "{}"),
        ),
        (
            "a list of lengths that are alike",
            with_body(&[HOST, "Content-Length: 5, 5"], "12345"),
        ),
        (
            "a coding before a length",
            with_body(
                &[HOST, "Transfer-Encoding: chunked", "Content-Length: 5"],
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "a length before a coding",
            with_body(
                &[HOST, "Content-Length: 5", "transfer-encoding: Chunked"],
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "the coding twice",
            with_body(
                &[
                    HOST,
                    "Transfer-Encoding: chunked",
                    "Transfer-Encoding: chunked",
                ],
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "chunked twice",
            with_body(&[HOST, "Transfer-Encoding: chunked, chunked"], "0\r\n\r\n"),
        ),
        ("a folded line", head(GET, &[HOST, "X: a", " b"])),
        (
            "a folded length",
            with_body(&[HOST, "Content-Length:", " 5"], "12345"),
        ),
        (
            "lines that end with a bare LF",
            raw("GET /cm/a HTTP/1.1\nHost: localhost\n\n"),
        ),
        (
            "one line that ends with a bare LF",
            raw("GET /cm/a HTTP/1.1\r\nX: y\nHost: localhost\r\n\r\n"),
        ),
        (
            "an empty line of a bare LF",
            raw("GET /cm/a HTTP/1.1\r\nHost: localhost\r\n\n"),
        ),
        (
            "a bare LF before the head",
            raw("\nGET /cm/a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ),
        (
            "two heads that are divided by a bare LF",
            raw(
                "GET /cm/a HTTP/1.1\r\nHost: localhost\r\n\nGET /cm/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ),
        ),
        ("a bare CR in a value", head(GET, &[HOST, "X: a\rY: b"])),
        ("a bare CR before CRLF", head(GET, &[HOST, "X: a\r"])),
        (
            "a bare CR in the first line",
            raw("GET /cm/a HTTP/1.1\rX: y\r\nHost: localhost\r\n\r\n"),
        ),
        (
            "a bare CR before the head",
            raw("\rGET /cm/a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ),
    ]
}

#[test]
fn an_ambiguous_head_is_refused_as_the_first_one() {
    let scene = scene();
    for (name, bytes) in ambiguous() {
        refused(&scene, name, &bytes, 400, "request");
    }
}

/// Requests with all kinds of bodies, of which hyper reads some. All are answered with 200 and `ok`.
fn requests_before() -> Vec<(&'static str, Vec<u8>)> {
    let post = |lines: &[&str], body: &[u8]| {
        let mut bytes = head(POST, &[&[HOST], lines].concat());
        bytes.extend_from_slice(body);
        bytes
    };
    let long = vec![b'a'; 100 << 10];
    let mut long_chunks = format!("{:X};a=\"b;\"\r\n", long.len()).into_bytes();
    long_chunks.extend_from_slice(&long);
    long_chunks.extend_from_slice(b"\r\n000;x\r\nX-Late: 1\r\nTransfer-Encoding: gzip\r\n\r\n");
    vec![
        ("no body", head(GET, &[HOST])),
        ("a short body", post(&["Content-Length: 2"], b"{}")),
        (
            "a long body",
            post(&["Content-Length: 102400"], &long),
        ),
        (
            "chunks",
            post(&["Transfer-Encoding: chunked"], b"2\r\n{}\r\n0\r\n\r\n"),
        ),
        (
            "chunks with extensions and trailers",
            post(
                &["Transfer-Encoding: chunked"],
                b"1 ;a=b\r\n{\r\n01;\"\r\n}\r\n0\r\nContent-Length: 7\r\nHost: evil.example\r\n\r\n",
            ),
        ),
        (
            "no chunk",
            post(&["Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        ),
        (
            "long chunks with trailers",
            post(&["Transfer-Encoding: chunked"], &long_chunks),
        ),
        (
            "an expectation",
            post(&["Expect: 100-continue", "Content-Length: 2"], b"{}"),
        ),
        (
            "an expectation and chunks",
            post(
                &["Expect: 100-continue", "Transfer-Encoding: chunked"],
                b"2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n",
            ),
        ),
    ]
}

/// All answers of a connection, to what is written in pieces of this length.
fn answers(scene: &Scene, bytes: &[u8], piece: usize) -> Vec<RawAnswer> {
    let mut stream = UnixStream::connect(scene.proxy.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    for piece in bytes.chunks(piece) {
        stream.write_all(piece).unwrap();
    }
    let mut come = Vec::new();
    stream.read_to_end(&mut come).unwrap();
    let text = String::from_utf8_lossy(&come).into_owned();
    let text = text.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    let starts: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let each = starts.iter().zip(ends);
    each.map(|(start, end)| RawAnswer::of(&text.as_bytes()[*start..end]))
        .collect()
}

#[test]
fn an_ambiguous_head_is_refused_in_one_go_with_any_request_before_it() {
    let scene = scene();
    for (before, first) in requests_before() {
        for (name, bad) in ambiguous() {
            let mut bytes = first.clone();
            bytes.extend(bad);
            let found = answers(&scene, &bytes, bytes.len());
            let statuses: Vec<_> = found.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [200, 400], "{name} after {before}: {found:?}");
            let problem = body(&found[1].text());
            assert_eq!(problem["stage"], "request", "{name} after {before}");
            assert_eq!(
                found[1].all("connection"),
                ["close"],
                "{name} after {before}"
            );
            assert_eq!(scene.hub.requests().len(), 1, "{name} after {before}");
        }
    }
}

#[test]
fn requests_of_all_kinds_in_one_go_are_each_read_once() {
    let scene = scene();
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..2 {
        for (name, request) in requests_before() {
            let length = match name {
                "no body" | "no chunk" => 0,
                name if name.contains("long") => 100 << 10,
                _ => 2,
            };
            expected.push(length);
            bytes.extend(request);
        }
    }
    bytes.extend(head("GET /cm/last HTTP/1.1", &[HOST, "Connection: close"]));
    for piece in [bytes.len(), 4096, 1021] {
        let found = answers(&scene, &bytes, piece);
        let statuses: Vec<_> = found.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, vec![200; expected.len() + 1], "{found:?}");
        let seen = scene.hub.requests();
        let lengths: Vec<_> = seen.iter().map(|raw| raw.body.len()).collect();
        assert_eq!(lengths[..expected.len()], expected[..], "{piece}");
        assert_eq!(seen.last().unwrap().head[0], "GET /last HTTP/1.1");
    }
}

/// What is not a chunk ends the connection: nothing behind it is taken for a request.
#[test]
fn after_malformed_chunks_nothing_is_read() {
    let scene = scene();
    for (name, chunks) in [
        ("a bare LF after the size", "2\n{}\r\n0\r\n\r\n"),
        ("a bare LF after the data", "2\r\n{}\n0\r\n\r\n"),
        ("a bare LF in an extension", "2;a\nb\r\n{}\r\n0\r\n\r\n"),
        ("a bare CR in an extension", "2;a\rb\r\n{}\r\n0\r\n\r\n"),
        (
            "a control character in an extension",
            "2;\0\r\n{}\r\n0\r\n\r\n",
        ),
        ("no size", "\r\n{}\r\n0\r\n\r\n"),
        ("a size with a sign", "+2\r\n{}\r\n0\r\n\r\n"),
        ("a size with a prefix", "0x2\r\n{}\r\n0\r\n\r\n"),
        ("a size of 2^64", "10000000000000002\r\n{}\r\n0\r\n\r\n"),
        ("longer data", "2\r\n{}}\r\n0\r\n\r\n"),
        ("a bare LF after a trailer", "2\r\n{}\r\n0\r\nX: y\n\r\n"),
        (
            "a bare LF in a trailer",
            "2\r\n{}\r\n0\r\nX: y\nZ: z\r\n\r\n",
        ),
        ("a bare CR in a trailer", "2\r\n{}\r\n0\r\nX: y\rz\r\n\r\n"),
        ("a bare LF at the end", "2\r\n{}\r\n0\r\n\n"),
    ] {
        let mut bytes = head(POST, &[HOST, "Transfer-Encoding: chunked"]);
        bytes.extend_from_slice(chunks.as_bytes());
        bytes.extend_from_slice(SMUGGLED.as_bytes());
        let found = answers(&scene, &bytes, bytes.len());
        let statuses: Vec<_> = found.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [400], "{name}: {found:?}");
        assert_eq!(body(&found[0].text())["stage"], "request", "{name}");
        assert_eq!(scene.hub.requests(), [], "{name}: the hub was asked");
    }
}
