//! `/readyz` says what the signer says: a token that is away, a PIN that is guarded and a signer that is
//! no more are seen there before any request meets them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::bank::Bank;
use common::chaos::Chaos;
use common::hub::{Hub, HubOptions};
use common::poll::until;
use common::proxy::Proxy;
use common::remote::{CLIENT, RemoteToken};
use common::trust_framework::write_file;
use common::walled::signers;

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
