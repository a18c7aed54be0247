//! Families of HSMs that are simulated from documents (chaos-token's personas) are lost and come back: the proxy finds them
//! again without a restart and without a loop of logins.

use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::persona::{ALL, Persona, install_certificate};
use crate::common::poll::{found_within, until};
use crate::common::proxy::Proxy;
use crate::common::token_objects;

/// Between the device's return and a request that has to be good.
const RETURN: Duration = Duration::from_secs(5);

/// The proxy in front of a hub that wants a new connection, and so a signature, for each request.
fn proxy(bank: &mut Bank) -> (Nginx, Proxy) {
    let options = NginxOptions {
        requests_per_connection: 1,
        ..NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"])
    };
    let hub = Nginx::start(&options);
    bank.hub_at(hub.port());
    let ports = Proxy::configure(bank, "warm_connections = 0", "");
    let proxy = Proxy::start(bank, ports);
    (hub, proxy)
}

/// Lost and back, twice, with the same signer process.
fn heals<Test: Fn()>(name: &str, test: Test) {
    if config_of_child().is_some() {
        return token_objects::generate_unprotected_p256("c3");
    }
    let persona = Persona::named(name);
    let (mut bank, chaos) = persona.bank();
    match persona.vendor_makes_keys {
        true => bank.run_test(test, &[]),
        false => drop(persona.generate(&bank, "p-256").expect(0)),
    }
    install_certificate(&bank);
    let (_hub, proxy) = proxy(&mut bank);
    assert_eq!(proxy.get("/cm/hello-mtls").0, 200, "{}", proxy.log());
    for cycle in 1..=2 {
        lose(persona, &chaos, &proxy);
        chaos.plan(&persona.plan(""));
        chaos.forget_calls();
        let good = found_within(RETURN, || {
            (proxy.get("/cm/hello-mtls").0 == 200).then_some(())
        });
        assert!(good.is_some(), "cycle {cycle}:\n{}", proxy.log());
        let logins = chaos.calls("C_Login");
        assert!(
            logins <= 3,
            "{logins} logins to come back:\n{}\n{}",
            proxy.log(),
            chaos.log()
        );
    }
    assert!(
        !proxy.log().contains("the signer process ended"),
        "{}",
        proxy.log()
    );
    proxy.signal("TERM");
    assert_eq!(proxy.ended().code(), Some(0));
}

/// Requests fail in time while the device is lost, and C_Login is not called more often than the backoff allows.
fn lose(persona: Persona, chaos: &Chaos, proxy: &Proxy) {
    chaos.plan(&persona.plan("outage"));
    chaos.forget_calls();
    let started = Instant::now();
    until("the loss is noticed", || {
        proxy.get("/cm/hello-mtls").0 != 200
    });
    for _ in 0..5 {
        let (status, answer) = proxy.get("/cm/hello-mtls");
        assert!((500..600).contains(&status), "{answer}");
    }
    until("it is not ready", || proxy.operations("/readyz").0 == 503);
    let seconds = started.elapsed().as_secs() as usize;
    let logins = chaos.calls("C_Login");
    assert!(logins <= 8 + 2 * seconds, "{logins} logins in {seconds} s");
}

#[test]
fn aws_cloudhsm() {
    heals("aws", aws_cloudhsm);
}

#[test]
fn azure_cloud_hsm() {
    heals("azure-cloud", azure_cloud_hsm);
}

#[test]
fn cryptoauthlib() {
    heals("cryptoauthlib", cryptoauthlib);
}

#[test]
fn google_kms() {
    heals("google", google_kms);
}

#[test]
fn luna() {
    heals("luna", luna);
}

#[test]
fn nethsm() {
    heals("nethsm", nethsm);
}

#[test]
fn nshield_card() {
    heals("nshield", nshield_card);
}

#[test]
fn nshield_without_a_card() {
    heals("nshield-accelerator", nshield_without_a_card);
}

#[test]
fn yubihsm_2() {
    heals("yubihsm", yubihsm_2);
}

/// More signatures than the cluster carries out in a second: it heals by itself, and logins are no part of the load.
#[test]
fn aws_throttles() {
    let persona = Persona::named("aws");
    let (mut bank, chaos) = persona.bank();
    persona.certify(&bank, "p-256");
    let (_hub, proxy) = proxy(&mut bank);
    chaos.plan(&persona.plan("throttle C_Sign 8 CKR_DEVICE_ERROR"));
    chaos.forget_calls();
    const REQUESTS: usize = 12;
    for _ in 0..REQUESTS {
        until("a request is good", || proxy.get("/cm/hello-mtls").0 == 200);
    }
    let refused = chaos.calls("C_Sign") - REQUESTS;
    let logins = chaos.calls("C_Login");
    assert!(refused > 0, "nothing was throttled");
    assert!(
        logins <= refused,
        "{logins} logins after {refused} refusals"
    );
    proxy.signal("TERM");
    assert_eq!(proxy.ended().code(), Some(0));
}

/// Every persona is lost in a test above.
#[test]
fn no_persona_is_left_out() {
    let text = include_str!("persona_outages.rs");
    for persona in ALL {
        let call = format!("heals(\"{}\",", persona.name);
        assert!(text.contains(&call), "{call}");
    }
}
