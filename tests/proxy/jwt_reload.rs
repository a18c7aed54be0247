//! A reload takes a new Sig4 certificate, and throws the tokens of the one before away; one that does not fit its key changes nothing.

use std::fs;

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

    // C3's certificate in the place of Sig4's.
    fs::copy(bank.path("c3.pem"), &file).unwrap();
    proxy.signal("HUP");
    until("the refusal", || proxy.log().contains("NOT reloaded"));
    assert_eq!(proxy.ready()["jwt"]["kid"], *kid(&after));
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(verdicts(&after, &[last_token(&hub)])[1].1, ["ok"]);
}
