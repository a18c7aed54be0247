//! A refusal that is sent before the request was read reaches also an application that writes everything first, and
//! one that never stops writing is disconnected.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::blocking_client::{HOST, Place, SIZES, chunked, places, reaches};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::misbehaving::answer::Answer as Gives;
use crate::common::misbehaving::{Behaviour, MisbehavingHub};
use crate::common::poll::until;
use crate::common::ports;
use crate::common::proxy::{Ports, Proxy};
use rustls::version::TLS13;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

struct Scene {
    _bank: Bank,
    hub: Hub,
    proxy: Proxy,
    ports: Ports,
}

fn scene(lines: &str) -> Scene {
    scene_of(lines, &[b"http/1.1"])
}

fn scene_of(lines: &str, protocols: &[&[u8]]) -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = HubOptions::of(&bank.framework, &NAMES);
    options.alpn = protocols.iter().map(|name| name.to_vec()).collect();
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, lines, "");
    let proxy = Proxy::start(&bank, ports);
    Scene {
        _bank: bank,
        hub,
        proxy,
        ports,
    }
}

#[test]
fn who_writes_all_first_reads_why_it_was_refused() {
    let scene = scene("max_body_mib = 1");
    let two = "Host: localhost\r\nHost: localhost\r\n";
    let evil = "Host: evil.example\r\n";
    let cake = "Host: localhost\r\nExpect: cake\r\n";
    let space = "Host: localhost\r\nX : y\r\n";
    let many = format!("{HOST}{}", "X: y\r\n".repeat(6000));
    for (place, prefix) in places(&scene.proxy, scene.ports) {
        for (first, fields, expected) in [
            ("POST {}/nowhere", HOST, 404),
            ("POST {}/cm/pay", evil, 421),
            ("POST {}/cm/pay", cake, 417),
            ("TRACE {}/cm/pay", HOST, 405),
            ("POST {}/cm/pay", two, 400),
            // What is no HTTP for hyper, and too much of it.
            ("POST {}/cm/pay", space, 400),
            ("POST {}/cm/pay", &many, 431),
        ] {
            let first = first.replace("{}", &prefix);
            reaches(&place, &first, fields, expected, &SIZES);
        }
    }
    let tcp = Place::Tcp(scene.ports.tcp);
    reaches(&tcp, "POST /cm/pay", HOST, 401, &SIZES);
    let unix = Place::Unix(scene.proxy.socket());
    reaches(&unix, "CONNECT localhost:443", HOST, 405, &SIZES);
    // Operators have a listener of their own.
    let (_, ready) = scene.proxy.operations("/healthz");
    assert_eq!(ready, "ok\n");
    let operations = Place::Tcp(scene.ports.operations);
    reaches(&operations, "POST /healthz", HOST, 405, &SIZES);
    reaches(&operations, "GET /nowhere", HOST, 404, &SIZES);
    assert!(scene.hub.seen().is_empty());
}

/// A body whose length is not said is found to be too long after the hub was asked.
#[test]
fn a_body_that_is_too_long_is_told_so() {
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let scene = scene_of("max_body_mib = 1", &[protocol]);
        for (place, prefix) in places(&scene.proxy, scene.ports) {
            let pay = format!("POST {prefix}/cm/pay");
            reaches(&place, &pay, HOST, 413, &SIZES[2..]);
        }
    }
}

#[test]
fn a_chunk_that_is_none_and_a_head_without_end_are_told() {
    let scene = scene("");
    for (place, prefix) in places(&scene.proxy, scene.ports) {
        for size in SIZES {
            let rest = vec![b'z'; size];
            let chunks = format!(
                "POST {prefix}/cm/pay HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nno\r\n"
            );
            let answer = place.call(chunks.as_bytes(), &rest).unwrap();
            assert_eq!(answer.status, 400, "{place:?} {size}: {answer:?}");
            let head = format!("GET {prefix}/cm/pay HTTP/1.1\r\n{HOST}X: ");
            let answer = place.call(head.as_bytes(), &rest).unwrap();
            assert_eq!(answer.status, 431, "{place:?} {size}: {answer:?}");
        }
    }
}

#[test]
fn who_was_too_slow_and_goes_on_reads_so() {
    let lines = "head_timeout = \"300ms\"\nbody_timeout = \"300ms\"";
    let scenes = [scene(lines), scene_of(lines, &[b"h2"])];
    for (place, prefix) in scenes
        .iter()
        .flat_map(|scene| places(&scene.proxy, scene.ports))
    {
        for size in SIZES {
            let length = (200_000 + size).min(16 << 20);
            let head =
                format!("POST {prefix}/cm/pay HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n");
            // Within the head, within what is read ahead, and within what is streamed to the hub.
            for sent in [None, Some(2000), Some(200_000)] {
                let mut wire = place.connect();
                wire.send(head.as_bytes()).unwrap();
                if let Some(sent) = sent {
                    wire.send(b"\r\n").unwrap();
                    wire.send(&vec![b'a'; sent]).unwrap();
                }
                wire.until_readable();
                let rest = vec![b'a'; length - sent.unwrap_or(0)];
                let answer = wire.send(&rest).and_then(|()| wire.answer());
                let answer =
                    answer.unwrap_or_else(|error| panic!("{place:?} {sent:?} {size}: {error}"));
                assert_eq!(answer.status, 408, "{place:?} {sent:?} {size}: {answer:?}");
            }
        }
    }
}

#[test]
fn who_writes_all_first_reads_why_the_hub_was_not_asked() {
    // Nobody listens there.
    let closed = ports::unused();
    let mut bank = Bank::new();
    bank.certify("p-256");
    let silent = MisbehavingHub::start(&bank.framework, &TLS13, Behaviour::Answer(Gives::Silence));
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
    for (port, plan, expected) in [
        (closed, "", 502),
        (hub.port(), "fail C_Sign all CKR_DEVICE_REMOVED", 503),
        (silent.port(), "", 504),
    ] {
        bank.hub_at(port);
        bank.configure(|settings| settings.hub_lines = "response_timeout = \"300ms\"".to_owned());
        let lines = "warm_connections = 0\nbody_timeout = \"700ms\"";
        let ports = Proxy::configure(&mut bank, lines, "");
        let chaos = Chaos::between(&mut bank, "");
        let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
        chaos.plan(plan);
        // A hub that reads nothing takes time for each.
        let sizes = if expected == 504 {
            &SIZES[4..]
        } else {
            &SIZES[..]
        };
        for (place, prefix) in places(&proxy, ports) {
            reaches(
                &place,
                &format!("POST {prefix}/cm/pay"),
                HOST,
                expected,
                sizes,
            );
        }
        chaos.plan("");
    }
    assert!(hub.seen().is_empty());
}

/// No 100 (Continue) comes where the body is not wanted, and no second answer where it comes anyway.
#[test]
fn who_asked_before_sending_is_not_told_to_go_on() {
    let scene = scene("max_body_mib = 1");
    for (place, prefix) in places(&scene.proxy, scene.ports) {
        for (path, length, expected) in [
            ("/nowhere", 3, 404),
            ("/nowhere", 3 << 20, 404),
            ("/cm/pay", 3 << 20, 413),
        ] {
            for comes_anyway in [false, true] {
                let mut wire = place.connect();
                let head = format!(
                    "POST {prefix}{path} HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
                );
                wire.send(head.as_bytes()).unwrap();
                if comes_anyway {
                    wire.send(&vec![b'a'; length]).unwrap();
                }
                let answer = wire.answer().unwrap();
                assert_eq!(answer.status, expected, "{answer:?}");
                assert!(answer.closes(), "{answer:?}");
                let mut rest = Vec::new();
                wire.read_to_end(&mut rest).unwrap();
                assert_eq!(rest, b"", "{path} {length}");
            }
        }
    }
    assert!(scene.hub.seen().is_empty());
}

#[test]
fn who_asked_before_sending_is_told_that_there_are_too_many() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = HubOptions::of(&bank.framework, &NAMES);
    options.thinks = Duration::from_secs(3);
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "max_requests = 1", "");
    let proxy = Proxy::start(&bank, ports);
    let place = Place::Unix(proxy.socket());
    let mut first = place.connect();
    let get = format!("GET /cm/consents/1 HTTP/1.1\r\n{HOST}\r\n");
    first.send(get.as_bytes()).unwrap();
    until("the hub is asked", || hub.seen().len() == 1);
    let asks =
        format!("POST /cm/pay HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    let answer = place.call(asks.as_bytes(), b"").unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(first.answer().unwrap().status, 200);
}

/// One that goes on for ever after its answer, fast or byte by byte, is let go, keeps its place from nobody
/// for long, and does not keep the proxy from stopping.
#[test]
fn who_never_stops_writing_is_let_go() {
    let scene = scene("max_body_mib = 1\nmax_clients = 4");
    let proxy = &scene.proxy;
    for (place, prefix) in places(proxy, scene.ports) {
        for path in ["/nowhere", "/cm/pay"] {
            let mut wire = place.connect();
            let head =
                format!("POST {prefix}{path} HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n");
            wire.send(head.as_bytes()).unwrap();
            let chunk = chunked(&[b'a'; 65_536]);
            let chunk = &chunk[..chunk.len() - 5];
            let mut sent = 0;
            while wire.send(chunk).is_ok() {
                sent += chunk.len();
                assert!(sent < 1 << 30, "{place:?} {path}: {sent}");
            }
        }
    }
    // As many as there are places: each listener holds the one of its next.
    let mut dribbling: Vec<_> = (0..2)
        .map(|_| {
            let mut wire = Place::Unix(proxy.socket()).connect();
            let head = format!("POST /nowhere HTTP/1.1\r\n{HOST}Content-Length: 10000000\r\n\r\n");
            wire.send(head.as_bytes()).unwrap();
            wire
        })
        .collect();
    let served = std::thread::scope(|scope| {
        let served = scope.spawn(|| proxy.get("/cm/consents/1").0);
        until("served, or all were let go", || {
            for wire in &mut dribbling {
                let _ = wire.send(b"a");
            }
            served.is_finished()
        });
        served.join().unwrap()
    });
    assert_eq!(served, 200);
    proxy.signal("TERM");
    let told = Instant::now();
    let folder = proxy.socket();
    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(|| scene.proxy.ended());
        while !ended.is_finished() {
            for wire in &mut dribbling {
                let _ = wire.send(b"a");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        ended.join().unwrap()
    });
    assert!(ended.success(), "{ended} {folder:?}");
    assert!(
        told.elapsed() < Duration::from_secs(30),
        "{:?}",
        told.elapsed()
    );
}

/// Requests whose bodies are under way when the proxy is told to stop: who was answered reads the
/// answer, who was not is.
#[test]
fn a_stop_takes_no_answer_away() {
    for (path, expected) in [("/nowhere", 404), ("/cm/consents/1", 200)] {
        let scene = scene("");
        let half = vec![b'a'; 8 << 20];
        let mut wires: Vec<_> = places(&scene.proxy, scene.ports)
            .map(|(place, prefix)| {
                let mut wire = place.connect();
                let length = 2 * half.len();
                let head = format!(
                    "PATCH {prefix}{path} HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n"
                );
                wire.send(head.as_bytes()).unwrap();
                wire.send(&half).unwrap();
                if expected == 404 {
                    wire.until_readable();
                }
                wire
            })
            .into();
        scene.proxy.signal("TERM");
        until("it stops", || scene.proxy.ready()["stopping"] == true);
        for wire in &mut wires {
            let answer = wire.send(&half).and_then(|()| wire.answer());
            let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(answer.status, expected, "{path}");
        }
        drop(wires);
        assert!(scene.proxy.ended().success());
    }
}
