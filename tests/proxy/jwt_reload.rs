//! A reload takes a new Sig4 certificate, and throws the tokens of the one before away; one that does not fit its key changes nothing.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::jwt_verdicts::{Arrived, jwks_of, verdicts};
use crate::common::poll::until;
use crate::common::proxy::Proxy;
use crate::common::sig4;
use hsm_mtls::internal::rfc3339::unix_now;

fn last_token(hub: &Hub) -> Arrived {
    let seen = hub.seen();
    let value = &seen.last().unwrap().headers["authorization"];
    let token = value.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    (token.to_owned(), unix_now())
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn kid(jwks: &Value) -> &Value {
    &jwks["keys"][0]["kid"]
}

#[test]
fn a_reload_takes_a_new_certificate_and_refuses_one_that_does_not_fit() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "jwt = \"both\"", &sig4::section(""));
    let proxy = Proxy::start(&bank, ports);
    let file = bank.path("sig4.pem");
    let before = jwks_of(&[&file]);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(verdicts(&before, &[last_token(&hub)])[0].1, ["ok"]);

    sig4::issue_anew(&bank);
    let after = jwks_of(&[&file]);
    assert_ne!(kid(&before), kid(&after));
    proxy.signal("HUP");
    until("the new kid", || {
        proxy.ready()["jwt"]["kid"] == *kid(&after)
    });
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    for (hub, verdicts) in verdicts(&after, &[last_token(&hub)]) {
        assert_eq!(verdicts, ["ok"], "{hub}");
    }

    // A shorter life counts for the stock too.
    let text = fs::read_to_string(bank.config_path()).unwrap();
    let shorter = text.replace("[sig4]\n", "[sig4]\nlifetime = \"10s\"\n");
    fs::write(bank.config_path(), shorter).unwrap();
    proxy.signal("HUP");
    until("a shorter life", || {
        proxy.get("/cm/consents/1");
        let claims = claims(&last_token(&hub).0);
        claims["exp"].as_u64() == claims["iat"].as_u64().map(|iat| iat + 10)
    });

    // C3's certificate in the place of Sig4's.
    fs::copy(bank.path("c3.pem"), &file).unwrap();
    proxy.signal("HUP");
    until("the refusal", || proxy.log().contains("NOT reloaded"));
    assert_eq!(proxy.ready()["jwt"]["kid"], *kid(&after));
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(verdicts(&after, &[last_token(&hub)])[1].1, ["ok"]);
}
