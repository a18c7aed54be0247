//! What operators see: health, readiness, metrics and the access log; and that connections are used
//! again, so that a request pays for no handshake.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::proxy::Proxy;

fn scene(alpn: &[u8], lines: &str) -> (Bank, Hub, Proxy) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.alpn = vec![alpn.to_vec()];
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, lines, "");
    let proxy = Proxy::start(&bank, ports);
    (bank, hub, proxy)
}

#[test]
fn health_readiness_and_metrics_have_a_listener_of_their_own() {
    let (_bank, _hub, proxy) = scene(b"http/1.1", "");
    proxy.warm("cm", 2);
    proxy.warm("hh", 2);
    assert_eq!(proxy.operations("/healthz"), (200, "ok\n".to_owned()));
    let (code, _) = proxy.operations("/readyz");
    assert_eq!(code, 200);
    let ready = proxy.ready();
    assert_eq!(ready["ready"], true, "{ready:#}");
    assert_eq!(ready["token"]["good"], true);
    assert!(ready["certificate"]["days_left"].as_i64().unwrap() > 300);
    for upstream in ready["upstreams"].as_array().unwrap() {
        assert_eq!(upstream["last_handshake"]["good"], true, "{ready:#}");
        let tls = upstream["last_handshake"]["tls"].as_str().unwrap();
        assert!(tls.starts_with("TLSv1.3"), "{tls}");
    }
    assert_eq!(proxy.operations("/cm/consents/1").0, 404);
    // What is for operators is not for applications.
    assert_eq!(proxy.get("/metrics").0, 404);

    for _ in 0..10 {
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
    }
    assert_eq!(proxy.get("/cm/nothing").0, 404);
    let requests = |class| {
        let labels = [("upstream", "cm"), ("status", class)];
        proxy.metric("hsm_mtls_proxy_requests_total", &labels)
    };
    assert_eq!((requests("2xx"), requests("4xx")), (10.0, 1.0));
    let labels = [("upstream", "cm"), ("connection", "warm")];
    let warm = proxy.metric("hsm_mtls_proxy_connections_used_total", &labels);
    assert_eq!(warm, 11.0, "no request waited for a connection");
    let good = [("purpose", "tls13-client-auth"), ("result", "good")];
    until("the signatures were counted", || {
        proxy.metric("hsm_mtls_signature_seconds_count", &good) >= 4.0
    });
    until("the histogram counts", || {
        let labels = [("upstream", "cm")];
        proxy.metric("hsm_mtls_proxy_request_seconds_count", &labels) == 11.0
    });
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_none_of_its_content() {
    let (bank, hub, proxy) = scene(b"http/1.1", "");
    let id = "3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35";
    let secret = "customer-secret";
    let request = format!(
        "PATCH /cm/consents/1?q={secret} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         X-Fapi-Interaction-Id: {id}\r\nAuthorization: Bearer {secret}\r\nContent-Length: {}\r\n\r\n{secret}",
        secret.len()
    );
    let answer = String::from_utf8(proxy.raw(request.as_bytes())).unwrap();
    assert!(
        answer.contains(&format!("x-fapi-interaction-id: {id}")),
        "{answer}"
    );
    proxy.raw(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Fapi-Interaction-Id: 1\r\n\r\n");
    let lines = proxy.accesses(2);
    let line = &lines[0];
    for (field, value) in [
        ("method", "PATCH".into()),
        ("upstream", "cm".into()),
        ("path", "/consents/1".into()),
        ("status", 200.into()),
        ("uid", 0.into()),
        ("bytes_in", secret.len().into()),
        ("bytes_out", secret.len().into()),
        ("interaction_id", id.into()),
    ] {
        let value: serde_json::Value = value;
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert!(line["micros"].as_u64().unwrap() > 0);
    assert!(
        matches!(line["connection"].as_str(), Some("warm" | "new")),
        "{line}"
    );
    assert_eq!(lines[1]["stage"], "route");
    assert_eq!(lines[1]["status"], 404);
    let log = fs::read_to_string(bank.path("log/access.jsonl")).unwrap();
    assert!(!log.contains(secret), "{log}");
    assert!(!proxy.log().contains(secret));
    assert_eq!(hub.seen()[0].headers["x-fapi-interaction-id"], id);

    // logrotate moves the file away and sends SIGHUP.
    fs::rename(bank.path("log/access.jsonl"), bank.path("log/access.old")).unwrap();
    proxy.signal("HUP");
    until("it is opened anew", || {
        bank.path("log/access.jsonl").exists()
    });
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(proxy.accesses(1).len(), 1);
}

/// After warm-up, requests over kept-alive connections cost no signature.
#[test]
fn two_thousand_requests_of_eight_applications_need_no_further_signature() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let (_bank, hub, proxy) = scene(alpn, "warm_connections = 16");
        let warm = if alpn == b"h2" { 1 } else { 16 };
        for upstream in ["cm", "hh"] {
            proxy.warm(upstream, warm);
        }
        // The proxy knows of a connection a moment before the hub has recorded it.
        let both = 2 * warm as usize;
        let before = hub.wait_for_connections_blocking(both).len();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut stream = UnixStream::connect(proxy.socket()).unwrap();
                    let mut answer = [0; 4096];
                    for _ in 0..250 {
                        stream
                            .write_all(b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                            .unwrap();
                        let length = stream.read(&mut answer).unwrap();
                        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
                    }
                });
            }
        });
        let made = hub.connections().len() - before;
        // What eight applications have taken is made up for, so that some are ready.
        let most = if alpn == b"h2" { 0 } else { 8 };
        println!("{made} connections for 2000 requests");
        assert!(made <= most, "{made}");
        assert_eq!(hub.seen().len(), 2000);
        let labels = [("upstream", "cm"), ("connection", "new")];
        let waited = proxy.metric("hsm_mtls_proxy_connections_used_total", &labels);
        assert_eq!(waited, 0.0, "no request waited for a handshake");
    }
}

/// A connection that grows old is replaced before a request needs it.
#[test]
fn connections_are_replaced_before_they_are_old() {
    let (_bank, hub, proxy) = scene(b"http/1.1", "max_age = \"7s\"\nidle_timeout = \"20s\"");
    proxy.warm("cm", 2);
    let first = hub.connections().len();
    until("others stand beside the first", || {
        hub.connections().len() >= first + 2
    });
    proxy.warm("cm", 2);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let labels = [("upstream", "cm"), ("connection", "new")];
    assert_eq!(
        proxy.metric("hsm_mtls_proxy_connections_used_total", &labels),
        0.0
    );
}

/// Whoever starts a service, or reloads it, waits for a word of it: one line each, and no warning.
#[test]
fn readiness_and_reloads_are_logged() {
    let (bank, _hub, proxy) = scene(b"http/1.1", "");
    let lines = |word: &str| -> Vec<String> {
        let log = proxy.log();
        let lines = log.lines().filter(|line| line.contains(word));
        lines.map(str::to_owned).collect()
    };
    until("it is ready", || !lines(" ready ").is_empty());
    let ready = lines(" ready ");
    let socket = proxy.socket().display().to_string();
    let hub = "Consent Manager at https://localhost:";
    for part in [
        "INFO",
        &socket,
        "127.0.0.1:",
        hub,
        crate::common::bank::CLIENT_ID,
        "not_after=",
        "days_left=",
        "object=c3",
    ] {
        assert!(ready[0].contains(part), "{part}: {ready:?}");
    }
    assert_eq!(proxy.log().lines().count(), 1, "{}", proxy.log());
    proxy.signal("HUP");
    until("it is reloaded", || {
        proxy.metric("hsm_mtls_proxy_reloads_total", &[("result", "good")]) == 1.0
    });
    until("it says so", || !lines(" reloaded ").is_empty());
    let log = proxy.log();
    assert!(
        lines(" reloaded ")[0].contains("INFO") && log.lines().count() == 2,
        "{log}"
    );
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    drop(bank);
}
