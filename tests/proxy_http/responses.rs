//! Which responses of the hub a gateway repairs, refuses or passes unchanged (RFC 9110, RFC 9112): bytes of the hub in,
//! bytes to the application out. The table of clauses in docs/proxy.md names these tests.

use crate::common::proxy::body;
use crate::common::raw_answer::RawAnswer;
use crate::common::raw_hub::Then;
use crate::common::raw_requests::{GET, HOST, Scene, head, ok, passed, scene};

fn refused(scene: &Scene, name: &str, answer: impl Into<Vec<u8>>) -> String {
    let found = passed(scene, answer, Then::Next);
    assert_eq!(found.status, 502, "{name}: {found:?}");
    let problem = body(&found.text());
    assert_eq!(problem["stage"], "answer", "{name}: {problem}");
    problem["detail"].as_str().expect("a detail").to_owned()
}

#[test]
fn a_response_head_is_repaired_as_rfc_9112_says() {
    let scene = scene();
    for (name, lines, field, value) in [
        ("a space before the colon", "X-A : 1\r\n", "x-a", "1"),
        ("a tab before the colon", "X-A\t: 1\r\n", "x-a", "1"),
        ("both", "X-A \t : 1\r\n", "x-a", "1"),
        ("a folded line", "X-A: 1\r\n  2\r\n\t3\r\n", "x-a", "1 2 3"),
        ("folded before its value", "X-A:\r\n 1\r\n", "x-a", "1"),
        ("space around a value", "X-A: \t 1 2 \t\r\n", "x-a", "1 2"),
        ("an empty value", "X-A:\r\n", "x-a", ""),
        ("bytes above ASCII", "X-A: \u{e9}\r\n", "x-a", "\u{e9}"),
        ("bare LF", "X-A: 1\n", "x-a", "1"),
    ] {
        let found = passed(
            &scene,
            ok(&format!("{lines}Content-Length: 2\r\n"), "ok"),
            Then::Next,
        );
        assert_eq!((found.status, &found.body[..]), (200, &b"ok"[..]), "{name}");
        assert_eq!(found.all(field), [value], "{name}: {found:?}");
    }
    // The length of the body, too.
    for lines in ["Content-Length : 2\r\n", "Content-Length:\r\n 2\r\n"] {
        let found = passed(&scene, ok(lines, "ok"), Then::Next);
        assert_eq!(found.body, b"ok", "{lines:?}: {found:?}");
        assert_eq!(found.all("content-length"), ["2"], "{lines:?}");
    }
    let found = passed(
        &scene,
        ok("Transfer-Encoding : chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
        Then::Next,
    );
    assert_eq!(found.body, b"ok");
}

#[test]
fn an_invalid_response_is_a_502() {
    let scene = scene();
    for (name, lines) in [
        ("NUL", "X-A: a\0b\r\n"),
        ("a bare CR", "X-A: a\rX-B: b\r\n"),
        ("another control", "X-A: a\x01b\r\n"),
        ("space before the first field", " X-A: 1\r\nX-B: 1\r\n"),
        ("no colon", "X-A\r\n"),
        ("no name", ": 1\r\n"),
        ("a name that is no token", "X(A): 1\r\n"),
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n"),
        ("a list of two", "Content-Length: 2, 3\r\n"),
        ("a signed length", "Content-Length: +2\r\n"),
        ("a length in words", "Content-Length: two\r\n"),
        ("no length", "Content-Length: \r\n"),
        (
            "a length beyond counting",
            "Content-Length: 99999999999999999999\r\n",
        ),
        ("another coding", "Transfer-Encoding: gzip\r\n"),
        ("two codings", "Transfer-Encoding: gzip, chunked\r\n"),
        (
            "two codings on two lines",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ),
    ] {
        let told = refused(&scene, name, ok(lines, "ok"));
        assert!(
            told.starts_with("the answer is malformed: "),
            "{name}: {told}"
        );
    }
    for (name, answer) in [
        (
            "a coding of HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        ("a status of four", "HTTP/1.1 2000 OK\r\n\r\n"),
        ("a status below 100", "HTTP/1.1 099 OK\r\n\r\n"),
        ("another version", "HTTP/3.0 200 OK\r\n\r\n"),
        ("no HTTP", "this is not HTTP\r\n\r\n"),
        (
            "a switch that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
    ] {
        refused(&scene, name, answer);
    }
}

#[test]
fn as_many_fields_pass_as_fit() {
    let scene = scene();
    let lines =
        |count: usize| -> String { (0..count).map(|at| format!("X-{at}: {at}\r\n")).collect() };
    for count in [100, 101, 1000] {
        let answer = ok(&format!("{}Content-Length: 2\r\n", lines(count)), "ok");
        let found = passed(&scene, answer, Then::Next);
        assert_eq!(found.status, 200, "{count}");
        for at in [0, count / 2, count - 1] {
            assert_eq!(found.all(&format!("x-{at}")), [at.to_string()], "{count}");
        }
    }
    let told = "the head of the answer is longer than 128 KiB, or has more than 1024 fields";
    let long = format!("X: {}\r\n", "a".repeat(140 << 10));
    assert_eq!(refused(&scene, "5000 fields", ok(&lines(5000), "")), told);
    assert_eq!(refused(&scene, "a long one", ok(&long, "")), told);
}

#[test]
fn an_answer_has_a_date() {
    let scene = scene();
    let now = || httpdate::fmt_http_date(std::time::SystemTime::now());
    let before = now();
    let found = passed(&scene, ok("Content-Length: 0\r\n", ""), Then::Next);
    let date = found.all("date")[0].to_owned();
    let at = |text: &str| httpdate::parse_http_date(text).expect("a date");
    assert!(
        at(&before) <= at(&date) && at(&date) <= at(&now()),
        "{date}"
    );
    // One that is there stays, whatever it says.
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    let answer = ok(&format!("Date: {old}\r\nContent-Length: 0\r\n"), "");
    assert_eq!(passed(&scene, answer, Then::Next).all("date"), [old]);
    // What we say ourselves: of a handler, and before there is one.
    for bytes in [
        head("GET /nowhere HTTP/1.1", &[HOST, "Connection: close"]),
        head(GET, &[HOST, &format!("X: {}", "a".repeat(40 << 10))]),
    ] {
        let found = RawAnswer::of(&scene.proxy.raw(&bytes));
        assert!(found.status >= 400);
        assert_eq!(found.all("date").len(), 1, "{found:?}");
    }
}

#[test]
fn fields_of_the_connection_stay_on_it() {
    let scene = scene();
    let lines = "Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-Late\r\n\
                 Upgrade: h2c\r\nContent-Length: 2\r\nX-End: 1\r\n";
    let found = passed(&scene, ok(lines, "ok"), Then::Next);
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ] {
        assert_eq!(found.all(name), [""; 0], "{name}: {found:?}");
    }
    assert_eq!(found.all("x-end"), ["1"]);
    // Ours: the application asked for it.
    assert_eq!(found.all("connection"), ["close"]);
}

#[test]
fn everything_else_passes_as_it_came() {
    let scene = scene();
    let fields = [
        ("server", "the hub"),
        ("via", "1.1 gateway"),
        ("age", "5"),
        ("warning", "110 - stale"),
        ("cache-control", "no-store"),
        ("content-encoding", "gzip"),
        ("content-type", "application/json; charset=utf-8"),
        ("content-range", "bytes 0-1/5"),
        ("retry-after", "3"),
        ("www-authenticate", "Bearer realm=\"hub\", DPoP"),
        ("proxy-authenticate", "Basic"),
        ("location", "/relative?a=%20"),
        ("x-unknown", "a, \"b, c\", d"),
    ];
    let mut lines: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    // Of one name: in order, and never joined.
    lines.push_str("Set-Cookie: a=1; Path=/\r\nX-Seq: 1\r\nSet-Cookie: b=2\r\nX-Seq: 2, 3\r\n");
    lines.push_str("Content-Length: 2\r\n");
    let found = passed(&scene, ok(&lines, "\x1f\x08"), Then::Next);
    for (name, value) in fields {
        assert_eq!(found.all(name), [value], "{found:?}");
    }
    assert_eq!(found.all("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(found.all("x-seq"), ["1", "2, 3"]);
    assert_eq!(found.body, b"\x1f\x08");
    assert_eq!(
        passed(&scene, ok("Content-Length: 0\r\n", ""), Then::Next).all("server"),
        [""; 0]
    );

    for line in [
        "HTTP/1.1 200 Fine",
        "HTTP/1.1 299 Other",
        "HTTP/1.1 401 Unauthorized",
        "HTTP/1.1 407 Proxy Authentication Required",
        "HTTP/1.1 426 Upgrade Required",
        "HTTP/1.1 599 Nobody Knows",
        "HTTP/1.1 999 Beyond",
        "HTTP/1.1 599 ",
    ] {
        let found = passed(
            &scene,
            format!("{line}\r\nContent-Length: 0\r\n\r\n"),
            Then::Next,
        );
        assert_eq!(found.line, line);
    }
}

#[test]
fn interim_answers_are_not_taken_for_the_answer() {
    let scene = scene();
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 More\r\nContent-Length: 5\r\n\r\n",
    ] {
        let answer = format!("{interim}{}", ok("Content-Length: 2\r\n", "ok"));
        let found = passed(&scene, answer, Then::Next);
        assert_eq!(
            (found.status, &found.body[..]),
            (200, &b"ok"[..]),
            "{interim:?}"
        );
        assert_eq!(found.all("link"), [""; 0]);
    }
}

/// What is mended for applications is mended for the command as well.
#[test]
fn the_command_reads_what_the_proxy_reads() {
    let scene = scene();
    let many: String = (0..1000).map(|at| format!("X-{at}: {at}\r\n")).collect();
    let lines = format!("X-A : 1\r\nX-B: 1\r\n 2\r\n{many}Content-Length : 2\r\n");
    scene.hub.answers(ok(&lines, "ok"), Then::Next);
    let run = scene.bank.run(&["request", "GET", "cm:/a", "-i"]).expect(0);
    let said = run.stdout.to_lowercase();
    for line in ["x-a: 1\n", "x-b: 1 2\n", "x-999: 999\n"] {
        assert!(said.contains(line), "{line}");
    }
    let many: String = (0..5000).map(|at| format!("X-{at}: {at}\r\n")).collect();
    scene.hub.answers(ok(&many, ""), Then::Next);
    let run = scene.bank.run(&["request", "GET", "cm:/a"]).expect(5);
    assert!(
        run.stderr.contains("more than 1024 fields"),
        "{}",
        run.stderr
    );
}
