//! HTTP/2's ways of saying "not processed": GOAWAY and REFUSED_STREAM. What the hub did not process goes again over
//! another connection, whatever its method and size; what it may have processed does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common::bank::Bank;
use crate::common::blocking_client::Place;
use crate::common::hub::ending::{Endings, How};
use crate::common::hub::{Hub, HubOptions};
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::poll::until;
use crate::common::proxy::{Proxy, exchange, status};

/// A body that is read ahead as a whole, and one that is streamed.
const BODIES: [usize; 3] = [3, 3, 200 << 10];

/// Every method and body in turn: half of them change something, and may not be sent again on a guess.
fn request(number: usize) -> (String, Vec<u8>) {
    let path = format!("/consents/{number}");
    let request = match number % 4 {
        0 => format!("GET /cm{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        at => {
            let method = ["", "POST", "PATCH", "POST"][at];
            // One in eighty is long: they cost the hub as much as all others together.
            let length = BODIES[if number % 80 == 79 { 2 } else { 0 }];
            let body = "x".repeat(length);
            format!(
                "{method} /cm{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        }
    };
    (path, request.into_bytes())
}

/// Sends so many requests, so many at once; each must be answered with 200.
fn all_are_answered(socket: &Path, requests: usize, at_once: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..at_once)
        .map(|_| {
            let (next, socket) = (Arc::clone(&next), socket.to_owned());
            thread::spawn(move || {
                let mut failed = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return failed;
                    }
                    let (path, bytes) = request(number);
                    let answer = exchange(&socket, &bytes);
                    let head = String::from_utf8_lossy(&answer[..answer.len().min(900)]);
                    if status(&head) != 200 {
                        failed.push(format!("{path}: {head}"));
                    }
                }
            })
        })
        .collect();
    let failed: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {requests} failed; the first: {:#?}",
        failed.len(),
        failed.first()
    );
}

/// The hub saw each once, and over HTTP/2.
fn each_was_seen_once(nginx: &Nginx, requests: usize) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for access in nginx.wait_for_accesses(requests) {
        let words: Vec<_> = access.request.split(' ').collect();
        assert_eq!(words[2], "HTTP/2.0", "{access:?}");
        *seen.entry(words[1].to_owned()).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = (0..requests).map(|number| (request(number).0, 1)).collect();
    assert_eq!(seen, expected);
}

fn through_nginx(requests_per_connection: u32, requests: usize, at_once: usize) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.http2 = true;
    options.requests_per_connection = requests_per_connection;
    let nginx = Nginx::start(&options);
    bank.hub_at(nginx.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    all_are_answered(&proxy.socket(), requests, at_once);
    each_was_seen_once(&nginx, requests);
    assert_eq!(proxy.metric("hsm_mtls_proxy_problems_total", &[]), 0.0);
}

#[test]
fn none_is_lost_where_nginx_ends_a_connection_after_20_requests() {
    through_nginx(20, 8000, 16);
    through_nginx(20, 8000, 8);
}

#[test]
fn none_is_lost_where_nginx_ends_a_connection_after_1000_requests() {
    through_nginx(1000, 8000, 8);
    through_nginx(1000, 8000, 16);
}

/// A hub that ends its first requests so, and a proxy before it.
fn before(endings: &Endings) -> (Bank, Hub, Proxy) {
    before_of(Bank::new(), endings)
}

fn before_of(mut bank: Bank, endings: &Endings) -> (Bank, Hub, Proxy) {
    bank.certify("p-256");
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    options.endings = Some(endings.clone());
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    (bank, hub, proxy)
}

fn post(proxy: &Proxy, body: &str) -> (u16, String) {
    let request = format!(
        "POST /cm/pay HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = String::from_utf8_lossy(&proxy.raw(request.as_bytes())).into_owned();
    (status(&answer), answer)
}

#[test]
fn what_the_hub_did_not_process_goes_again_with_any_method_and_length() {
    let go_away = |code| How::GoAway {
        code,
        processed: false,
    };
    let short = (3, 0, 5);
    // The hub ends it when it has taken 40 KiB of it, and when it has taken 700.
    let long = [short, (300 << 10, 40 << 10, 5), (900 << 10, 700 << 10, 2)];
    for (how, bodies) in [
        (go_away(0x0), &long[..]),
        (How::Reset(0x7), &long[..]),
        (go_away(0x2), &long[..1]),
        (go_away(0xb), &long[..1]),
        (go_away(0xd), &long[..1]),
        (How::Reset(0xd), &long[..1]),
    ] {
        for (length, after, times) in bodies.iter().copied() {
            let endings = Endings::new(how, times, after);
            let (_bank, hub, proxy) = before(&endings);
            let body: String = (b'a'..=b'z').cycle().take(length).map(char::from).collect();
            let (code, answer) = post(&proxy, &body);
            let seen = hub.seen();
            assert_eq!(seen.len(), 1, "{how:?} {length}: {answer}");
            assert_eq!(seen[0].body, body.as_bytes(), "{how:?} {length}");
            match how {
                // Over HTTP/1.1 it is another hub, which does not know the path.
                How::Reset(0xd) | How::GoAway { code: 0xd, .. } => {
                    assert_eq!(code, 404, "{how:?}: {answer}");
                    assert!(endings.left() > 0, "it was asked over HTTP/2 for ever");
                }
                _ => {
                    assert_eq!(code, 200, "{how:?} {length}: {answer}");
                    assert_eq!(endings.left(), 0, "{how:?} {length}");
                }
            }
        }
    }
}

/// The request may have been processed, or is no request that should be sent again: the code is what is told,
/// and nothing of a certificate.
#[test]
fn what_may_have_been_processed_does_not_go_again_and_the_code_is_told() {
    let processed = |code| How::GoAway {
        code,
        processed: true,
    };
    for (how, said) in [
        (
            How::Reset(0x0),
            "the server ended the request with NO_ERROR",
        ),
        (
            How::Reset(0x1),
            "the server ended the request with PROTOCOL_ERROR",
        ),
        (
            How::Reset(0x2),
            "the server ended the request with INTERNAL_ERROR",
        ),
        (How::Reset(0x8), "the server ended the request with CANCEL"),
        (
            How::Reset(0xb),
            "the server ended the request with ENHANCE_YOUR_CALM",
        ),
        (
            How::Reset(0x1f),
            "the server ended the request with code 0x1f",
        ),
        (
            processed(0x2),
            "the server ended the request with INTERNAL_ERROR",
        ),
        (
            How::Malformed,
            "so we ended the connection with PROTOCOL_ERROR",
        ),
    ] {
        let endings = Endings::new(how, 1, 0);
        let (_bank, hub, proxy) = before(&endings);
        let (code, answer) = post(&proxy, "a=1");
        assert_eq!(code, 502, "{how:?}: {answer}");
        let problem = crate::common::proxy::body(&answer);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{how:?}: {detail}");
        assert!(!answer.contains("certificate"), "{how:?}: {answer}");
        let stage = if how == How::Malformed {
            "answer"
        } else {
            "no-answer"
        };
        assert_eq!(problem["stage"], stage, "{how:?}");
        assert_eq!(hub.seen().len(), 0);
        // The next is served, whatever became of that connection.
        assert_eq!(post(&proxy, "b=2").0, 200, "{how:?}");
        assert_eq!(hub.seen().len(), 1);
    }
}

/// A hub that processes nothing is not asked for ever.
#[test]
fn a_hub_that_never_processes_is_given_up_and_the_caller_may_try_again() {
    let how = How::GoAway {
        code: 0,
        processed: false,
    };
    let endings = Endings::new(how, usize::MAX, 0);
    let (_bank, hub, proxy) = before(&endings);
    let (code, answer) = post(&proxy, "a=1");
    assert_eq!(code, 503, "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(usize::MAX - endings.left(), 7);
    assert_eq!(hub.seen().len(), 0);
}

/// A stream that nobody waits for is ended: else the hub would hold it for as long as the connection stands, and
/// the connection would stand for as long as it holds it.
#[test]
fn an_answer_that_is_given_up_ends_the_stream_that_the_body_goes_over() {
    let endings = Endings::new(How::Begun, usize::MAX, 40 << 10);
    let mut bank = Bank::new();
    bank.configure(|settings| settings.hub_lines = "response_timeout = \"500ms\"".to_owned());
    let (_bank, _hub, proxy) = before_of(bank, &endings);
    for times in 1..=3 {
        let mut wire = Place::Unix(proxy.socket()).connect();
        let head = "POST /cm/pay HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n";
        wire.send(head.as_bytes()).unwrap();
        wire.send(&[b'a'; 200 << 10]).unwrap();
        wire.until_readable();
        drop(wire);
        until("the end of the stream", || {
            endings.resets.load(Ordering::SeqCst) == times
        });
    }
}
