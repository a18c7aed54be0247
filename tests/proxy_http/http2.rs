//! The duties of a gateway where it speaks HTTP/2 to the hub (RFC 9113, section 8): what an
//! application says in HTTP/1.1 is said anew, and so is the answer. The table of clauses in
//! docs/proxy.md names these tests.

use crate::common::bank::Bank;
use crate::common::frames_hub::{FramesHub, Part, fields};
use crate::common::hub::{Hub, HubOptions};
use crate::common::proxy::{Proxy, body};
use crate::common::raw_answer::RawAnswer;
use crate::common::raw_requests::{CLOSE, HOST, head};

fn to_frames() -> (Bank, FramesHub, Proxy) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = FramesHub::start(&bank.framework);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    (bank, hub, proxy)
}

fn passed(hub: &FramesHub, proxy: &Proxy, parts: &[Part]) -> RawAnswer {
    hub.answers(parts);
    RawAnswer::of(&proxy.raw(&head("GET /cm/a HTTP/1.1", &[HOST, CLOSE])))
}

#[test]
fn a_request_is_said_anew_in_http_2() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.alpn = vec![b"h2".to_vec()];
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let many: Vec<_> = (0..200).map(|at| format!("X-{at}: {at}")).collect();
    let mut lines = vec![
        "Host:",
        "Connection: close, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers, gzip;q=0.5",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Trailer: X-Late",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Via: 1.0 a",
        "Cookie: a=1; b=2",
        "X-Seq: 1",
        "X-Seq: 2",
    ];
    lines.extend(many.iter().map(String::as_str));
    let mut bytes = head("PATCH /cm/consents/a?b=c HTTP/1.1", &lines);
    bytes.extend_from_slice(b"2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n");
    let answer = String::from_utf8(proxy.raw(&bytes)).unwrap();
    assert!(answer.contains("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = hub.seen().remove(0);
    assert_eq!(seen.path_and_query, "/consents/a?b=c");
    assert_eq!(&seen.body[..], b"{}");
    for name in [
        "host",
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "http2-settings",
        "trailer",
        "transfer-encoding",
        "expect",
        "x-late",
    ] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    let all = |name: &str| -> Vec<_> { seen.headers.get_all(name).iter().cloned().collect() };
    assert_eq!(all("via"), ["1.0 a", "1.1 hsm-mtls-mybank"]);
    assert_eq!(all("x-seq"), ["1", "2"]);
    assert_eq!(all("cookie"), ["a=1; b=2"]);
    assert_eq!(all("content-length"), ["2"]);
    assert_eq!(all("x-199"), ["199"]);
}

#[test]
fn an_answer_is_said_anew_in_http_1() {
    let (_bank, hub, proxy) = to_frames();
    let found = passed(
        &hub,
        &proxy,
        &[
            fields(&[(":status", "103"), ("link", "</a>")]),
            fields(&[
                (":status", "200"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("x-late", "no"),
            ]),
            Part::Data(b"all ".to_vec()),
            Part::Data(b"of it".to_vec()),
            fields(&[("x-late", "yes")]),
        ],
    );
    assert_eq!((found.status, &found.body[..]), (200, &b"all of it"[..]));
    assert!(found.complete, "{found:?}");
    assert_eq!(found.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(found.all("x-late"), ["no"]);
    assert_eq!(found.all("link"), [""; 0]);
    assert_eq!(found.all("date").len(), 1);
    let found = passed(&hub, &proxy, &[fields(&[(":status", "599")])]);
    assert_eq!(found.line, "HTTP/1.1 599 ");
    let found = passed(&hub, &proxy, &[fields(&[(":status", "204")])]);
    assert_eq!((found.status, found.all("content-length")), (204, vec![]));
    let many: Vec<_> = (0..1000)
        .map(|at| (format!("x-{at}"), at.to_string()))
        .collect();
    let mut all = vec![(":status".to_owned(), "200".to_owned())];
    all.extend(many);
    let found = passed(&hub, &proxy, &[Part::Fields(all)]);
    assert_eq!((found.status, found.all("x-999")), (200, vec!["999"]));
}

#[test]
fn a_malformed_answer_of_http_2_is_a_502() {
    let (_bank, hub, proxy) = to_frames();
    for (name, more) in [
        ("a field of the connection", ("connection", "close")),
        ("a transfer coding", ("transfer-encoding", "chunked")),
        ("an upgrade", ("upgrade", "h2c")),
        ("keep-alive", ("keep-alive", "timeout=5")),
        ("upper case", ("X-Upper", "1")),
        ("NUL", ("x-a", "a\0b")),
        ("CR and LF", ("x-a", "a\r\nx-b: c")),
        ("a pseudo field that is none", (":x", "1")),
        ("a length that is none", ("content-length", "two")),
    ] {
        let parts = [
            fields(&[(":status", "200"), more]),
            Part::Data(b"ok".to_vec()),
        ];
        let found = passed(&hub, &proxy, &parts);
        assert_eq!(found.status, 502, "{name}: {found:?}");
        let stage = body(&found.text())["stage"].clone();
        assert!(
            stage == "answer" || stage == "no-answer",
            "{name}: {found:?}"
        );
    }
    let no_status = [fields(&[("x-a", "1")]), Part::Data(b"ok".to_vec())];
    assert_eq!(passed(&hub, &proxy, &no_status).status, 502);
    // The one that comes after is answered.
    let good = [
        fields(&[(":status", "200"), ("content-length", "2")]),
        Part::Data(b"ok".to_vec()),
    ];
    let found = passed(&hub, &proxy, &good);
    assert_eq!(
        (found.status, &found.body[..]),
        (200, &b"ok"[..]),
        "{found:?}"
    );
}

#[test]
fn a_length_that_is_not_true_is_not_passed_as_complete() {
    let (_bank, hub, proxy) = to_frames();
    for (name, length) in [("too short", "9"), ("too long", "1")] {
        let parts = [
            fields(&[(":status", "200"), ("content-length", length)]),
            Part::Data(b"half".to_vec()),
        ];
        let found = passed(&hub, &proxy, &parts);
        assert!(found.status == 502 || !found.complete, "{name}: {found:?}");
    }
}
