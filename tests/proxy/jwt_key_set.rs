//! The published key set in the proxy: a note of `/readyz`, and a part of the proof before a reload takes another Sig4 certificate.

use std::time::Duration;

use serde_json::Value;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::jwt_verdicts::jwks_of;
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::poll::until;
use crate::common::proxy::Proxy;
use crate::common::sig4;

const HOUR: Duration = Duration::from_secs(3600);

fn key_set(proxy: &Proxy) -> Value {
    proxy.ready()["jwt"]["key_set"].clone()
}

#[test]
fn a_reload_takes_no_certificate_whose_key_is_not_published() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    sig4::certify(&mut bank, "rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let keystore = Nginx::start(&NginxOptions {
        verify_client: false,
        ..NginxOptions::of(&bank.framework, &["localhost"])
    });
    let url = format!(
        "https://localhost:{}/files/application.jwks",
        keystore.port()
    );
    let file = bank.path("sig4.pem");
    let publish = |set: &Value| keystore.serve_file("application.jwks", &set.to_string(), HOUR);
    let old = jwks_of(&[&file]);
    publish(&old);
    let section = sig4::section(&format!("jwks = \"{url}\""));
    let ports = Proxy::configure(&mut bank, "jwt = \"both\"", &section);
    // The bank's Trust Framework is in the place of the machine's public roots.
    let roots = [("SSL_CERT_FILE", bank.path("anchors.pem"))];
    let proxy = Proxy::start_with(&bank, ports, &roots);
    until("the first check", || key_set(&proxy)["published"] == true);
    assert!(key_set(&proxy)["checked"].is_string());

    sig4::issue_anew(&bank);
    let new = jwks_of(&[&file]);
    let kid = |set: &Value| set["keys"][0]["kid"].clone();
    proxy.signal("HUP");
    until("the refusal", || {
        proxy.log().contains("does not fit the new Sig4 key")
    });
    assert_eq!(proxy.ready()["jwt"]["kid"], kid(&old));
    assert_eq!(proxy.get("/cm/consents/1").0, 200);

    publish(&new);
    proxy.signal("HUP");
    until("the new kid", || proxy.ready()["jwt"]["kid"] == kid(&new));
    assert_eq!(proxy.get("/cm/consents/1").0, 200);

    // A keystore out of reach keeps nothing back.
    drop(keystore);
    sig4::issue_anew(&bank);
    let newest = jwks_of(&[&file]);
    proxy.signal("HUP");
    until("the newest kid", || {
        proxy.ready()["jwt"]["kid"] == kid(&newest)
    });
    assert_eq!(proxy.ready()["ready"], true);
}
