//! A hub that responds before it has read the request: its response reaches the application, whatever the hub does
//! with the rest of the body, and in whatever language the application is written.

use std::path::Path;
use std::process::Command;

use crate::common::applications::output;
use crate::common::bank::Bank;
use crate::common::blocking_client::{SIZES, framings, places};
use crate::common::early_hub::{EarlyHub, Then};
use crate::common::hub::{Hub, HubOptions};
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::ports;
use crate::common::proxy::{Ports, Proxy, TOKEN};
use http::StatusCode;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
const H2: [&[u8]; 2] = [b"h2", b"http/1.1"];

fn proxy_to(bank: &mut Bank, port: u16, lines: &str) -> (Proxy, Ports) {
    bank.hub_at(port);
    let ports = Proxy::configure(bank, lines, "");
    (Proxy::start(bank, ports), ports)
}

/// Each size, over both kinds of socket, framed in both ways, from who writes all before reading.
fn reaches(
    proxy: &Proxy,
    ports: Ports,
    path: &str,
    expected: [u16; 2],
    sizes: &[usize],
    length: usize,
) {
    for (place, prefix) in places(proxy, ports) {
        for size in sizes {
            for ((end, body), expected) in framings(*size).into_iter().zip(expected) {
                let what = format!("{place:?} {path} {size} {end:?}");
                let mut wire = place.connect();
                let head = format!("POST {prefix}{path} HTTP/1.1\r\nHost: localhost\r\n{end}");
                let answer = wire
                    .send(head.as_bytes())
                    .and_then(|()| wire.send(&body))
                    .and_then(|()| wire.answer())
                    .unwrap_or_else(|error| panic!("{what}: {error}\n{}", proxy.log()));
                let told = String::from_utf8_lossy(&answer.body[..answer.body.len().min(600)]);
                assert_eq!(answer.status, expected, "{what}: {told}\n{}", proxy.log());
                assert!(answer.body.len() >= length, "{what}: {}", answer.body.len());
                // Nothing ends for the application.
                wire.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .unwrap();
                let next = wire
                    .answer()
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(matches!(next.status, 401 | 404), "{what}: {next:?}");
            }
        }
    }
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}

#[test]
fn an_early_response_reaches_a_blocking_client() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    for alpn in [&H2[..], &H2[1..]] {
        for status in [StatusCode::OK, StatusCode::UNAUTHORIZED] {
            let mut options = HubOptions::of(&bank.framework, &NAMES);
            options.alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            // Who closes with unread input has nothing of a longer answer arrive.
            let length = if alpn.len() > 1 { 300 << 10 } else { 0 };
            options.early = Some((status, length));
            let hub = Hub::start_in_thread(options);
            let (proxy, ports) = proxy_to(&mut bank, hub.port(), "");
            reaches(
                &proxy,
                ports,
                "/cm/pay",
                [status.as_u16(); 2],
                &SIZES,
                length,
            );
        }
    }
}

#[test]
fn an_early_response_arrives_whatever_happens_to_the_body() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    for (status, length, then, sizes) in [
        (413, 200, Then::Closes, &SIZES[..]),
        (200, 200, Then::ReadsAll, &SIZES[3..]),
        (401, 200, Then::ReadsAll, &SIZES[3..]),
        (503, 200, Then::ReadsNothing, &SIZES[3..]),
        (503, 1 << 20, Then::ReadsNothing, &SIZES[4..]),
        (202, 200, Then::ReadsNothing, &SIZES[4..]),
    ] {
        let hub = EarlyHub::start(&bank.framework, status, length, then);
        // A hub that reads nothing more answers no second request either: each gets a connection of its own.
        let lines = "warm_connections = 0\nmax_age = \"1ms\"";
        let (proxy, ports) = proxy_to(&mut bank, hub.port(), lines);
        reaches(&proxy, ports, "/cm/pay", [status; 2], sizes, length);
    }
}

/// nginx takes 1 MiB unless it is told otherwise; of what has no length, it has not read so much when it
/// answers.
#[test]
fn a_413_of_nginx_arrives() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    for http2 in [false, true] {
        let mut options = NginxOptions::of(&bank.framework, &NAMES);
        options.http2 = http2;
        let hub = Nginx::start(&options);
        let (proxy, ports) = proxy_to(&mut bank, hub.port(), "");
        reaches(
            &proxy,
            ports,
            "/hh/auth/1/doConfirm",
            [303; 2],
            &SIZES[..2],
            0,
        );
        reaches(
            &proxy,
            ports,
            "/hh/auth/1/doConfirm",
            [413, 303],
            &SIZES[2..],
            100,
        );
        let seen = hub.wait_for_accesses(20);
        let protocol = if http2 { "HTTP/2.0" } else { "HTTP/1.1" };
        assert!(
            seen.iter().all(|access| access.request.ends_with(protocol)),
            "{seen:#?}"
        );
    }
}

/// Our own client reads the answer also where its body is not taken.
#[test]
fn request_prints_an_early_response() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let body = bank.path("body");
    let data = format!("@{}", body.display());
    let posts = |bank: &Bank, path: &str, status: &str| {
        for size in SIZES.into_iter().skip(2) {
            std::fs::write(&body, vec![b'a'; size]).unwrap();
            let run = bank.run(&["request", "POST", path, "-i", "-d", &data]);
            let said = format!("HTTP/1.1 {status}");
            assert!(
                run.stdout.starts_with(&said),
                "{size}: {} {}",
                run.stdout,
                run.stderr
            );
        }
    };
    let nginx = Nginx::start(&NginxOptions::of(&bank.framework, &NAMES));
    bank.hub_at(nginx.port());
    posts(&bank, "hh:/auth/1/doConfirm", "413");
    for (length, then) in [(200, Then::Closes), (200, Then::ReadsNothing)] {
        let hub = EarlyHub::start(&bank.framework, 401, length, then);
        bank.hub_at(hub.port());
        posts(&bank, "cm:/pay", "401");
    }
}

/// Programs as they are written, of whom some go on writing when they are answered, and some stop.
#[test]
fn python_node_java_and_curl_read_early_responses() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let closed = ports::unused();
    let mut options = HubOptions::of(&bank.framework, &NAMES);
    options.alpn = H2.map(<[u8]>::to_vec).into();
    options.early = Some((StatusCode::FORBIDDEN, 300 << 10));
    let hub = Hub::start_in_thread(options);
    let sizes = SIZES.map(|size| size.to_string());
    let reads = Hub::start_in_thread(HubOptions {
        alpn: H2.map(<[u8]>::to_vec).into(),
        ..HubOptions::of(&bank.framework, &NAMES)
    });
    for (port, lines, asks) in [
        (hub.port(), "", "/nowhere=404 /cm/pay=403"),
        (reads.port(), "max_body_mib = 1", "/cm/pay=413"),
        (closed, "warm_connections = 0", "/cm/pay=502"),
    ] {
        let (proxy, ports) = proxy_to(&mut bank, port, lines);
        let sizes = if asks.ends_with("413") {
            &sizes[2..]
        } else {
            &sizes[..]
        };
        let tcp = format!("http://{}/{TOKEN}", ports.tcp);
        let unix = format!("unix:{}", proxy.socket().display());
        for (program, file, bases) in [
            ("python3", "early_answers.py", &[&tcp, &unix][..]),
            ("node", "early_answers.mjs", &[&tcp, &unix]),
            ("java", "EarlyAnswers.java", &[&tcp]),
            ("/bin/sh", "early_answers.sh", &[&tcp, &unix]),
        ] {
            for base in bases {
                let folder =
                    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/clients");
                let mut command = Command::new(program);
                let calls = command
                    .arg(folder.join(file))
                    .arg(base)
                    .arg(asks)
                    .args(sizes);
                let told = output(calls);
                let expected: Vec<_> = asks
                    .split(' ')
                    .flat_map(|ask| sizes.iter().map(move |size| (ask, size)))
                    .flat_map(|(ask, size)| {
                        let (path, status) = ask.split_once('=').unwrap();
                        ["fixed", "chunked"].map(|how| format!("{path} {size} {how} {status}"))
                    })
                    .collect();
                let told: Vec<_> = told.lines().collect();
                assert_eq!(told, expected, "{program} {base}\n{}", proxy.log());
            }
        }
    }
}
