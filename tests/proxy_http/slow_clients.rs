//! A thousand applications that dribble their requests, and two hundred that say nothing: they cost
//! little memory, and a normal request is served beside them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::procfs::{children, launched};
use crate::common::proxy::{Proxy, body, status};

const SLOW: usize = 1000;
const IDLE: usize = 200;

/// A number of /proc/PID/status, in KiB, of supervisor, launcher, signer and front end together.
fn memory(supervisor: u32, name: &str) -> u64 {
    let processes = [vec![supervisor], children(supervisor), launched(supervisor)].concat();
    assert_eq!(processes.len(), 4, "{processes:?}");
    let of_one = |pid| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    processes.into_iter().map(of_one).sum()
}

fn scene(lines: &str) -> (Bank, Hub, Proxy) {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, lines, "");
    let proxy = Proxy::start(&bank, ports);
    (bank, hub, proxy)
}

#[test]
fn a_thousand_slow_clients_and_two_hundred_idle_ones_cost_little() {
    let (_bank, hub, proxy) = scene("head_timeout = \"1m\"\nbody_timeout = \"1m\"");
    proxy.warm("cm", 2);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let alone = memory(proxy.pid(), "VmHWM");
    let before = hub.connections().len();
    // This process holds as many descriptors; its limit is what the shell gave.
    let connect = || UnixStream::connect(proxy.socket()).unwrap();
    let mut slow: Vec<_> = (0..SLOW).map(|_| connect()).collect();
    let idle: Vec<_> = (0..IDLE)
        .map(|at| {
            let mut stream = connect();
            // Some have had an answer before.
            if at % 2 == 0 {
                stream
                    .write_all(b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .unwrap();
                let mut answer = [0; 1024];
                assert!(stream.read(&mut answer).unwrap() > 0);
            }
            stream
        })
        .collect();
    // Half of them dribble a head, half a body; byte by byte, in turn.
    let head = b"PATCH /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n";
    for (at, stream) in slow.iter_mut().enumerate() {
        stream.write_all(head).unwrap();
        if at % 2 == 0 {
            stream.write_all(b"\r\n").unwrap();
        } else {
            stream.write_all(b"X-Slow: ").unwrap();
        }
    }
    for _ in 0..20 {
        for stream in &mut slow {
            stream.write_all(b"x").unwrap();
        }
        let (code, _) = proxy.get("/cm/consents/2");
        assert_eq!(code, 200);
    }
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(proxy.get("/cm/consents/2").0, 200);
    }
    let each = started.elapsed() / 100;
    let peak = memory(proxy.pid(), "VmHWM");
    let count = || proxy.metric("hsm_mtls_proxy_clients", &[]);
    until("they were counted", || count() >= (SLOW + IDLE) as f64);
    let clients = count();
    println!("{clients} clients; peak {peak} KiB, {alone} KiB without them; a request {each:?}");
    assert!(each < Duration::from_millis(50), "{each:?}");
    // 6 KiB for each of them; what the program itself takes depends on how it was built.
    assert!(peak - alone < 7 * 1024, "{peak} KiB, {alone} KiB before");
    // None of them made the hub wait: no connection was made for a request that is not there.
    assert!(
        hub.connections().len() < before + 8,
        "{}",
        hub.connections().len()
    );
    drop((slow, idle));
    until("they have gone", || {
        proxy.metric("hsm_mtls_proxy_clients", &[]) < 10.0
    });
}

#[test]
fn a_slow_client_gets_a_408_and_is_disconnected() {
    let lines = "head_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nkeep_alive = \"300ms\"";
    let (_bank, hub, proxy) = scene(lines);
    for (said, stage) in [
        (&b"GET /cm/consents/1 HTTP/1.1\r\nHost: loc"[..], "deadline-head"),
        (
            b"PATCH /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{ ",
            "deadline-body",
        ),
        (
            b"PATCH /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{ ",
            "deadline-body",
        ),
    ] {
        let started = Instant::now();
        let answer = String::from_utf8(proxy.raw(said)).unwrap();
        assert_eq!(status(&answer), 408, "{answer}");
        assert_eq!(body(&answer)["stage"], stage);
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    // An idle one is closed without a word.
    assert_eq!(proxy.raw(b""), b"");
    let mut kept = UnixStream::connect(proxy.socket()).unwrap();
    kept.write_all(b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut all = Vec::new();
    kept.read_to_end(&mut all).unwrap();
    assert!(all.starts_with(b"HTTP/1.1 200 "));
    assert_eq!(hub.seen().len(), 1);
}

/// An answer that nobody reads holds a connection to the hub; not for ever.
#[test]
fn a_response_that_is_not_read_is_given_up() {
    let (_bank, hub, proxy) = scene("body_timeout = \"500ms\"");
    let big = vec![b'a'; 8 << 20];
    let mut deaf = UnixStream::connect(proxy.socket()).unwrap();
    let head = format!(
        "PATCH /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        big.len()
    );
    deaf.write_all(head.as_bytes()).unwrap();
    deaf.write_all(&big).unwrap();
    let line = proxy.accesses(1).remove(0);
    assert_eq!(line["complete"], false, "{line}");
    assert_eq!(line["bytes_in"], big.len(), "{line}");
    assert!(
        line["bytes_out"].as_u64().unwrap() < big.len() as u64 / 2,
        "{line}"
    );
    assert_eq!(hub.seen().len(), 1);
    drop(deaf);
}

#[test]
fn requests_over_the_limit_get_a_503() {
    let (_bank, _hub, proxy) = scene("max_requests = 1\nmax_connections = 1");
    let told = std::thread::scope(|scope| {
        let call = || {
            (0..20)
                .map(|_| proxy.get("/cm/consents/1"))
                .collect::<Vec<_>>()
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
        all.into_iter()
            .flat_map(|done| done.join().unwrap())
            .collect::<Vec<_>>()
    });
    let refused: Vec<_> = told.iter().filter(|(code, _)| *code != 200).collect();
    assert!(told.iter().any(|(code, _)| *code == 200));
    for (code, answer) in refused {
        assert_eq!(*code, 503, "{answer}");
        assert_eq!(body(answer)["stage"], "overload");
        assert!(answer.contains("retry-after: 1"), "{answer}");
    }
}
