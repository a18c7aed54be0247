//! A hub that allows few concurrent HTTP/2 streams: every request is answered, and none is sent twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::hub::lowering::Lowering;
use crate::common::hub::{Hub, HubOptions};
use crate::common::proxy::{Proxy, exchange, status};

const AT_ONCE: usize = 20;
const THINKS: Duration = Duration::from_millis(50);

/// Half of them change something at the hub, and may not be sent again on a guess.
fn request(number: usize) -> Call {
    match number % 2 {
        0 => (
            format!("GET /consents/{number}"),
            format!("GET /cm/consents/{number} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into(),
            200,
        ),
        _ => (
            format!("POST /auth/{number}/doConfirm"),
            format!("POST /cm/auth/{number}/doConfirm HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\na=b").into(),
            303,
        ),
    }
}

/// What is asked, its bytes, and the status that the hub answers with.
type Call = (String, Vec<u8>, u16);

/// Sends requests side by side; all must be answered as the hub does.
fn all_at_once(proxy: &Proxy, calls: Vec<Call>) {
    let start = Arc::new(Barrier::new(calls.len()));
    let threads: Vec<_> = calls
        .into_iter()
        .map(|(what, bytes, expected)| {
            let (socket, start) = (proxy.socket(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let answer = exchange(&socket, &bytes);
                let answer = String::from_utf8_lossy(&answer).into_owned();
                (status(&answer) != expected).then(|| format!("{what}: {answer}"))
            })
        })
        .collect();
    let failed: Vec<_> = threads
        .into_iter()
        .filter_map(|thread| thread.join().unwrap())
        .collect();
    assert!(failed.is_empty(), "{failed:#?}\n{}", proxy.log());
}

/// Each request `rounds` times, and nothing else.
fn each_was_seen(hub: &Hub, rounds: usize) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for request in hub.seen() {
        let what = format!("{} {}", request.method, request.path_and_query);
        *seen.entry(what).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = (0..AT_ONCE)
        .map(|number| (request(number).0, rounds))
        .collect();
    assert_eq!(seen, expected);
}

fn options(bank: &Bank) -> HubOptions {
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    options.thinks = THINKS;
    options
}

fn proxy_to(bank: &mut Bank, hub: &Hub, lines: &str) -> Proxy {
    bank.hub_at(hub.port());
    let ports = Proxy::configure(bank, lines, "");
    Proxy::start(bank, ports)
}

#[test]
fn all_are_answered_where_the_hub_takes_few_streams() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    for (streams, most, warm) in [(1, 1, 1), (1, 4, 0), (2, 3, 1), (1, 128, 1), (2, 128, 0)] {
        let mut options = options(&bank);
        options.streams = Some(streams);
        let hub = Hub::start_in_thread(options);
        let lines = format!("max_connections = {most}\nwarm_connections = {warm}");
        let proxy = proxy_to(&mut bank, &hub, &lines);
        // The first round meets connections that have not yet said how many streams they take.
        for round in 1..=3 {
            all_at_once(&proxy, (0..AT_ONCE).map(request).collect());
            each_was_seen(&hub, round);
        }
        let used: BTreeSet<_> = hub.seen().iter().map(|seen| seen.connection).collect();
        assert!(used.len() <= most, "{streams} {most}: {used:?}");
        assert!(most == 1 || used.len() > 1, "{streams} {most}: {used:?}");
        assert_eq!(
            proxy.metric("hsm_mtls_proxy_problems_total", &[]),
            0.0,
            "{}",
            proxy.log()
        );
    }
}

/// The body says which it is: that hub reads no heads.
fn post(number: usize) -> Call {
    let body = format!("{number:03}");
    let head = "POST /cm/payments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\n";
    (body.clone(), format!("{head}{body}").into(), 200)
}

fn each_was_posted_once(hub: &Hub) {
    let seen = hub.seen().into_iter();
    let mut seen: Vec<_> = seen.map(|request| request.path_and_query).collect();
    seen.sort_unstable();
    let expected: Vec<_> = (0..AT_ONCE).map(|number| post(number).0).collect();
    assert_eq!(seen, expected);
}

/// How many streams a hub takes comes with its first words, here after the first request: who waits
/// is served then, and not once that is answered.
#[test]
fn who_waits_for_the_first_words_of_a_connection_is_served_with_them() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let mut options = options(&bank);
    options.thinks = Duration::from_secs(2);
    options.lowering = Some(Lowering {
        first: 100,
        then: 100,
        after: 1,
        late: true,
        refused: Arc::default(),
    });
    let hub = Hub::start_in_thread(options);
    let proxy = proxy_to(&mut bank, &hub, "max_connections = 1");
    proxy.warm("cm", 1);
    let begun = Instant::now();
    all_at_once(&proxy, (0..AT_ONCE).map(post).collect());
    let took = begun.elapsed();
    assert!(took < 2 * Duration::from_secs(2), "{took:?}");
    each_was_posted_once(&hub);
}

#[test]
fn what_is_refused_unread_is_sent_again_whatever_it_asks_for() {
    for (most, after) in [(1, 3), (1, 1), (4, 2)] {
        let mut bank = Bank::new();
        bank.certify("p-256");
        let refused = Arc::new(AtomicUsize::new(0));
        let mut options = options(&bank);
        options.lowering = Some(Lowering {
            first: 100,
            then: 1,
            after,
            late: false,
            refused: Arc::clone(&refused),
        });
        let hub = Hub::start_in_thread(options);
        let lines = format!("max_connections = {most}");
        let proxy = proxy_to(&mut bank, &hub, &lines);
        proxy.warm("cm", 1);
        all_at_once(&proxy, (0..AT_ONCE).map(post).collect());
        // The hub did refuse some, and took each once.
        assert!(refused.load(Ordering::SeqCst) > 0, "{most} {after}");
        each_was_posted_once(&hub);
    }
}
