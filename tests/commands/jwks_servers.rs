//! `jwks check` against servers that do not behave, cannot be trusted or are not there: each is told apart, in time.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use super::jwks_check::{check, ours};
use crate::common::misbehaving::certificate::authority;
use crate::common::ports;
use crate::common::published_keys::{bank_with_sig4, failed, key_set, outcome};
use crate::common::raw_hub::{RawHub, Then};

fn answer(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {fields}\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[test]
fn each_misbehaving_server_is_told_apart() {
    let mut bank = bank_with_sig4("");
    bank.configure(|settings| {
        settings.hub_lines = "connect_timeout = \"1s\"\nresponse_timeout = \"2s\"".to_owned();
    });
    let server = RawHub::start_public(&bank.framework);
    let url = format!("https://localhost:{}/application.jwks", server.port());
    let good = key_set(&[&ours(&bank)]);
    let elsewhere = format!(
        "302 Found\r\nlocation: https://localhost:{}/new",
        server.port()
    );
    let slow = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned();
    let huge = format!("{{{}", " ".repeat(300 << 10));
    for (bytes, then, words) in [
        (
            answer("200 OK", "<!doctype html><p>Sign in"),
            Then::Next,
            "HTML",
        ),
        (answer("200 OK", ""), Then::Next, "it is empty"),
        (answer("200 OK", "[]"), Then::Next, "no JSON object"),
        (answer("200 OK", &huge), Then::Next, "longer than 256 KiB"),
        (answer("404 Not Found", &good), Then::Next, "status 404"),
        (answer("503 Busy", &good), Then::Next, "status 503"),
        (
            answer(&elsewhere, &good),
            Then::Next,
            "/new; it was not followed",
        ),
        (slow.clone(), Then::Next, "longer than 3000 ms"),
        (slow, Then::Cut, "in the middle of its answer"),
        (
            "SSH-2.0-x\r\n\r\n".to_owned(),
            Then::End,
            "no JWKS from localhost",
        ),
    ] {
        server.answers(bytes, then);
        let begun = Instant::now();
        let report = check(&bank, &["--url", &url]).expect(5).json();
        assert!(begun.elapsed() < Duration::from_secs(30), "{words}");
        assert_eq!(failed(&report), ["fetch"], "{report:#}");
        let detail = report["steps"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{words}: {detail}");
        assert_eq!(outcome(&report, "kid"), "not-reached");
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "{words}: {requests:?}");
        assert_eq!(requests[0].head[0], "GET /application.jwks HTTP/1.1");
    }
    // The same server, with a set from a cache that may keep it for a day.
    let fields = "200 OK\r\nage: 120\r\ncache-control: public, max-age=86400";
    server.answers(answer(fields, &good), Then::Next);
    let report = check(&bank, &["--url", &url]).expect(1).json();
    assert_eq!(failed(&report), ["published"], "{report:#}");
    assert_eq!(outcome(&report, "caches"), "note");
    assert_eq!(report["answer"]["age"], 120);
    assert_eq!(report["answer"]["max_age"], 86400);
}

#[test]
fn a_server_that_cannot_be_trusted_or_reached_is_told_by_its_stage() {
    let bank = bank_with_sig4("");
    let server = RawHub::start_public(&bank.framework);
    let url = format!("https://localhost:{}/a", server.port());
    // Other roots than those of the server's certificate.
    let strange = authority("Another CA").0;
    let roots = bank.write("strange.pem", &strange);
    let arguments = ["jwks", "check", "--json", "--url", &url];
    let run = bank.run_with(&arguments, &[("SSL_CERT_FILE", &roots)]);
    let detail = run.expect(5).json()["steps"][0]["detail"].to_string();
    assert!(
        detail.contains("does not chain to a trusted root (tls)"),
        "{detail}"
    );
    assert_eq!(server.requests(), []);
    let nobody = format!("https://127.0.0.1:{}/a", ports::unused());
    for (url, stage) in [
        (nobody.as_str(), "(tcp)"),
        ("https://no.invalid/a", "(dns)"),
    ] {
        let report = check(&bank, &["--url", url]).expect(5).json();
        let detail = report["steps"][0]["detail"].to_string();
        assert!(detail.contains(stage), "{detail}");
    }
    for url in ["http://localhost/a", "localhost", "https://"] {
        check(&bank, &["--url", url]).expect(2);
    }
}

/// The handshake is part of the deadline.
#[test]
fn a_server_that_accepts_and_says_nothing_is_not_waited_for() {
    let mut bank = bank_with_sig4("");
    bank.configure(|settings| {
        settings.hub_lines = "connect_timeout = \"1s\"\nresponse_timeout = \"2s\"".to_owned();
    });
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("https://127.0.0.1:{port}/a");
    let begun = Instant::now();
    let report = check(&bank, &["--url", &url]).expect(5).json();
    assert!(begun.elapsed() < Duration::from_secs(30));
    let detail = report["steps"][0]["detail"].to_string();
    assert!(
        detail.contains("TLS handshake") && detail.contains("(tls)"),
        "{detail}"
    );
}
