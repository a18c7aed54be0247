//! The duties of a gateway for each request (RFC 9110, RFC 9112): bytes of the application in, bytes to the hub out.
//! The table of clauses in docs/proxy.md names these tests.

use std::fs;
use std::path::Path;

use crate::common::proxy::{TOKEN, body};
use crate::common::raw_answer::RawAnswer;
use crate::common::raw_requests::{
    CLOSE, GET, HOST, POST, head, refused, scene, scene_with, values,
};

#[test]
fn via_names_this_gateway_and_a_loop_ends() {
    let scene = scene();
    let seen = scene.forwarded("none before", &head(GET, &[HOST, CLOSE]));
    assert_eq!(values(&seen, "via"), ["1.1 hsm-mtls-mybank"]);
    let lines = [HOST, CLOSE, "Via: 1.0 a, 2 b (c)", "Via: 1.1 d"];
    let seen = scene.forwarded("others before", &head(GET, &lines));
    assert_eq!(
        values(&seen, "via"),
        ["1.0 a, 2 b (c)", "1.1 d", "1.1 hsm-mtls-mybank"]
    );
    let bytes = scene.proxy.raw(&head("GET /cm/a HTTP/1.0", &[HOST]));
    assert_eq!(RawAnswer::of(&bytes).status, 200);
    assert_eq!(
        values(&scene.hub.requests()[0], "via"),
        ["1.0 hsm-mtls-mybank"]
    );
    let again = head(GET, &[HOST, "Via: 1.1 a, 1.1 hsm-mtls-mybank, 1.1 b"]);
    refused(&scene, "a loop", &again, 508, "loop");

    let named = scene_with("via = \"bank.gateway\"", "");
    let lines = [HOST, CLOSE, "Via: 1.1 hsm-mtls-mybank"];
    let seen = named.forwarded("another name", &head(GET, &lines));
    assert_eq!(
        values(&seen, "via"),
        ["1.1 hsm-mtls-mybank", "1.1 bank.gateway"]
    );
    let off = scene_with("via = \"off\"", "");
    let seen = off.forwarded("off", &head(GET, &lines));
    assert_eq!(values(&seen, "via"), ["1.1 hsm-mtls-mybank"]);
}

#[test]
fn max_forwards_is_decremented_and_ends_here_at_zero() {
    let scene = scene();
    let options = "OPTIONS /cm/a HTTP/1.1";
    let seen = scene.forwarded("one", &head(options, &[HOST, CLOSE, "Max-Forwards: 1"]));
    assert_eq!(values(&seen, "max-forwards"), ["0"]);
    for line in [options, "OPTIONS * HTTP/1.1"] {
        let bytes = head(line, &[HOST, CLOSE, "Max-Forwards: 0"]);
        let found = RawAnswer::of(&scene.proxy.raw(&bytes));
        assert_eq!(found.status, 204, "{line}");
        assert!(found.all("allow")[0].contains("POST"));
        assert_eq!(scene.hub.requests(), [], "{line}");
    }
    let bad = head(options, &[HOST, "Max-Forwards: many"]);
    refused(&scene, "no number", &bad, 400, "request");
    let seen = scene.forwarded("GET", &head(GET, &[HOST, CLOSE, "Max-Forwards: 0"]));
    assert_eq!(values(&seen, "max-forwards"), ["0"]);
}

#[test]
fn an_asterisk_is_for_a_listener_of_one_service() {
    let listener = "[[proxy.listener]]\nunix = \"cm.sock\"\nupstream = \"cm\"";
    let scene = scene_with("", listener);
    let socket = scene.proxy.socket().with_file_name("cm.sock");
    let bytes = head("OPTIONS * HTTP/1.1", &[HOST, CLOSE]);
    let found = RawAnswer::of(&crate::common::proxy::exchange(&socket, &bytes));
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!(scene.hub.requests()[0].head[0], "OPTIONS * HTTP/1.1");
    refused(&scene, "no service", &bytes, 400, "request");
    let get = head("GET * HTTP/1.1", &[HOST, CLOSE]);
    let found = RawAnswer::of(&crate::common::proxy::exchange(&socket, &get));
    assert_eq!(found.status, 400);
}

#[test]
fn host_is_checked_and_rewritten() {
    let scene = scene();
    for (name, host) in [
        ("of this machine", "Host: localhost:8080"),
        ("of a Unix socket", "Host:"),
        ("of a Unix socket, with space", "Host: \t "),
    ] {
        // `forwarded` looks at the Host that the hub sees.
        scene.forwarded(name, &head(GET, &[host, CLOSE]));
    }
    for host in [
        "a b",
        "localhost:port",
        "me@localhost",
        "localhost:80:90",
        "/",
        ":80",
        "[::1",
    ] {
        let bytes = head(GET, &[&format!("Host: {host}")]);
        refused(&scene, host, &bytes, 400, "request");
    }
    for host in ["evil.example", "localhost.", "127.0.0.2"] {
        let bytes = head(GET, &[&format!("Host: {host}")]);
        refused(&scene, host, &bytes, 421, "host");
    }
    // A TCP port has a name.
    let token = format!("X-HSM-MTLS-Caller: {TOKEN}");
    let found = scene.over_tcp(&head(GET, &["Host:", &token, CLOSE]));
    assert_eq!(found.status, 421, "{found:?}");
    let found = scene.over_tcp(&head(GET, &[HOST, &token, CLOSE]));
    assert_eq!(found.status, 200, "{found:?}");
}

#[test]
fn a_refusal_has_the_fields_that_its_status_asks_for() {
    let scene = scene();
    for line in ["TRACE /cm/a HTTP/1.1", "CONNECT localhost:443 HTTP/1.1"] {
        let found = refused(&scene, line, &head(line, &[HOST]), 405, "method");
        assert!(found.all("allow")[0].contains("GET"), "{found:?}");
    }
    let found = scene.over_tcp(&head(GET, &[HOST, CLOSE]));
    assert_eq!(
        (found.status, found.all("www-authenticate")),
        (401, vec!["X-HSM-MTLS-Caller"])
    );
    let answer = scene.of_operations(&head("DELETE /healthz HTTP/1.1", &[HOST, CLOSE]));
    assert_eq!(
        (answer.status, answer.all("allow")),
        (405, vec!["GET, HEAD"])
    );
}

#[test]
fn malformed_http_gets_a_response_of_the_proxy() {
    let scene = scene();
    for (name, first, lines, status) in [
        ("no version", "GET /cm/a", &[HOST][..], 400),
        ("two spaces", "GET  /cm/a HTTP/1.1", &[HOST], 400),
        (
            "a space in the target",
            "GET /cm/a b HTTP/1.1",
            &[HOST],
            400,
        ),
        ("a fragment", "GET /cm/a#b HTTP/1.1", &[HOST], 400),
        ("HTTP/2", "GET /cm/a HTTP/2.0", &[HOST], 505),
        ("HTTP/3", "GET /cm/a HTTP/3.0", &[HOST], 505),
        ("the preface of HTTP/2", "PRI * HTTP/2.0", &[], 505),
        ("space before a colon", GET, &[HOST, "X : y"], 400),
        ("a folded line", GET, &[HOST, "X: a", " b"], 400),
        ("space before the first field", GET, &[" X: a", HOST], 400),
        ("NUL", GET, &[HOST, "X: a\0b"], 400),
        ("a bare CR", GET, &[HOST, "X: a\rY: b"], 400),
        ("no colon", GET, &[HOST, "X"], 400),
        ("no Host", GET, &[], 400),
        ("two Hosts", GET, &[HOST, HOST], 400),
        (
            "a coding that is not known",
            POST,
            &[HOST, "Transfer-Encoding: gzip, chunked"],
            501,
        ),
        (
            "a coding without end",
            POST,
            &[HOST, "Transfer-Encoding: gzip"],
            400,
        ),
        (
            "a length that is none",
            POST,
            &[HOST, "Content-Length: 1x"],
            400,
        ),
        (
            "two lengths",
            POST,
            &[HOST, "Content-Length: 1", "Content-Length: 2"],
            400,
        ),
        (
            "too long a body",
            POST,
            &[HOST, "Content-Length: 18446744073709551615"],
            413,
        ),
    ] {
        refused(&scene, name, &head(first, lines), status, "request");
        // The same in one go with a request that is answered.
        let mut both = head("GET /cm/first HTTP/1.1", &[HOST]);
        both.extend(head(first, lines));
        let answers = String::from_utf8_lossy(&scene.proxy.raw(&both)).into_owned();
        assert!(answers.starts_with("HTTP/1.1 200 "), "{name}: {answers}");
        let (_, second) = answers.split_once("\r\n\r\nok").expect("an answer");
        let second = RawAnswer::of(second.as_bytes());
        assert_eq!(second.status, status, "{name}: {answers}");
        assert_eq!(body(&second.text())["stage"], "request", "{name}");
        assert_eq!(scene.hub.requests().len(), 1, "{name}");
    }
}

#[test]
fn what_is_old_or_new_but_http_is_taken() {
    let scene = scene();
    for before in ["\r\n", "\r\n\r\n\r\n"] {
        let mut bytes = before.as_bytes().to_vec();
        bytes.extend(head(GET, &[HOST, CLOSE]));
        scene.forwarded("an empty line before", &bytes);
    }
    let later = head("GET /cm/a HTTP/1.9", &[HOST, CLOSE]);
    let seen = scene.forwarded("a later minor version", &later);
    assert_eq!(seen.head[0], "GET /a HTTP/1.1");
    for method in ["PURGE", "get", "M-SEARCH", "PROPFIND", "X!#$%&'*+.^_`|~"] {
        let bytes = head(&format!("{method} /cm/a HTTP/1.1"), &[HOST, CLOSE]);
        let seen = scene.forwarded(method, &bytes);
        assert_eq!(seen.head[0], format!("{method} /a HTTP/1.1"));
    }
    let lines = [
        HOST,
        CLOSE,
        "X-A: \t 1 2 \t",
        "X-B:",
        "X-C: \u{e9}",
        "X-D: a,, \"b, c\"",
    ];
    let seen = scene.forwarded("values", &head(GET, &lines));
    assert_eq!(values(&seen, "x-a"), ["1 2"]);
    assert_eq!(values(&seen, "x-b"), [""]);
    assert_eq!(values(&seen, "x-c"), ["\u{e9}"]);
    assert_eq!(values(&seen, "x-d"), ["a,, \"b, c\""]);
}

#[test]
fn as_much_of_a_head_passes_as_is_configured() {
    let scene = scene();
    for count in [99, 100, 101, 1000, 2000] {
        let lines: Vec<_> = (0..count).map(|at| format!("X-{at}: {at}")).collect();
        let mut all = vec![HOST, CLOSE];
        all.extend(lines.iter().map(String::as_str));
        let seen = scene.forwarded("many fields", &head(GET, &all));
        let last = count - 1;
        assert_eq!(values(&seen, &format!("x-{last}")), [last.to_string()]);
    }
    let target = format!("/{}", "a".repeat(30 << 10));
    let seen = scene.forwarded(
        "a long target",
        &head(&format!("GET /cm{target} HTTP/1.1"), &[HOST, CLOSE]),
    );
    assert_eq!(seen.head[0], format!("GET {target} HTTP/1.1"));

    let many: Vec<_> = (0..5000).map(|at| format!("X-{at}: {at}")).collect();
    let mut all = vec![HOST];
    all.extend(many.iter().map(String::as_str));
    let long = format!("X: {}", "a".repeat(33 << 10));
    let target = format!("GET /cm/{} HTTP/1.1", "a".repeat(33 << 10));
    for (name, bytes, status) in [
        ("too many", head(GET, &all), 431),
        ("too long", head(GET, &[HOST, &long]), 431),
        ("too long a target", head(&target, &[HOST]), 414),
    ] {
        refused(&scene, name, &bytes, status, "request");
    }
}

#[test]
fn everything_else_of_a_request_passes_as_it_came() {
    let scene = scene();
    let fields = [
        "Accept-Encoding: gzip, br;q=0.5",
        "Range: bytes=0-1",
        "If-None-Match: \"a\", W/\"b\"",
        "If-Range: \"a\"",
        "Authorization: Bearer abc",
        "Cookie: a=1; b=2",
        "Cache-Control: no-cache",
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
        "User-Agent: bank/1",
        "Content-Encoding: gzip",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
        "X-Seq: 1",
        "X-Seq: 2, 3",
    ];
    let lines = [&[HOST, CLOSE][..], &fields].concat();
    let seen = scene.forwarded("fields", &head(GET, &lines));
    for field in fields {
        let (name, _) = field.split_once(": ").unwrap();
        let name = name.to_lowercase();
        let sent: Vec<_> = fields
            .iter()
            .filter_map(|line| line.split_once(": "))
            .filter(|(found, _)| found.eq_ignore_ascii_case(&name))
            .map(|(_, value)| value)
            .collect();
        assert_eq!(values(&seen, &name), sent);
    }
    // Nothing of ours but what is documented.
    assert_eq!(seen.head.len(), 1 + fields.len() + 3, "{:?}", seen.head);
}

/// Each clause has its test: a test that was renamed is missed.
#[test]
fn every_test_that_the_table_of_clauses_names_is_there() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let tests: String = ["tests/proxy", "tests/proxy_http"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| text(&entry.unwrap().path()))
        .collect();
    let docs = text(&root.join("docs/proxy.md"));
    let (_, table) = docs.split_once("| clause | asks | here | test |").unwrap();
    let rows: Vec<_> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() > 50, "{}", rows.len());
    let mut last = Vec::new();
    for row in rows {
        let cell = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let named: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(
            !named.is_empty() || (cell.contains("the same") && !last.is_empty()),
            "{row}"
        );
        for name in &named {
            assert!(tests.contains(&format!("fn {name}()")), "{name}: {row}");
        }
        last = named;
    }
}
