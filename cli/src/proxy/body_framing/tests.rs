//! Bodies that end where hyper ends them, and those that are refused.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;

/// How many bytes belong to the body, if it comes to its end.
fn length(bytes: &[u8], piece: usize) -> Option<usize> {
    let mut framing = BodyFraming::chunked();
    let mut all = 0;
    for piece in bytes.chunks(piece) {
        all += framing.advance(piece);
    }
    framing.is_over().then_some(all)
}

const NEXT: &str = "GET / HTTP/1.1\r\n\r\n";

#[test]
fn a_body_ends_where_it_ends_however_it_comes() {
    for body in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "2\r\n{}\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n00000000000000000a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
        "2;a=\"b;c\";\tx\r\n{}\r\n0;y\r\n\r\n",
        "2 \t;a\r\n{}\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n",
        "2\r\n\r\n\r\n0\r\nx:\r\n\r\n",
    ] {
        let whole = format!("{body}{NEXT}");
        for piece in [1, 2, 3, 7, whole.len()] {
            assert_eq!(
                length(whole.as_bytes(), piece),
                Some(body.len()),
                "{body:?}"
            );
        }
    }
    let mut sized = BodyFraming::Length(5);
    assert_eq!((sized.advance(b"123"), sized.is_over()), (3, false));
    assert_eq!((sized.advance(b"45GET"), sized.is_over()), (2, true));
    assert_eq!(sized.advance(b"GET"), 0);
}

#[test]
fn what_is_no_chunk_is_never_over() {
    let many = |text: &str| text.repeat(MAX_EXTENSIONS);
    for body in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "0x0\r\n\r\n",
        " 0\r\n\r\n",
        "0 \r\n\r\n",
        "0\n\r\n",
        "0\r\r\n\r\n",
        "0\r\n\n",
        "0\r\n\r\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{\r\n}0\r\n\r\n",
        "0;a\nb\r\n\r\n",
        "0;a\rb\r\n\r\n",
        "0;\0\r\n\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx: y\rz\r\n\r\n",
        "0\r\nx: y\r\n z\r\n\r\n",
        "10000000000000000\r\n\r\n\r\n",
        &format!("0;{}\r\n\r\n", many("a")),
        &format!("0\r\n{}\r\n", many("a:\r\n")),
    ] {
        for piece in [1, 5, body.len()] {
            assert_eq!(length(body.as_bytes(), piece), None, "{body:?}");
        }
    }
}

/// Whether hyper reads a request with this body to its end, without a byte more.
async fn hyper_reads(body: &[u8]) -> bool {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let service = service_fn(|request: Request<Incoming>| async move {
        let mut response = Response::new(Empty::<Bytes>::new());
        if request.into_body().collect().await.is_err() {
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
        }
        Ok::<_, Infallible>(response)
    });
    let serving = tokio::spawn(
        http1::Builder::new()
            .max_headers(4096 / 3)
            .max_header_size(4096)
            .serve_connection(TokioIo::new(server), service),
    );
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head).await.unwrap();
    client.write_all(body).await.unwrap();
    let mut line = [0; 12];
    let read = timeout(Duration::from_secs(5), client.read_exact(&mut line)).await;
    serving.abort();
    read.is_ok_and(|read| read.is_ok()) && &line == b"HTTP/1.1 200"
}

/// Bodies made of the pieces of good and bad ones in thousands of orders: where the end is found here, hyper finds
/// it too.
#[tokio::test]
async fn hyper_ends_a_body_at_the_same_byte() {
    let pieces = [
        "0",
        "1",
        "a",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        "{",
        "x:",
        "y",
        ";",
        " ",
        "\t",
        "\"",
        "0\r\n",
        "1\r\nz\r\n",
        "0\r\n\r\n",
        "X: y\r\n",
        "2;e\r\n",
    ];
    let mut seed = 1_u64;
    let mut random = || {
        // The constants of Knuth's MMIX.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let mut ended = 0;
    for _ in 0..60_000 {
        let count = 1 + random() % 9;
        let body: String = (0..count)
            .map(|_| pieces[random() % pieces.len()])
            .collect();
        if let Some(end) = length(body.as_bytes(), body.len()) {
            ended += 1;
            assert!(
                hyper_reads(&body.as_bytes()[..end]).await,
                "{body:?} at {end}"
            );
            assert_eq!(length(body.as_bytes(), 1), Some(end), "{body:?}");
        }
    }
    assert!(ended > 1000, "{ended}");
}
