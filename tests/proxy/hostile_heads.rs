//! Heads that never end, that are too long for who sends them, and TLS on a plain listener: each is answered in time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::hostile_callers::{REQUEST, scene};
use crate::common::poll::until;
use crate::common::proxy::{TOKEN, body, exchange, status};

/// What a connection gets after it wrote these bytes, piece by piece, until it is closed.
fn until_closed(address: SocketAddr, first: &[u8], then: &[u8], within: Duration) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let started = Instant::now();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let mut piece = first;
    while started.elapsed() < within {
        // It may have been closed.
        let _ = stream.write_all(piece);
        piece = then;
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8(answer).unwrap(),
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) if !answer.is_empty() => return String::from_utf8(answer).unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is open for ever: {}", String::from_utf8_lossy(&answer));
}

/// One deadline, from accept(2) to the end of the first head, whatever comes meanwhile.
#[test]
fn a_head_has_one_deadline_whatever_comes() {
    let scene = scene("head_timeout = \"500ms\"\nkeep_alive = \"1m\"", "");
    let within = Duration::from_millis(2500);
    for (name, first, then) in [
        ("nothing", &b""[..], &b""[..]),
        ("an empty line", b"\r\n", b""),
        ("empty lines", b"\r\n", b"\r\n"),
        (
            "an empty line and half a head",
            b"\r\nGET /cm/a HTTP/1.1\r\n",
            b"",
        ),
        ("a head that goes on", b"GET /cm/a HTTP/1.1\r\nX: ", b"x"),
        ("fields that go on", b"GET /cm/a HTTP/1.1\r\n", b"X: y\r\n"),
    ] {
        let answer = until_closed(scene.ports.tcp, first, then, within);
        if name != "nothing" {
            assert_eq!(status(&answer), 408, "{name}: {answer}");
            assert_eq!(body(&answer)["stage"], "deadline-head", "{name}");
        }
    }
    // Operations wait for 10 s.
    let within = Duration::from_secs(13);
    let answer = until_closed(scene.ports.operations, b"\r\n", b"\r\n", within);
    assert_eq!(status(&answer), 408, "{answer}");
    // The same for the heads that follow, of which the deadline begins with their first byte.
    for (name, first) in [
        (
            "no body",
            "GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        (
            "chunks",
            "PATCH /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        for half in ["\r\n", "\r\nGET /cm/a", "GET /cm/a HTTP/1.1\r\n"] {
            let started = Instant::now();
            let bytes = format!("{first}{half}");
            let answer = String::from_utf8(exchange(&scene.proxy.socket(), bytes.as_bytes()));
            let answer = answer.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200 "),
                "{name} {half:?}: {answer}"
            );
            assert!(
                answer.contains("HTTP/1.1 408 "),
                "{name} {half:?}: {answer}"
            );
            assert!(
                started.elapsed() < Duration::from_secs(3),
                "{name} {half:?}"
            );
        }
    }
}

/// `https://` by mistake: curl is told at once, and so is the log.
#[test]
fn tls_is_answered_at_once_on_every_plain_listener() {
    let scene = scene("", "");
    for address in [scene.ports.tcp, scene.ports.operations] {
        let started = Instant::now();
        let done = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--max-time", "8"])
            .arg(format!("https://{address}/healthz"))
            .output()
            .unwrap();
        // 35: "SSL connect error", at the first byte of the answer.
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(35), "{said}");
        assert!(started.elapsed() < Duration::from_secs(3), "{said}");
        // The hello of a client, as far as one segment of TCP holds it, byte by byte.
        let hello = [
            0x16, 0x03, 0x01, 0x06, 0x00, 0x01, 0x00, 0x05, 0xfc, 0x03, 0x03,
        ];
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in hello {
            let _ = stream.write_all(&[byte]);
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(status(&answer), 400, "{answer}");
        assert!(answer.contains("this is TLS"), "{answer}");
        let place = format!("place={address}");
        until("the log says so", || {
            let log = scene.proxy.log();
            log.lines()
                .any(|line| line.contains("TLS") && line.contains(&place))
        });
    }
}

/// Who has not shown the token sends a short head, in which the token has to come.
#[test]
fn a_head_may_be_long_once_the_caller_is_known() {
    let scene = scene("", "");
    let said = |bytes: String| {
        let mut stream = TcpStream::connect(scene.ports.tcp).unwrap();
        let _ = stream.write_all(bytes.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let long = format!("X-Long: {}\r\n", "a".repeat(20 << 10));
    let token = format!("X-HSM-MTLS-Caller: {TOKEN}\r\n");
    let in_path = REQUEST.replace("/cm/", &format!("/{TOKEN}/cm/"));
    for (name, bytes) in [
        ("first", format!("{REQUEST}{token}{long}\r\n")),
        ("in the path", format!("{in_path}{long}\r\n")),
    ] {
        assert_eq!(status(&said(bytes)), 200, "{name}");
    }
    for (name, bytes) in [
        ("none", format!("{REQUEST}{long}\r\n")),
        (
            "a wrong one",
            format!("{REQUEST}{}{long}\r\n", token.replace("caller", "nobody")),
        ),
        ("an unfinished one", format!("{REQUEST}{long}")),
        ("too late", format!("{REQUEST}{long}{token}\r\n")),
    ] {
        let answer = said(bytes);
        assert_eq!(status(&answer), 401, "{name}: {answer}");
        let problem = body(&answer);
        assert_eq!(problem["stage"], "caller", "{name}");
        assert!(
            problem["hint"].as_str().unwrap().contains("first"),
            "{name}"
        );
    }
    // A connection that has shown it keeps its slot, and may put it anywhere.
    let mut stream = TcpStream::connect(scene.ports.tcp).unwrap();
    let kept = REQUEST.replace("Connection: close\r\n", "");
    write!(stream, "{kept}{token}\r\n").unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
    write!(stream, "{REQUEST}{long}{token}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
}
