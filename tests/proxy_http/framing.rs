//! Message framing: where the body of a request or a response ends (RFC 9112, sections 6 to 8). The table of clauses
//! in docs/proxy.md names these tests.

use crate::common::bank::Bank;
use crate::common::blocking_client::{self, Place, framings};
use crate::common::hub::{Hub, HubOptions};
use crate::common::proxy::Proxy;
use crate::common::raw_answer::RawAnswer;
use crate::common::raw_hub::Then;
use crate::common::raw_requests::{
    CLOSE, GET, HOST, POST, head, ok, passed, passed_to, refused, scene, values,
};

#[test]
fn a_length_is_said_once_and_is_true() {
    let scene = scene();
    for lines in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 02\r\n",
    ] {
        let found = passed(&scene, ok(lines, "ok"), Then::Next);
        assert_eq!(found.body, b"ok", "{lines:?}: {found:?}");
        assert_eq!(found.all("content-length"), ["2"], "{lines:?}");
    }
    // The chunks say it, whatever stands beside them.
    for lines in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: Chunked\r\nContent-Length: 100\r\n",
    ] {
        let answer = ok(lines, "2\r\nok\r\n1;x=y\r\n!\r\n0\r\nX-Late: 1\r\n\r\n");
        let found = passed(&scene, answer, Then::Next);
        assert_eq!(found.all("content-length"), [""; 0], "{lines:?}");
        assert_eq!(found.all("transfer-encoding"), ["chunked"]);
        assert_eq!(found.body, b"ok!");
        // Trailers are not made fields, nor handed on.
        assert_eq!(found.all("x-late"), [""; 0]);
        assert!(!found.text().contains("Late") && !found.text().contains("late"));
    }
}

#[test]
fn an_answer_without_a_body_stays_one() {
    let scene = scene();
    // To HEAD: the fields of GET.
    let answer = ok("Content-Length: 5\r\nETag: \"a\"\r\n", "");
    let found = passed_to(&scene, "HEAD /cm/a HTTP/1.1", answer, Then::Next);
    assert_eq!(found.all("content-length"), ["5"], "{found:?}");
    assert!(found.body.is_empty());
    let found = passed_to(&scene, "HEAD /cm/a HTTP/1.1", ok("", ""), Then::Next);
    assert_eq!(found.all("content-length"), [""; 0], "{found:?}");
    let answer = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    let found = passed(&scene, answer, Then::Next);
    assert_eq!(found.status, 204);
    for name in ["content-length", "transfer-encoding"] {
        assert_eq!(found.all(name), [""; 0], "{found:?}");
    }
    let answer = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n";
    let found = passed(&scene, answer, Then::Next);
    assert_eq!((found.status, found.all("etag")), (304, vec!["\"a\""]));
    assert!(found.body.is_empty());
    let found = passed(
        &scene,
        "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        Then::Next,
    );
    assert_eq!(
        (found.status, found.all("content-length")),
        (205, vec!["0"])
    );
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let scene = scene();
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let answer = format!("{version} 200 OK\r\nX-A: 1\r\n\r\nall of it");
        let found = passed(&scene, answer, Then::End);
        assert_eq!((found.status, &found.body[..]), (200, &b"all of it"[..]));
        assert!(found.complete, "{found:?}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_as_complete() {
    let scene = scene();
    for (name, answer, then) in [
        ("no length, and no end of TLS", ok("", "half"), Then::Cut),
        ("a length", ok("Content-Length: 10\r\n", "half"), Then::End),
        (
            "a length, cut",
            ok("Content-Length: 10\r\n", "half"),
            Then::Cut,
        ),
        (
            "chunks",
            ok("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"),
            Then::End,
        ),
        (
            "half a chunk",
            ok("Transfer-Encoding: chunked\r\n", "8\r\nhalf"),
            Then::Cut,
        ),
        (
            "a bad chunk",
            ok("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\nxx\r\n"),
            Then::Next,
        ),
    ] {
        let found = passed(&scene, answer, then);
        assert_eq!(found.status, 200, "{name}");
        assert!(!found.complete, "{name}: {found:?}");
    }
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    let scene = scene();
    let answer = ok("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n");
    let found = passed_to(&scene, "GET /cm/a HTTP/1.0", answer, Then::Next);
    assert_eq!(
        (found.status, &found.body[..]),
        (200, &b"ok"[..]),
        "{found:?}"
    );
    assert_eq!(found.all("transfer-encoding"), [""; 0]);
}

#[test]
fn a_body_keeps_its_bytes_whatever_frames_it() {
    let scene = scene();
    let long = vec![b'a'; 200 << 10];
    let chunks = |body: &[u8]| {
        let mut bytes = Vec::new();
        for chunk in body.chunks(30_000) {
            bytes.extend_from_slice(format!("{:x};ext=\"1\"\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\nX-Late: 1\r\n\r\n");
        bytes
    };
    for method in ["GET", "POST", "DELETE", "OPTIONS", "X-OTHER"] {
        for body in [&b"{}"[..], &long] {
            let line = format!("{method} /cm/a HTTP/1.1");
            let mut bytes = head(&line, &[HOST, CLOSE, "Transfer-Encoding: chunked"]);
            bytes.extend(chunks(body));
            let seen = scene.forwarded(method, &bytes);
            assert!(
                seen.body == body,
                "{method}: {} of {}",
                seen.body.len(),
                body.len()
            );
            assert!(values(&seen, "x-late").is_empty());
            let length = format!("Content-Length: {}", body.len());
            let mut bytes = head(&line, &[HOST, CLOSE, &length]);
            bytes.extend_from_slice(body);
            assert!(scene.forwarded(method, &bytes).body == body, "{method}");
        }
    }
    // Nothing is said to be nothing.
    let mut bytes = head(POST, &[HOST, CLOSE, "Transfer-Encoding: chunked"]);
    bytes.extend(chunks(b""));
    let seen = scene.forwarded("no chunk", &bytes);
    assert_eq!(values(&seen, "content-length"), ["0"]);
    let seen = scene.forwarded("no body", &head(GET, &[HOST, CLOSE]));
    assert!(values(&seen, "content-length").is_empty());
}

#[test]
fn an_expectation_is_met_here() {
    let scene = scene();
    let lines = [HOST, CLOSE, "Expect: 100-Continue", "Content-Length: 2"];
    let mut bytes = head(POST, &lines);
    bytes.extend_from_slice(b"{}");
    let answer = String::from_utf8(scene.proxy.raw(&bytes)).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "),
        "{answer}"
    );
    let seen = scene.hub.requests().remove(0);
    assert_eq!(
        (values(&seen, "expect"), &seen.body[..]),
        (vec![], &b"{}"[..])
    );
    // Of HTTP/1.0 it is not looked at, and a final answer needs no leave before it.
    let mut old = head(
        "POST /cm/a HTTP/1.0",
        &[HOST, "Expect: 100-continue", "Content-Length: 2"],
    );
    old.extend_from_slice(b"{}");
    let found = RawAnswer::of(&scene.proxy.raw(&old));
    assert_eq!((found.status, scene.hub.requests().len()), (200, 1));
    for (lines, status) in [
        (&[HOST, "Expect: cake", "Content-Length: 2"][..], 417),
        (
            &[HOST, "Expect: 100-continue", "Content-Length: 99999999"],
            413,
        ),
    ] {
        refused(&scene, "at once", &head(POST, lines), status, "request");
    }
}

/// A body that is streamed is hyper's to read. The head that comes after its answer is looked at as any other.
#[test]
fn a_head_behind_a_long_body_is_looked_at_as_any_other() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let host = blocking_client::HOST;
    for (end, body) in framings(300 << 10) {
        let mut wire = Place::Unix(proxy.socket()).connect();
        let head = format!("PATCH /cm/consents/1 HTTP/1.1\r\n{host}{end}");
        for (next, status) in [("GET /a HTTP/1.2", 404), ("GET  /a HTTP/1.1", 400)] {
            wire.send(head.as_bytes()).unwrap();
            wire.send(&body).unwrap();
            assert_eq!(wire.answer().unwrap().status, 200, "{head:?}");
            wire.send(format!("{next}\r\n{host}\r\n").as_bytes())
                .unwrap();
            let answer = wire.answer().unwrap();
            assert_eq!(answer.status, status, "{head:?} {next}: {answer:?}");
            let told = String::from_utf8_lossy(&answer.body);
            assert!(told.contains("\"detail\""), "{head:?} {next}: {answer:?}");
        }
    }
}
