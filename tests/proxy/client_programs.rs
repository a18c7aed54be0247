//! Applications call the hub through the proxy after a change of one base URL: curl, Python's requests, Node's fetch
//! and Java's HttpClient, to our hub and to nginx.

use std::process::Command;

use crate::common::applications::{ASKED, came_back, clients, output};
use crate::common::bank::Bank;
use crate::common::hub::answer::AFTER_AUTH;
use crate::common::hub::{Hub, HubOptions, SeenRequest};
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::proxy::{Ports, Proxy, TOKEN};
use serde_json::Value;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

struct Scene {
    _bank: Bank,
    hub: Hub,
    proxy: Proxy,
    ports: Ports,
}

fn scene(alpn: &[&[u8]]) -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = HubOptions::of(&bank.framework, &NAMES);
    options.alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    Scene {
        _bank: bank,
        hub,
        proxy,
        ports,
    }
}

/// What the hub must have been asked by a client.
fn asked(name: &str, seen: &[SeenRequest]) {
    // Seven calls, seven requests: no redirect was followed.
    assert_eq!(seen.len(), 7, "{name}: {seen:#?}");
    let asked: Vec<_> = seen
        .iter()
        .map(|request| format!("{} {}", request.method, request.path_and_query))
        .collect();
    assert_eq!(asked, ASKED, "{name}");
    assert_eq!(seen[2].body, "a=1&b=x+y", "{name}");
    for request in seen {
        assert!(request.client_subject.is_some(), "{name}: {request:?}");
        for header in [
            "x-hsm-mtls-caller",
            "connection",
            "upgrade",
            "http2-settings",
            "te",
        ] {
            assert!(!request.headers.contains_key(header), "{name}: {request:?}");
        }
        let text = format!("{request:?}");
        assert!(!text.contains(TOKEN), "{name}: {text}");
    }
}

fn all_clients(scene: &Scene) {
    let base = format!("http://{}/{TOKEN}", scene.ports.tcp);
    let mut before = 0;
    for (name, mut command) in clients() {
        let text = output(command.arg(&base));
        let results: Value = serde_json::from_str(&text).unwrap();
        let seen = scene.hub.seen();
        came_back(name, &results);
        asked(name, &seen[before..]);
        before = seen.len();
    }
    let log = std::fs::read_to_string(scene.proxy.socket().with_file_name("log/access.jsonl"));
    assert!(!log.unwrap().contains(TOKEN));
    assert!(!scene.proxy.log().contains(TOKEN));
}

#[test]
fn python_node_and_java_call_a_hub_that_speaks_http_1() {
    all_clients(&scene(&[b"http/1.1"]));
}

#[test]
fn python_node_and_java_call_a_hub_that_speaks_http_2() {
    let scene = scene(&[b"h2", b"http/1.1"]);
    all_clients(&scene);
    let connections = scene.hub.connections();
    assert!(!connections.is_empty());
    for connection in connections {
        assert_eq!(connection.alpn.as_deref(), Some(&b"h2"[..]));
    }
    // HTTP/2 carries them side by side.
    assert!(
        scene
            .hub
            .seen()
            .iter()
            .all(|request| request.headers.get("host").is_none())
    );
}

fn curl(proxy: &Proxy, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--unix-socket",
        ])
        .arg(proxy.socket())
        .args(arguments);
    output(&mut command)
}

#[test]
fn curl_calls_over_the_unix_socket_and_over_tcp() {
    let scene = scene(&[b"http/1.1"]);
    let hello = curl(&scene.proxy, &["http://localhost/cm/hello-mtls"]);
    let hello: Value = serde_json::from_str(&hello).unwrap();
    assert_eq!(hello["mtlsStatus"], "established");
    // -L follows redirects; the proxy does not, and curl is not led anywhere.
    let auth = curl(&scene.proxy, &["-i", "http://localhost/hh/auth?a=b"]);
    assert!(auth.starts_with("HTTP/1.1 303 "), "{auth}");
    assert!(
        auth.contains(&format!("location: {AFTER_AUTH}\r\n")),
        "{auth}"
    );
    let head = curl(&scene.proxy, &["-I", "http://localhost/cm/nothing"]);
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    // A body of more than a kilobyte: curl asks first whether it is welcome.
    let body = "x".repeat(5000);
    let echo = curl(
        &scene.proxy,
        &[
            "-X",
            "PATCH",
            "-H",
            "Expect: 100-continue",
            "-d",
            &body,
            "http://localhost/cm/consents/1",
        ],
    );
    assert_eq!(echo, body);

    let over_tcp = |arguments: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--max-time",
            "30",
            "-w",
            "%{http_code}",
            "-o",
            "/dev/null",
        ]);
        command.args(arguments);
        output(command.arg(format!("http://{}{path}", scene.ports.tcp)))
    };
    let header = format!("x-hsm-mtls-caller: {TOKEN}");
    assert_eq!(over_tcp(&["-H", &header], "/cm/hello-mtls"), "200");
    assert_eq!(over_tcp(&[], &format!("/{TOKEN}/cm/hello-mtls")), "200");
    assert_eq!(over_tcp(&[], "/cm/hello-mtls"), "401");
}

#[test]
fn a_listener_of_one_service_takes_no_prefix() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
    bank.hub_at(hub.port());
    let own = "[[proxy.listener]]\nunix = \"hh.sock\"\nupstream = \"hh\"";
    let ports = Proxy::configure(&mut bank, "", own);
    let _proxy = Proxy::start(&bank, ports);
    let answer = crate::common::proxy::exchange(
        &bank.path("hh.sock"),
        b"GET /auth?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with(b"HTTP/1.1 303 "));
    let seen = hub.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path_and_query, "/auth?a=b");
    // HH is at 127.0.0.1 of this bank.
    assert_eq!(seen[0].headers["host"], format!("127.0.0.1:{}", hub.port()));
}

#[test]
fn nginx_is_called_too() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let nginx = Nginx::start(&NginxOptions::of(&bank.framework, &NAMES));
    bank.hub_at(nginx.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    for (method, path, expected) in [
        ("GET", "/cm/hello-mtls", 200),
        ("POST", "/hh/hello-mtls", 200),
        ("PATCH", "/cm/nothing", 404),
    ] {
        let answer = proxy.raw(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            )
            .as_bytes(),
        );
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(crate::common::proxy::status(&answer), expected, "{answer}");
        // nginx's own words, whatever they say.
        assert_eq!(answer.matches("server: nginx").count(), 1, "{answer}");
    }
    // More than nginx takes: its refusal is handed on.
    let body = "x".repeat(3 << 20);
    let answer = proxy.raw(
        format!(
            "POST /cm/hello-mtls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    assert!(
        answer.starts_with(b"HTTP/1.1 413 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    for access in nginx.wait_for_accesses(4) {
        assert_eq!(access.verify, "SUCCESS");
    }
}

#[test]
fn curl_python_node_and_java_call_nginx() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let nginx = Nginx::start(&NginxOptions::of(&bank.framework, &NAMES));
    bank.hub_at(nginx.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let hello = curl(&proxy, &["http://localhost/cm/hello-mtls"]);
    let hello: Value = serde_json::from_str(&hello).unwrap();
    assert_eq!(hello["mtlsStatus"], "established");
    let base = format!("http://{}/{TOKEN}", ports.tcp);
    for (name, mut command) in clients() {
        let text = output(command.arg(&base));
        came_back(name, &serde_json::from_str(&text).unwrap());
    }
    // nginx writes its line after the answer; its order is that of the calls, which are made one by one.
    let accesses = nginx.wait_for_accesses(1 + 3 * ASKED.len());
    assert_eq!(accesses.len(), 1 + 3 * ASKED.len(), "{accesses:#?}");
    for (at, access) in accesses.iter().enumerate() {
        let asked = match at {
            0 => "GET /hello-mtls",
            at => ASKED[(at - 1) % ASKED.len()],
        };
        assert_eq!(access.request, format!("{asked} HTTP/1.1"));
        assert_eq!(access.verify, "SUCCESS", "{access:?}");
    }
}
