//! A reload takes another key, and no request fails for it; a reload that is refused changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::common::poll::until;
use crate::common::procfs::{launched, state};
use crate::common::proxy::status;
use crate::common::renewal::{Scene, scene, signal};
use crate::common::signer_process::signers;
use crate::common::trust_framework::write_file;
use hsm_mtls::internal::ledger::verify;
use serde_json::Value;

const GET: &[u8] = b"GET /cm/consents/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The certificate that the hub saw with the last request.
fn shown(scene: &Scene) -> Vec<u8> {
    let at = scene.hub.seen().last().unwrap().connection;
    let connection = scene.hub.connections()[at].clone();
    connection.client_certificate.unwrap().to_vec()
}

/// Ends the load when it goes.
struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Good and bad reloads, with requests all the time: none fails.
#[test]
fn another_key_is_taken_under_load_and_no_request_fails() {
    // Connections are replaced all the time, so there are always handshakes.
    let mut scene = scene("max_age = \"6s\"\nwarm_connections = 4");
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let first = scene.certificate();
    let mut certificates = BTreeSet::new();
    let socket = scene.proxy.socket();
    thread::scope(|scope| {
        for _ in 0..8 {
            let (socket, stop, answered) = (&socket, &stop, &answered);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = crate::common::proxy::exchange(socket, GET);
                    let answer = String::from_utf8(answer).unwrap();
                    assert_eq!(status(&answer), 200, "{answer}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Also where this thread fails.
        let _stopped = Stopped(&stop);
        let more = || {
            let goal = answered.load(Ordering::Relaxed) + 100;
            until("requests go on", || {
                answered.load(Ordering::Relaxed) >= goal
            });
        };
        more();
        certificates.insert(shown(&scene));
        for round in 1..=3 {
            let signer = scene.signer();
            match round {
                1 => scene.another_key(),
                2 => scene.first_key(),
                _ => scene.next_key(),
            }
            scene.proxy.signal("HUP");
            until("it is reloaded", || {
                scene.reloads("good") >= f64::from(round)
            });
            let now = scene.certificate();
            assert_eq!(now == first, round % 2 == 0, "{}", scene.proxy.log());
            let before = shown(&scene);
            until("requests go over connections of the new", || {
                more();
                let now = shown(&scene);
                certificates.insert(now.clone());
                now != before || certificates.len() == 2
            });
            until("the old signer is gone", || {
                state(signer).is_none_or(|state| state == 'Z')
            });
            scene.three_processes();
            let good = fs::read_to_string(scene.bank.config_path()).unwrap();
            fs::write(scene.bank.config_path(), "environment = 7").unwrap();
            scene.refused("a broken file", "bank.toml");
            fs::write(scene.bank.config_path(), good).unwrap();
            more();
        }
    });
    println!("{} answered", answered.load(Ordering::Relaxed));
    assert_eq!(certificates.len(), 2, "the hub saw both");
    assert_eq!(
        scene.proxy.metric("hsm_mtls_proxy_problems_total", &[]),
        0.0
    );
    scene.proxy.signal("TERM");
    let ledger = scene.apart.path().join("ledger.jsonl");
    until("all are gone", || signers(&scene.bank).is_empty());
    let history = verify::verify(&ledger, None).unwrap();
    assert!(history.unfinished.is_empty(), "{history:?}");
    let text = fs::read_to_string(&ledger).unwrap();
    let keys: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["purpose"] == "tls13-client-auth" && record["kind"] == "attempt")
        .map(|record| record["spki"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 2, "both keys were used, on record");
}

/// What the old key is asked for before it is replaced, it signs.
#[test]
fn a_handshake_that_has_begun_with_the_old_key_ends_with_it() {
    let mut scene = scene("warm_connections = 0");
    scene.another_key();
    scene.chaos.forget_calls();
    scene.chaos.plan("delay C_Sign 3000ms");
    let socket = scene.proxy.socket();
    let old = scene.signer();
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let answer = crate::common::proxy::exchange(&socket, GET);
            status(&String::from_utf8(answer).unwrap())
        });
        until("its signature is being made", || {
            scene.chaos.calls("C_Sign") > 0
        });
        scene.chaos.plan("");
        scene.proxy.signal("HUP");
        until("the new key is in use", || scene.reloads("good") == 1.0);
        // Nobody is hurried: both are there, until the old one has signed.
        assert!(state(old).is_some_and(|state| state != 'Z'));
        assert_eq!(slow.join().unwrap(), 200, "{}", scene.proxy.log());
    });
    assert_eq!(scene.hub.connections().len(), 1);
    scene.three_processes();
    assert_ne!(scene.signer(), old);
}

#[test]
fn what_cannot_be_taken_leaves_everything_as_it_was() {
    let mut scene = scene("");
    let good = fs::read_to_string(scene.bank.config_path()).unwrap();
    // The certificate is of the key of before.
    scene
        .bank
        .configure(|settings| settings.key = crate::common::renewal::NEXT.to_owned());
    scene.refused("no such key", "c3-next");
    scene.another_key();
    fs::copy(scene.bank.path("c3.pem"), scene.bank.path("c3-next.pem")).unwrap();
    scene.refused("the certificate is another key's", "c3-next");
    scene.first_key();

    // Where the front end cannot get at it.
    let elsewhere = tempfile::tempdir().unwrap();
    let certificate = elsewhere.path().join("c3.pem");
    fs::copy(scene.bank.path("c3.pem"), &certificate).unwrap();
    let path = certificate.to_str().unwrap().to_owned();
    scene
        .bank
        .configure(|settings| settings.certificate = path.clone());
    scene.refused("a folder that is out of reach", "restart the proxy");
    scene.first_key();

    // And where it could get at the ledger.
    let own = scene.bank.path("ledger.jsonl");
    let ledger = scene.apart.path().join("ledger.jsonl");
    let [own, ledger] = [own, ledger].map(|path| path.display().to_string());
    for (why, from, to, said) in [
        (
            "another listener",
            "hub.sock",
            "hub2.sock",
            "[[proxy.listener]]",
        ),
        (
            "another limit",
            "access_log =",
            "max_requests = 7\naccess_log =",
            "[proxy]",
        ),
        (
            "another hub",
            "[hub]",
            "[hub]\nconnect_timeout = \"9s\"",
            "[hub]",
        ),
        (
            "a section that there is not",
            "[hub]",
            "[hob]",
            "there is no such section",
        ),
        ("a ledger in reach", &ledger, &own, "the ledger"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{why}");
        fs::write(scene.bank.config_path(), changed).unwrap();
        scene.refused(why, said);
    }
    fs::remove_file(scene.bank.config_path()).unwrap();
    scene.refused("no file", "bank.toml");

    // Whatever the file is now: what is started again goes by what was in use.
    let signer = scene.signer();
    signal("KILL", signer);
    until("another signer is there", || {
        signers(&scene.bank).iter().any(|pid| *pid != signer)
    });
    until("it has its key", || scene.proxy.ready()["ready"] == true);
    let front_end = scene.front_end();
    signal("KILL", front_end);
    assert_eq!(scene.proxy.get("/cm/consents/1").0, 200);
    assert_ne!(scene.front_end(), front_end);
    scene.three_processes();
}

/// Law 6: one try, whoever is started again: by the token's own flags and by the guard's record.
#[test]
fn a_pin_that_is_refused_at_a_reload_is_sent_once() {
    for in_use in [false, true] {
        let mut scene = scene("");
        let pin = match in_use {
            true => scene.bank.token.pin_file(),
            false => scene.apart.path().join("wrong-pin"),
        };
        write_file(&pin, "wrong", 0o600);
        let source = format!("{{ file = \"{}\" }}", pin.display());
        scene.bank.configure(|settings| settings.pin = source);
        scene.refused("a wrong PIN", "PIN");
        assert_eq!(scene.chaos.calls("C_Login"), 1);
        scene.refused("and again", "PIN");
        assert_eq!(scene.chaos.calls("C_Login"), 1, "it is not sent again");
        assert_eq!(
            scene.proxy.ready()["ready"],
            true,
            "who is logged in stays so"
        );
        // The token has one try fewer, and says so: the next signer asks for a person.
        signal("KILL", scene.signer());
        until("the next signer says so", || {
            scene.proxy.ready()["token"]["stage"] == "pin-guarded"
        });
        assert_eq!(scene.chaos.calls("C_Login"), 1, "and sends nothing");
        assert_eq!(scene.proxy.get("/cm/consents/1").0, 200);
    }
}

#[test]
fn many_signals_are_one_reload_more_and_never_a_third_signer() {
    let scene = scene("");
    let front_end = scene.front_end();
    // The first one is not answered yet.
    signal("STOP", front_end);
    scene.proxy.signal("HUP");
    until("another signer is there", || {
        signers(&scene.bank).len() == 2
    });
    for _ in 0..5 {
        scene.proxy.signal("HUP");
        assert_eq!(signers(&scene.bank).len(), 2);
    }
    signal("CONT", front_end);
    until("one, and one more", || {
        assert!(signers(&scene.bank).len() <= 2);
        scene.reloads("good") == 2.0
    });
    scene.three_processes();
    scene.proxy.signal("HUP");
    until("the next", || {
        assert!(signers(&scene.bank).len() <= 2);
        scene.reloads("good") >= 3.0
    });
    scene.three_processes();
    assert_eq!(scene.reloads("good"), 3.0);
    assert_eq!(scene.reloads("failed"), 0.0);
}

#[test]
fn a_front_end_that_dies_in_the_middle_is_started_again_with_what_was_in_use() {
    let mut scene = scene("");
    let (first, front_end) = (scene.certificate(), scene.front_end());
    signal("STOP", front_end);
    scene.another_key();
    scene.proxy.signal("HUP");
    until("another signer is there", || {
        signers(&scene.bank).len() == 2
    });
    signal("KILL", front_end);
    // Its sockets are the supervisor's.
    assert_eq!(scene.proxy.get("/cm/consents/1").0, 200);
    scene.three_processes();
    assert_eq!(scene.certificate(), first);
    scene.proxy.signal("HUP");
    until("it is reloaded", || scene.reloads("good") == 1.0);
    assert_ne!(scene.certificate(), first);
    scene.three_processes();

    // The end of all in the middle of a reload leaves nobody behind.
    signal("STOP", scene.front_end());
    scene.proxy.signal("HUP");
    until("another signer is there", || {
        signers(&scene.bank).len() == 2
    });
    let all = launched(scene.proxy.pid());
    assert_eq!(all.len(), 3);
    signal("KILL", scene.proxy.pid());
    until("all are gone", || {
        all.iter()
            .all(|pid| state(*pid).is_none_or(|state| state == 'Z'))
    });
}

/// A signer that is to follow may hang for minutes: neither requests nor the end of the proxy wait for it.
#[test]
fn a_stop_during_a_reload_waits_for_nobody() {
    let scene = scene("");
    scene.chaos.plan("hang C_Login 1..");
    scene.proxy.signal("HUP");
    until("the new one hangs", || scene.chaos.calls("C_Login") > 0);
    assert_eq!(signers(&scene.bank).len(), 2);
    assert_eq!(scene.proxy.get("/cm/consents/1").0, 200);
    assert_eq!(scene.proxy.ready()["ready"], true);
    scene.proxy.signal("TERM");
    let Scene { proxy, bank, .. } = scene;
    assert!(proxy.ended().success());
    assert!(signers(&bank).is_empty());
}
