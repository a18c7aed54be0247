//! `/readyz` reports the signer's health: an absent token, a guarded PIN and a dead signer are seen there before a
//! request fails for them.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::{found, until};
use crate::common::proxy::Proxy;
use crate::common::remote_token::{CLIENT, RemoteToken};
use crate::common::signer_process::signers;
use crate::common::trust_framework::write_file;

fn scene() -> (Bank, Hub) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    (bank, hub)
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_token_that_is_away_is_seen_before_a_request_meets_it() {
    let (mut bank, hub) = scene();
    bank.configure(|settings| settings.module = PathBuf::from(CLIENT));
    let socket = bank.path("p11-kit.sock");
    let mut token = RemoteToken::at(&socket, "lfi");
    token.start_with(&bank.token.conf());
    // Nothing of the proxy's own asks the token meanwhile.
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
    let address = RemoteToken::address(&socket);
    let proxy = Proxy::start_with(&bank, ports, &[("P11_KIT_SERVER_ADDRESS", address.into())]);
    let ready = proxy.ready();
    assert_eq!(ready["ready"], true, "{ready:#}");
    assert_eq!(ready["schema"], 0);
    let signer = &ready["token"]["signer"];
    assert_eq!(
        (&signer["state"], &signer["sessions_in_use"]),
        (&"ready".into(), &0.into()),
        "{ready:#}"
    );
    // The pair was proved.
    assert!(signer["last_signature"].is_string(), "{ready:#}");

    token.kill();
    until("it is not ready", || proxy.ready()["ready"] == false);
    until("its stage is named", || {
        let token = proxy.ready()["token"].clone();
        let down = &token["signer"]["down_since"];
        token["good"] == false && token["stage"] == "token-down" && down.is_string()
    });
    assert_eq!(proxy.operations("/readyz").0, 503);
    let token_part = proxy.ready()["token"].clone();
    let detail = token_part["detail"].as_str().unwrap();
    assert!(detail.contains("the token is down since"), "{token_part:#}");
    assert!(!token_part["hint"].as_str().unwrap().is_empty());

    token.start_with(&bank.token.conf());
    until("it is ready again", || proxy.ready()["ready"] == true);
    assert!(hub.connections().is_empty(), "and nobody asked the hub");
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
}

#[test]
fn a_pin_that_is_refused_or_guarded_is_said() {
    let (mut bank, _hub) = scene();
    let pin = bank.token.pin_file();
    let ports = Proxy::configure(&mut bank, "", "");
    let chaos = Chaos::between(&mut bank, "");
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    proxy.warm("cm", 2);
    // A person put another PIN there; the next signer meets it.
    write_file(&pin, "wrong", 0o600);
    chaos.forget_calls();
    let first = signers(&bank)[0];
    signal("KILL", first);
    until("it is said", || {
        proxy.ready()["token"]["stage"] == "pin-guarded"
    });
    let ready = proxy.ready();
    assert_eq!(ready["ready"], false);
    assert_eq!(ready["token"]["signer"]["state"], "failed", "{ready:#}");
    // What was connected goes on.
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    signal("KILL", signers(&bank)[0]);
    until("the next says the same", || {
        proxy.ready()["token"]["stage"] == "pin-guarded"
    });
    assert_eq!(chaos.calls("C_Login"), 1);
    proxy.signal("TERM");
    assert!(proxy.ended().success());

    // At the start there is nobody to say it on /readyz: it is the end of the proxy, with its code.
    let run = chaos.run(&bank, &["proxy"]).expect(4);
    assert!(run.stderr.contains("PIN"), "{run:?}");
    assert_eq!(chaos.calls("C_Login"), 1);
}

#[test]
fn a_signer_that_does_not_answer_is_said_and_holds_up_nobody() {
    let (mut bank, _hub) = scene();
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    proxy.warm("cm", 2);
    let signer = signers(&bank)[0];
    signal("STOP", signer);
    until("it is seen", || proxy.ready()["ready"] == false);
    let asked = Instant::now();
    let told = std::thread::scope(|scope| {
        let many: Vec<_> = (0..12).map(|_| scope.spawn(|| proxy.ready())).collect();
        // The one thread of the proxy serves meanwhile.
        let asked = Instant::now();
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
        assert!(asked.elapsed() < Duration::from_millis(900));
        many.into_iter()
            .map(|told| told.join().unwrap())
            .collect::<Vec<_>>()
    });
    // One question for all of them, not one after the other.
    assert!(
        asked.elapsed() < Duration::from_millis(2500),
        "{:?}",
        asked.elapsed()
    );
    for ready in told {
        assert_eq!(ready["ready"], false, "{ready:#}");
        assert_eq!(ready["token"]["signer"]["state"], "silent");
        let detail = ready["token"]["detail"].as_str().unwrap();
        assert_eq!(detail, "the signer process does not answer");
    }
    // Where it was stopped for too long, it was ended by now: there is another.
    let _ = Command::new("kill")
        .args(["-CONT", &signer.to_string()])
        .status();
    until("it is ready again", || proxy.ready()["ready"] == true);
}

/// Behind a balancer no traffic comes until it is ready: nothing but the proxy itself finds out that
/// what a failure came of is over.
#[test]
fn a_failure_does_not_outlive_its_cause_where_nobody_calls() {
    for (lines, plan) in [
        ("warm_connections = 0", "fail C_Sign all CKR_DEVICE_REMOVED"),
        // What is connected goes on, and no connection is missing.
        ("warm_connections = 1", "fail C_Sign all CKR_DEVICE_REMOVED"),
        // The signer finds nothing wrong with its token.
        ("warm_connections = 0", "signature wrong"),
    ] {
        let (mut bank, _) = scene();
        let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
        options.thinks = Duration::from_millis(500);
        let hub = Hub::start_in_thread(options);
        bank.hub_at(hub.port());
        let lines = format!("{lines}\nidle_timeout = \"10m\"");
        let ports = Proxy::configure(&mut bank, &lines, "");
        let chaos = Chaos::between(&mut bank, "");
        let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
        if lines.contains("= 1") {
            proxy.warm("cm", 1);
            proxy.warm("hh", 1);
        }
        chaos.plan(plan);
        until("one that was needed was not made", || {
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| proxy.get("/cm/consents/1"));
                }
            });
            let upstreams = proxy.ready()["upstreams"].clone();
            upstreams[0]["last_handshake"]["good"] == false
        });
        assert_eq!(proxy.operations("/readyz").0, 503, "{plan}");
        chaos.plan("");
        let since = Instant::now();
        until("it is ready again", || proxy.ready()["ready"] == true);
        let took = since.elapsed();
        assert!(took < Duration::from_secs(20), "{lines}, {plan}: {took:?}");
        let ready = proxy.ready();
        assert_eq!(ready["upstreams"][0]["good"], true, "{ready:#}");
    }
}

#[test]
fn a_hub_that_is_back_is_found_where_nobody_calls() {
    let (mut bank, hub) = scene();
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", "");
    let proxy = Proxy::start(&bank, ports);
    let port = hub.port();
    drop(hub);
    assert_eq!(proxy.get("/cm/consents/1").0, 502);
    assert_eq!(proxy.ready()["ready"], false);
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.port = port;
    let _back = Hub::start_in_thread(options);
    until("it is ready again", || proxy.ready()["ready"] == true);
    assert_eq!(proxy.ready()["upstreams"][0]["good"], true);
}

/// At boot the clock may not be set yet, and to such a machine a good certificate is not valid yet.
#[test]
fn a_certificate_whose_time_has_not_begun_is_waited_for() {
    let (mut bank, hub) = scene();
    let begins = time::OffsetDateTime::now_utc() + time::Duration::seconds(25);
    let early = bank.framework.issue_client_with(&bank.csr(), |params| {
        params.not_before = begins;
    });
    let good = std::fs::read_to_string(bank.path("c3.pem")).unwrap();
    let early = early + &bank.framework.issuing_pem();
    bank.write("c3.pem", &early);
    // What runs once says it, and ends.
    let run = bank.run(&["request", "GET", "cm:/consents/1"]).expect(2);
    assert!(run.stderr.contains("is not valid before"), "{run:?}");

    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let (code, text) = proxy.operations("/readyz");
    let ready: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &ready["ready"]), (503, &false.into()), "{ready:#}");
    let certificate = &ready["certificate"];
    assert_eq!(certificate["good"], false, "{ready:#}");
    let detail = certificate["detail"].as_str().unwrap();
    assert!(detail.contains("is not valid before"), "{detail}");
    assert!(certificate["hint"].as_str().unwrap().contains("clock"));
    assert!(proxy.log().contains("it is waited for"), "{}", proxy.log());
    // Callers are told at once, and the hub is shown nothing.
    let (code, answer) = proxy.get("/cm/consents/1");
    assert_eq!(code, 503, "{answer}");
    assert_eq!(crate::common::proxy::body(&answer)["stage"], "certificate");
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    assert!(hub.connections().is_empty());

    let ready = || (proxy.ready()["ready"] == true).then_some(());
    let came = (0..4).find_map(|_| found(ready));
    assert_eq!(came, Some(()), "{:#}", proxy.ready());
    assert_eq!(proxy.get("/cm/consents/1").0, 200);

    // One that is good is not given up for one that is not, yet.
    bank.write("c3.pem", &good);
    proxy.signal("HUP");
    until("the good one is taken", || proxy.log().contains("reloaded"));
    let later = bank.framework.issue_client_with(&bank.csr(), |params| {
        params.not_before = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    });
    bank.write("c3.pem", &(later + &bank.framework.issuing_pem()));
    proxy.signal("HUP");
    until("it is refused", || proxy.log().contains("NOT reloaded"));
    assert_eq!(proxy.ready()["ready"], true);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
}
