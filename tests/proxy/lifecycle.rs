//! Stop, restart and reload: a stop cuts no request off, a restart behind its socket refuses nobody, and a reload
//! takes a good certificate and keeps the old one where the new one is wrong.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::blocking_client::Place;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::proxy::{BINARY, Proxy, status};
use crate::common::trust_framework::{Kind, TrustFramework};

const GET: &[u8] = b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST: &[u8] = b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// 200 a second.
const PACE: Duration = Duration::from_millis(5);

fn scene() -> (Bank, Hub) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    (bank, hub)
}

/// An answer of known length over a connection that stays open. None: the connection ended.
fn call(stream: &mut UnixStream) -> Option<u16> {
    stream.write_all(GET).ok()?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(status(&head))
}

/// Under 200 requests a second, kept alive and not, SIGTERM: whatever has been read is answered, so
/// each line of the hub's book is one of the proxy's log and one answer here.
#[test]
fn a_stop_under_load_answers_every_request_whose_head_was_read() {
    let (mut bank, hub) = scene();
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let socket = proxy.socket();
    let answered = AtomicUsize::new(0);
    let half = AtomicUsize::new(0);
    let ended = AtomicBool::new(false);
    let status = thread::scope(|scope| {
        for kept_alive in [true, false, true, false] {
            let (socket, answered, half, ended) = (&socket, &answered, &half, &ended);
            scope.spawn(move || {
                let mut kept = None;
                let mut due = Instant::now();
                while !ended.load(Ordering::Relaxed) {
                    due += PACE * 4;
                    thread::park_timeout(due.saturating_duration_since(Instant::now()));
                    let Ok(mut stream) =
                        kept.take().map_or_else(|| UnixStream::connect(socket), Ok)
                    else {
                        continue;
                    };
                    match call(&mut stream) {
                        Some(200) => answered.fetch_add(1, Ordering::Relaxed),
                        Some(other) => panic!("{other}"),
                        None => half.fetch_add(1, Ordering::Relaxed),
                    };
                    kept = kept_alive.then_some(stream);
                }
            });
        }
        until("there is load", || answered.load(Ordering::Relaxed) > 200);
        proxy.signal("TERM");
        let status = proxy.ended();
        ended.store(true, Ordering::Relaxed);
        status
    });
    assert!(status.success(), "{status}");
    let answered = answered.load(Ordering::Relaxed);
    assert_eq!(hub.seen().len(), answered, "asked of the hub, and answered");
    let log = fs::read_to_string(bank.path("log/access.jsonl")).unwrap();
    assert_eq!(log.lines().count(), answered);
    assert!(!log.contains("\"complete\":false"));
    println!(
        "{answered} answered; {} found the proxy gone",
        half.load(Ordering::Relaxed)
    );
}

#[test]
fn a_request_that_is_under_way_is_waited_for_and_a_stranger_is_not() {
    let (mut bank, _hub) = scene();
    let ports = Proxy::configure(&mut bank, "stop_timeout = \"5s\"", "");
    let proxy = Proxy::start(&bank, ports);
    // A body that is still to come.
    let mut slow = UnixStream::connect(proxy.socket()).unwrap();
    slow.write_all(
        b"PATCH /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{ ",
    )
    .unwrap();
    let idle = UnixStream::connect(proxy.socket()).unwrap();
    until("both are there", || {
        proxy.metric("hsm_mtls_proxy_clients", &[]) >= 2.0
    });
    let mut seen = UnixStream::connect(proxy.socket()).unwrap();
    assert_eq!(call(&mut seen), Some(200));
    proxy.signal("TERM");
    until("it stops", || proxy.ready()["stopping"] == true);
    slow.write_all(b" }").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let stopped = Instant::now();
    assert!(proxy.ended().success());
    // The one that never said anything is not waited for until the time-out.
    assert!(
        stopped.elapsed() < Duration::from_secs(4),
        "{:?}",
        stopped.elapsed()
    );
    drop(idle);
}

#[test]
fn behind_a_socket_of_systemd_nobody_is_refused_during_a_restart() {
    let (mut bank, _hub) = scene();
    let own = "[[proxy.listener]]\nsystemd = \"hub\"\nupstream = \"cm\"";
    bank.configure(|settings| {
        settings.sections =
            format!("[proxy]\naccess_log = \"off\"\naccept_same_user = true\n{own}\n");
    });
    let socket = bank.path("activated.sock");
    let log = fs::File::create(bank.path("proxy.log")).unwrap();
    let script =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/clients/activate.py");
    let mut manager = Command::new("python3")
        .arg(script)
        .arg(&socket)
        .arg("hub")
        .arg(BINARY.unwrap())
        .arg("--config")
        .arg(bank.config_path())
        .arg("proxy")
        .env_remove("SOFTHSM2_CONF")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(manager.stdout.take().unwrap()).lines();
    let mut line = || said.next().unwrap().unwrap();
    line();
    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            let (socket, stop, answered) = (&socket, &stop, &answered);
            scope.spawn(move || {
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    due += PACE * 4;
                    thread::park_timeout(due.saturating_duration_since(Instant::now()));
                    let answer = crate::common::proxy::exchange(
                        socket,
                        b"GET /consents/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                    );
                    let answer = String::from_utf8(answer).unwrap();
                    assert_eq!(status(&answer), 200, "{answer}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("the first serves", || {
            answered.load(Ordering::Relaxed) > 100
        });
        for _ in 0..3 {
            let told = Command::new("kill")
                .arg("-USR1")
                .arg(manager.id().to_string())
                .status();
            assert!(told.unwrap().success());
            assert_eq!(line(), "ended 0");
            line();
            let so_far = answered.load(Ordering::Relaxed);
            until("the next serves", || {
                answered.load(Ordering::Relaxed) > so_far + 100
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let told = Command::new("kill").arg(manager.id().to_string()).status();
    assert!(told.unwrap().success());
    assert_eq!(line(), "ended 0");
    assert!(manager.wait().unwrap().success());
    println!(
        "{} answered through three restarts",
        answered.load(Ordering::Relaxed)
    );
}

#[test]
fn a_reload_takes_a_new_certificate_and_refuses_a_wrong_one() {
    let (mut bank, hub) = scene();
    let ports = Proxy::configure(&mut bank, "", "");
    let notified = bank.path("notify.sock");
    let manager = UnixDatagram::bind(&notified).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let told = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let proxy = Proxy::start_with(&bank, ports, &[("NOTIFY_SOCKET", notified)]);
    assert_eq!(told(), "READY=1");
    let serial = || {
        let certificate = proxy.ready()["certificate"].clone();
        certificate["x5t_s256"].as_str().unwrap().to_owned()
    };
    let first = serial();
    proxy.warm("cm", 2);

    // Another key's, another framework's, and none at all.
    let good = fs::read_to_string(bank.path("c3.pem")).unwrap();
    let strange = TrustFramework::new(Kind::Sandbox);
    let request = bank.csr();
    let other = Bank::new();
    other.run(&["key", "generate", "--type", "p-256"]).expect(0);
    for (why, pem) in [
        ("another key's", bank.framework.issue_client(&other.csr())),
        ("another framework's", strange.issue_client(&request)),
        ("none", String::new()),
    ] {
        fs::write(bank.path("c3.pem"), pem).unwrap();
        let before = proxy.metric("hsm_mtls_proxy_reloads_total", &[("result", "failed")]);
        proxy.signal("HUP");
        assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="), "{why}");
        assert_eq!(told(), "READY=1", "{why}");
        let after = proxy.metric("hsm_mtls_proxy_reloads_total", &[("result", "failed")]);
        assert_eq!(after, before + 1.0, "{why}: {}", proxy.log());
        assert_eq!(serial(), first, "{why}");
        assert_eq!(proxy.get("/cm/consents/1").0, 200, "{why}");
    }
    let logged = || proxy.log().matches("NOT reloaded").count();
    until("each is logged", || logged() >= 3);
    assert_eq!(logged(), 3, "{}", proxy.log());

    let shown = |at: usize| hub.connections()[at].client_certificate.clone().unwrap();
    let old = shown(0);
    let leaf = bank.framework.issue_client(&request);
    fs::write(bank.path("c3.pem"), leaf + &bank.framework.issuing_pem()).unwrap();
    proxy.signal("HUP");
    assert!(told().starts_with("RELOADING=1"));
    assert_eq!(told(), "READY=1");
    assert_ne!(serial(), first);
    // The first of the new stands: from then on no request goes over the old.
    until("a connection with the new certificate", || {
        hub.connections()
            .iter()
            .any(|found| found.client_certificate.as_ref() != Some(&old))
    });
    until("requests go over it", || {
        assert_eq!(status(&String::from_utf8(proxy.raw(LAST)).unwrap()), 200);
        let at = hub.seen().last().unwrap().connection;
        shown(at) != old
    });
    for _ in 0..20 {
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
        assert_ne!(shown(hub.seen().last().unwrap().connection), old);
    }
    assert!(
        hub.seen()
            .iter()
            .all(|request| request.client_subject.is_some())
    );
    drop(good);
    proxy.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    assert!(proxy.ended().success());
}

/// Who was answered, and sends the rest drop by drop, has what every connection has at the end, and no more.
#[test]
fn a_body_that_nobody_wants_is_waited_for_once_at_the_stop() {
    let (mut bank, _hub) = scene();
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let mut wire = Place::Unix(proxy.socket()).connect();
    wire.send(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        .unwrap();
    assert_eq!(wire.answer().unwrap().status, 404);
    proxy.signal("TERM");
    let told = Instant::now();
    thread::scope(|scope| {
        let ended = scope.spawn(|| proxy.ended());
        while !ended.is_finished() {
            // Once it has ended there is nobody to take it.
            let _ = wire.send(b"a");
            thread::park_timeout(Duration::from_millis(20));
        }
        assert!(ended.join().unwrap().success());
    });
    let took = told.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
}
