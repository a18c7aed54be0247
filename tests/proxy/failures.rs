//! The response to an application while the token or the hub cannot be reached; and that an open connection is used
//! as long as it lives.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::misbehaving::answer::Answer;
use crate::common::misbehaving::certificate::ServerCertificate;
use crate::common::misbehaving::{Behaviour, MisbehavingHub};
use crate::common::poll::until;
use crate::common::proxy::{Proxy, body, status};
use crate::common::remote_token::{CLIENT, RemoteToken};
use rustls::version::{TLS12, TLS13};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
const GET: &[u8] = b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn problem(proxy: &Proxy, path: &str) -> (u16, serde_json::Value, String) {
    let (code, answer) = proxy.get(path);
    assert_ne!(code, 0, "no answer: {}", proxy.log());
    let problem = body(&answer);
    assert!(
        answer.contains("content-type: application/problem+json"),
        "{answer}"
    );
    assert_eq!(problem["status"], code);
    for field in ["detail", "hint", "stage", "title"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{problem}"
        );
    }
    let id = problem["interaction_id"].as_str().unwrap();
    assert!(
        answer.contains(&format!("x-fapi-interaction-id: {id}")),
        "{answer}"
    );
    (code, problem, answer)
}

/// The daemon of the token is killed under load: requests on connections that are there never
/// notice, others are told the stage, and two seconds after its return all is good.
#[test]
fn a_token_that_goes_away_is_noticed_by_new_connections_only() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.module = PathBuf::from(CLIENT));
    let socket = bank.path("p11-kit.sock");
    let mut token = RemoteToken::at(&socket, "lfi");
    token.start_with(&bank.token.conf());
    let ports = Proxy::configure(&mut bank, "warm_connections = 4", "");
    let address = RemoteToken::address(&socket);
    let proxy = Proxy::start_with(&bank, ports, &[("P11_KIT_SERVER_ADDRESS", address.into())]);
    proxy.warm("cm", 4);

    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answer = String::from_utf8(proxy.raw(GET)).unwrap();
                    assert_eq!(status(&answer), 200, "{answer}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |count: usize| {
            let goal = answered.load(Ordering::Relaxed) + count;
            until("requests on connections that are there", || {
                answered.load(Ordering::Relaxed) >= goal
            });
        };
        more(100);
        token.kill();
        // HH has connections of its own, and none of them is taken here: the path is another's.
        more(300);
        let (_, ready) = proxy.operations("/healthz");
        assert_eq!(ready, "ok\n");
        more(300);
        stop.store(true, Ordering::Relaxed);
    });

    // More at once than there are connections: those that need a new one are told why there is none.
    let told = thread::scope(|scope| {
        let slow: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| proxy.get("/hh/consents/1")))
            .collect();
        slow.into_iter()
            .map(|done| done.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(
        told.iter().all(|(code, _)| matches!(code, 200 | 503)),
        "{told:#?}"
    );
    let healed = hub_restarts_while_the_token_is_away(&proxy, hub, &bank, &mut token);
    println!("good again {healed:?} after the token's return");
}

fn hub_restarts_while_the_token_is_away(
    proxy: &Proxy,
    hub: Hub,
    bank: &Bank,
    token: &mut RemoteToken,
) -> Duration {
    // With the hub's end go the connections that were there; a new one takes a signature.
    let address = hub.addr();
    drop(hub);
    let mut options = HubOptions::of(&bank.framework, &NAMES);
    options.port = address.port();
    let _hub = Hub::start_in_thread(options);
    let (code, problem, answer) = problem(proxy, "/cm/consents/1");
    assert_eq!(
        (code, &problem["stage"]),
        (503, &"token-down".into()),
        "{problem:#}"
    );
    assert!(answer.contains("retry-after: 1"), "{answer}");
    until("the report names the token", || {
        proxy.ready()["token"]["good"] == false
    });
    assert_eq!(proxy.ready()["ready"], false);

    token.start_with(&bank.token.conf());
    let back = Instant::now();
    until("a request is good", || proxy.get("/cm/consents/1").0 == 200);
    let healed = back.elapsed();
    assert!(healed < Duration::from_secs(2), "{healed:?}");
    proxy.warm("cm", 2);
    until("it is ready again", || proxy.ready()["ready"] == true);
    healed
}

#[test]
fn a_hub_that_stops_and_starts_is_found_again() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let mut bank = Bank::new();
        bank.certify("p-256");
        let options = |port: u16| {
            let mut options = HubOptions::of(&bank.framework, &NAMES);
            options.alpn = vec![alpn.to_vec()];
            options.port = port;
            options
        };
        let hub = Hub::start_in_thread(options(0));
        let port = hub.port();
        let again = options(port);
        bank.hub_at(port);
        let ports = Proxy::configure(&mut bank, "", "");
        let proxy = Proxy::start(&bank, ports);
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
        drop(hub);
        // What it was about to accept is reset; then nobody listens.
        until("nobody answers", || {
            let (code, told, _) = problem(&proxy, "/cm/consents/1");
            assert_eq!(code, 502, "{told:#}");
            told["stage"] == "connect"
        });
        let _hub = Hub::start_in_thread(again);
        let back = Instant::now();
        until("it is found again", || proxy.get("/cm/consents/1").0 == 200);
        assert!(
            back.elapsed() < Duration::from_secs(2),
            "{:?}",
            back.elapsed()
        );
    }
}

#[test]
fn a_refusal_of_the_hub_is_told_with_its_alert() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    for version in [&TLS12, &TLS13] {
        for (behaviour, code, stage, said) in [
            (Behaviour::Alert(48), 502, "tls-refused", "unknown_ca"),
            (
                Behaviour::Alert(44),
                502,
                "tls-refused",
                "certificate_revoked",
            ),
            (Behaviour::NeverAsks, 502, "not-asked", "did not ask"),
            (
                Behaviour::Certificate(ServerCertificate::Expired),
                502,
                "server-certificate",
                "expired",
            ),
        ] {
            let hub = MisbehavingHub::start(&bank.framework, version, behaviour);
            bank.hub_at(hub.port());
            // No warm ones: the request itself meets the refusal.
            let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
            let proxy = Proxy::start(&bank, ports);
            let (found, told, _) = problem(&proxy, "/cm/consents/1");
            assert_eq!(
                (found, told["stage"].as_str()),
                (code, Some(stage)),
                "{told:#}"
            );
            assert!(told["detail"].as_str().unwrap().contains(said), "{told:#}");
        }
    }
}

/// In TLS 1.3 a connection that the hub refuses looks like a good one at first: it is not made over
/// and over, each time with a signature.
#[test]
fn a_hub_that_refuses_is_not_asked_again_and_again() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = MisbehavingHub::start(&bank.framework, &TLS13, Behaviour::Alert(46));
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let refused = || {
        let labels = [("upstream", "cm"), ("result", "tls-refused")];
        proxy.metric("hsm_mtls_proxy_connections_opened_total", &labels)
    };
    until("it was refused a few times", || refused() >= 4.0);
    let (before, since) = (refused(), Instant::now());
    until("four seconds have gone", || {
        since.elapsed() > Duration::from_secs(4)
    });
    let tries = refused() - before;
    assert!(tries <= 16.0, "{tries} in four seconds");
    assert_eq!(
        proxy.ready()["upstreams"][0]["last_handshake"]["stage"],
        "tls-refused"
    );
}

#[test]
fn each_deadline_is_told_by_its_name() {
    // It accepts, and says nothing more.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bank = Bank::new();
    bank.certify("p-256");
    bank.hub_at(silent.local_addr().unwrap().port());
    bank.configure(|settings| {
        settings.hub_lines = "connect_timeout = \"300ms\"\nresponse_timeout = \"300ms\"".to_owned();
    });
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
    let proxy = Proxy::start(&bank, ports);
    let (code, told, _) = problem(&proxy, "/cm/consents/1");
    assert_eq!(
        (code, &told["stage"]),
        (504, &"deadline-handshake".into()),
        "{told:#}"
    );
    drop(proxy);

    // It completes the handshake, and never answers.
    let hub = MisbehavingHub::start(&bank.framework, &TLS13, Behaviour::Answer(Answer::Silence));
    bank.hub_at(hub.port());
    let proxy = Proxy::start(&bank, ports);
    let (code, told, _) = problem(&proxy, "/cm/consents/1");
    assert_eq!(
        (code, &told["stage"]),
        (504, &"deadline-answer".into()),
        "{told:#}"
    );
}

#[test]
fn a_pin_that_is_guarded_and_a_token_that_hangs_have_their_stages() {
    for (plan, lines, code, stage) in [
        (
            "hang C_Sign 1..",
            "timeout = \"500ms\"",
            504,
            "deadline-token",
        ),
        ("fail C_Sign all CKR_DEVICE_REMOVED", "", 503, "token-down"),
        ("signature wrong", "", 503, "signature"),
        (
            "fail C_Sign all CKR_USER_NOT_LOGGED_IN\nfail C_Login all CKR_PIN_INCORRECT",
            "",
            503,
            "pin-guarded",
        ),
    ] {
        let mut bank = Bank::new();
        bank.certify("p-256");
        let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
        bank.hub_at(hub.port());
        bank.configure(|settings| settings.token_lines = lines.to_owned());
        let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
        let chaos = Chaos::between(&mut bank, "");
        let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
        chaos.plan(plan);
        let (found, told, _) = problem(&proxy, "/cm/consents/1");
        assert_eq!(
            (found, told["stage"].as_str()),
            (code, Some(stage)),
            "{told:#}"
        );
        chaos.plan("");
    }
}
