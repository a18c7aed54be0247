//! What goes through the proxy is exactly one well-formed request: the hub of this test keeps the
//! bytes. Path and query are those that came.

use crate::common::raw_requests::{CLOSE, GET, HOST, POST, head, names, scene};

#[test]
fn what_goes_through_is_one_well_formed_request() {
    let scene = scene();
    let plain = scene.forwarded("plain", &head(GET, &[HOST, CLOSE, "Accept: a/b"]));
    assert_eq!(plain.head[0], "GET /consents HTTP/1.1");
    assert_eq!(
        names(&plain),
        ["accept", "host", "via", "x-fapi-interaction-id"]
    );

    let absolute = scene.forwarded(
        "an absolute URI of ours",
        &head("GET http://localhost/cm/a?b=c HTTP/1.1", &[HOST, CLOSE]),
    );
    assert_eq!(absolute.head[0], "GET /a?b=c HTTP/1.1");
    let hubs = format!("Host: {}", scene.host);
    scene.forwarded("the hub's own name", &head(GET, &[&hubs, CLOSE]));

    let hop_by_hop = [
        HOST,
        "Connection: close, X-Mine, keep-alive, X-Fapi-Interaction-Id",
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
        ["host", "via", "x-fapi-interaction-id", "x-kept", "x-kept"]
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
        ["content-length", "host", "via", "x-fapi-interaction-id"]
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
