//! Heads that are accepted, and those that are refused with their status.

use super::*;

fn status(head: &str) -> u16 {
    match check(&mut head.as_bytes().to_vec()) {
        Ok(_) => 0,
        Err(problem) => {
            assert!(problem.closes, "{head:?}");
            problem.status.as_u16()
        }
    }
}

#[test]
fn each_syntax_error_has_its_status() {
    for good in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "get * HTTP/1.9\r\n\r\n",
        "X-!~ http://a/?b HTTP/1.1\r\nA:\r\nB: \t c\u{e9}\td \r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
    ] {
        assert_eq!(status(good), 0, "{good:?}");
    }
    for (lines, expected) in [
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        (" GET / HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /a\0 HTTP/1.1", 400),
        ("GET / HTTP/11", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/2.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.1\r\nA : b", 400),
        ("GET / HTTP/1.1\r\n A: b", 400),
        ("GET / HTTP/1.1\r\nA: b\r\n\tc", 400),
        ("GET / HTTP/1.1\r\nA", 400),
        ("GET / HTTP/1.1\r\n: b", 400),
        ("GET / HTTP/1.1\r\nA: b\rc", 400),
        ("GET / HTTP/1.1\r\nA: b\0", 400),
        ("GET / HTTP/1.1\r\nA: b\u{7f}", 400),
        (
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
            400,
        ),
        ("GET / HTTP/1.1\nA: b", 400),
        ("GET / HTTP/1.1\r\nA: b\nC: d", 400),
        ("GET / HTTP/1.1\r\nA: b\r", 400),
        ("GET / HTTP/1.1\r", 400),
        (
            "GET / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1",
            400,
        ),
        ("GET / HTTP/1.1\r\nContent-Length: 1, 1", 400),
        (
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            400,
        ),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked,", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding:", 400),
        ("GET / HTTP/1.1\r\nContent-Length: -1", 400),
        ("GET / HTTP/1.1\r\nContent-Length:", 400),
        (
            "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length: 18446744073709551615",
            413,
        ),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip", 400),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x",
            400,
        ),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
    ] {
        assert_eq!(status(&format!("{lines}\r\n\r\n")), expected, "{lines:?}");
    }
}

#[test]
fn a_later_minor_version_is_replaced_by_1() {
    let mut head = b"GET /1.2 HTTP/1.2\r\nHost: a\r\n\r\n".to_vec();
    check(&mut head).unwrap();
    assert_eq!(head, b"GET /1.2 HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn a_head_ends_with_an_empty_line_of_cr_lf() {
    let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\nGET";
    for searched in 0..head.len() - 4 {
        assert_eq!(end_of_head(head, searched).unwrap(), Some(head.len() - 3));
    }
    assert_eq!(end_of_head(&head[..head.len() - 4], 0).unwrap(), None);
    for bad in ["\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nA: b\r\n\n"] {
        assert!(end_of_head(bad.as_bytes(), 0).is_err(), "{bad:?}");
    }
}
