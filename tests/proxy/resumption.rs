//! `resumption` of `[tls]` against nginx, which closes each connection: the HSM signs once, and a session is resumed only where its
//! first handshake carried our certificate, with the same key, and for as long as was said.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::misbehaving::Behaviour;
use crate::common::misbehaving::answer::Answer;
use crate::common::misbehaving::certificate::server_config;
use crate::common::nginx::{Access, Nginx, NginxOptions, Protocols};
use crate::common::poll::until;
use crate::common::proxy::{Proxy, status};
use crate::common::trust_framework::TrustFramework;
use rustls::{HandshakeKind, ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
const PATH: &str = "/cm/hello-mtls";

struct Scene {
    /// With the ledger, which the front end may not read.
    apart: TempDir,
    bank: Bank,
    nginx: Nginx,
    proxy: Proxy,
}

fn nginx(bank: &Bank, protocols: Protocols, http2: bool, session_timeout: u32) -> Nginx {
    let mut options = NginxOptions::of(&bank.framework, &NAMES);
    options.protocols = protocols;
    options.http2 = http2;
    options.requests_per_connection = 1;
    options.session_timeout = session_timeout;
    Nginx::start(&options)
}

/// `resumption` is the line of [tls], or none.
fn scene(protocols: Protocols, http2: bool, resumption: &str) -> Scene {
    scene_of(protocols, http2, resumption, 300)
}

/// `session_timeout` is nginx's, in seconds.
fn scene_of(protocols: Protocols, http2: bool, resumption: &str, session_timeout: u32) -> Scene {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let nginx = nginx(&bank, protocols, http2, session_timeout);
    bank.hub_at(nginx.port());
    let apart = tempfile::tempdir().unwrap();
    let sections = format!(
        "[tls]\n{resumption}\n[ledger]\nfile = \"{}\"\nfsync = \"interval\"\n",
        apart.path().join("ledger.jsonl").display()
    );
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", &sections);
    let proxy = Proxy::start(&bank, ports);
    Scene {
        apart,
        bank,
        nginx,
        proxy,
    }
}

impl Scene {
    fn request(&self) {
        let (status, answer) = self.proxy.get(PATH);
        assert_eq!(status, 200, "{answer}\n{}", self.proxy.log());
        assert!(answer.contains("\"established\""), "{answer}");
    }

    /// The accesses of the next so many requests.
    fn requests(&self, count: usize) -> Vec<Access> {
        let before = self.nginx.accesses().len();
        for _ in 0..count {
            self.request();
        }
        let mut all = self.nginx.wait_for_accesses(before + count);
        all.split_off(before)
    }

    /// How many handshakes were signed.
    fn signed(&self) -> usize {
        let text = fs::read_to_string(self.apart.path().join("ledger.jsonl")).unwrap();
        let records = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_handshake = |record: &Value| {
            let purpose = record["purpose"].as_str().unwrap_or_default();
            record["kind"] == "attempt" && purpose.ends_with("client-auth")
        };
        records.filter(is_handshake).count()
    }
}

fn resumed(accesses: &[Access]) -> usize {
    accesses.iter().filter(|access| access.resumed).count()
}

#[test]
fn the_key_signs_once_for_a_hub_that_closes_each_connection() {
    for (protocols, http2) in [
        (Protocols::Tls13, false),
        (Protocols::Tls12, false),
        (Protocols::Tls13, true),
    ] {
        let scene = scene(protocols, http2, "resumption = \"1h\"");
        const COUNT: usize = 1000;
        let accesses = scene.requests(COUNT);
        let signed = scene.signed();
        println!("{protocols:?}, http2 {http2}: {signed} signatures for {COUNT} requests");
        assert!((1..=5).contains(&signed), "{signed} signatures");
        assert!(resumed(&accesses) >= COUNT - signed, "{accesses:?}");
        assert!(accesses.iter().all(|access| access.verify == "SUCCESS"));
        let opened = |result| {
            let labels = [("upstream", "cm"), ("result", result)];
            scene
                .proxy
                .metric("hsm_mtls_proxy_connections_opened_total", &labels)
        };
        assert!(
            opened("resumed") >= (COUNT - signed) as f64,
            "{}",
            opened("resumed")
        );
        assert!(opened("good") <= signed as f64, "{}", opened("good"));
        // A stream of HTTP/2 is of a connection that is there already.
        if http2 {
            continue;
        }
        let lines = scene.proxy.accesses(COUNT);
        let said = |kind: &str| {
            lines
                .iter()
                .filter(|line| line["connection"] == kind)
                .count()
        };
        assert_eq!(said("new") + said("resumed"), COUNT);
        assert!(said("new") <= signed, "{}", said("new"));
    }
}

#[test]
fn without_it_each_connection_is_signed_for() {
    for line in ["", "resumption = \"off\""] {
        let scene = scene(Protocols::Both, false, line);
        let accesses = scene.requests(20);
        assert_eq!(resumed(&accesses), 0);
        assert!(scene.signed() >= 20);
    }
}

#[test]
fn a_reload_begins_with_a_whole_handshake_of_the_new_key() {
    let mut scene = scene(Protocols::Both, false, "resumption = \"1h\"");
    let before = scene.requests(5);
    assert!(resumed(&before) >= 3, "{before:?}");
    scene.bank.configure(|settings| {
        settings.key = "pkcs11:object=c3-next;type=private".to_owned();
        settings.certificate = "next.pem".to_owned();
    });
    scene.bank.certify("rsa-2048");
    scene.proxy.signal("HUP");
    until("it is reloaded", || {
        let labels = [("result", "good")];
        scene.proxy.metric("hsm_mtls_proxy_reloads_total", &labels) == 1.0
    });
    let after = scene.requests(5);
    assert!(!after[0].resumed, "{after:?}");
    assert_ne!(after[0].fingerprint, before[0].fingerprint);
    let of_new = |access: &Access| access.fingerprint == after[0].fingerprint;
    assert!(after.iter().all(of_new), "{after:?}");
    assert!(resumed(&after) >= 3, "{after:?}");
    // The same key again: a reload reads anchors and lists anew, and trusts no handshake of before.
    scene.proxy.signal("HUP");
    until("it is reloaded", || {
        let labels = [("result", "good")];
        scene.proxy.metric("hsm_mtls_proxy_reloads_total", &labels) == 2.0
    });
    assert!(!scene.requests(1)[0].resumed);
}

/// A chain of tickets, each of which comes with the resumption before it, ends with the time of the first.
#[test]
fn a_session_ends_with_the_time_of_its_first_handshake() {
    for protocols in [Protocols::Tls13, Protocols::Tls12] {
        let scene = scene(protocols, false, "resumption = \"3s\"");
        let began = Instant::now();
        assert!(!scene.requests(1)[0].resumed);
        let mut whole = Vec::new();
        while whole.len() < 2 && began.elapsed() < Duration::from_secs(60) {
            if !scene.requests(1)[0].resumed {
                whole.push(began.elapsed());
            }
        }
        let [first, second] = whole[..] else {
            panic!("{whole:?}");
        };
        println!("{protocols:?}: whole handshakes after {first:?} and {second:?}");
        // The first is of the same moment as `began`, or an instant later.
        assert!(first >= Duration::from_secs(3), "{first:?}");
        assert!(second - first >= Duration::from_millis(2900), "{whole:?}");
    }
}

/// A ticket that has outlived what the server said of it is not sent: the whole handshake that follows is no refusal.
#[test]
fn a_ticket_that_has_ended_costs_neither_a_connection_nor_a_pause() {
    let scene = scene_of(Protocols::Tls13, false, "resumption = \"1h\"", 1);
    let mut whole = 0;
    let mut last = Instant::now() - Duration::from_secs(60);
    // More in a row than a server may refuse before it is offered none.
    while whole < 5 {
        until("the ticket has ended", || {
            last.elapsed() > Duration::from_millis(2100)
        });
        last = Instant::now();
        whole += usize::from(!scene.requests(1)[0].resumed);
    }
    assert_eq!(scene.signed(), whole);
    // nginx saw no handshake that was broken off, but for the connection that looked whether it had started.
    let log = scene.nginx.error_log();
    assert_eq!(log.matches("while SSL handshaking").count(), 1, "{log}");
    assert!(
        !scene.proxy.log().contains("for ten minutes"),
        "{}",
        scene.proxy.log()
    );
    // What has not ended is resumed still.
    let resumes = || scene.requests(2)[1].resumed;
    assert!((0..20).any(|_| resumes()), "no session is resumed");
}

/// It gives tickets to whoever comes; one of them would make a connection on which nobody was asked.
#[test]
fn a_hub_that_asks_for_no_certificate_is_refused_each_time() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    for protocols in [Protocols::Tls13, Protocols::Tls12] {
        let mut options = NginxOptions::of(&bank.framework, &NAMES);
        (options.verify_client, options.protocols) = (false, protocols);
        let nginx = Nginx::start(&options);
        bank.hub_at(nginx.port());
        let section = "[tls]\nresumption = \"1h\"\n";
        let ports = Proxy::configure(&mut bank, "warm_connections = 0", section);
        let proxy = Proxy::start(&bank, ports);
        for _ in 0..5 {
            let (status, answer) = proxy.get(PATH);
            assert_eq!(status, 502, "{answer}");
        }
        assert_eq!(nginx.accesses(), [], "no request reached it");
    }
}

/// A hub that takes sessions and then refuses who resumes them, and gives new ones all the same.
fn refuses_resumed(framework: &TrustFramework) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let established = Behaviour::Answer(Answer::Established);
    let mut tls = server_config(framework, &rustls::version::TLS13, established);
    Arc::get_mut(&mut tls).unwrap().send_tls13_tickets = 2;
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let tls = Arc::clone(&tls);
            thread::spawn(move || {
                let connection = ServerConnection::new(tls).unwrap();
                let mut stream = StreamOwned::new(connection, tcp.unwrap());
                let mut head = [0; 4096];
                if !matches!(stream.read(&mut head), Ok(1..)) {
                    return;
                }
                if stream.conn.handshake_kind() != Some(HandshakeKind::Resumed) {
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _gone = stream.write_all(answer);
                    stream.conn.send_close_notify();
                }
                let _gone = stream.flush();
            });
        }
    });
    port
}

#[test]
fn a_hub_that_refuses_sessions_gets_whole_handshakes() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    for method in ["GET", "POST"] {
        bank.hub_at(refuses_resumed(&bank.framework));
        let section = "[tls]\nresumption = \"1h\"\n";
        let ports = Proxy::configure(&mut bank, "warm_connections = 0", section);
        let proxy = Proxy::start(&bank, ports);
        let request = format!(
            "{method} /cm/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answers: Vec<u16> = (0..8)
            .map(|_| status(&String::from_utf8_lossy(&proxy.raw(request.as_bytes()))))
            .collect();
        // What may be repeated is; of the others the first that comes with a session is lost.
        let lost = answers.iter().filter(|status| **status == 502).count();
        let good = answers.iter().filter(|status| **status == 200).count();
        assert_eq!(lost + good, 8, "{method}: {answers:?}");
        assert!(
            lost <= usize::from(method == "POST"),
            "{answers:?}\n{}",
            proxy.log()
        );
        assert!(
            proxy.log().contains("each one makes a full handshake"),
            "{}",
            proxy.log()
        );
    }
}

#[test]
fn verify_makes_whole_handshakes_whatever_is_configured() {
    let scene = scene(Protocols::Both, false, "resumption = \"1h\"");
    for _ in 0..2 {
        let said = scene.bank.run(&["verify"]).expect(0).stdout;
        assert!(!said.contains("resumed"), "{said}");
    }
}
