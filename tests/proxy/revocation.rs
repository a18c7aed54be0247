//! The proxy says that our certificate is revoked as soon as a list says so: at the start, at a reload, and when the file of the
//! list changes. And a CRL that is outdated means what the configuration says.

use std::fs;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use time::Duration;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::proxy::Proxy;

const WEEK: Duration = Duration::days(7);
const REVOKED: &str = "hsm_mtls_proxy_certificate_revoked";

/// A bank, a hub, and the hub's certificate.
fn scene(lines: &str) -> (Bank, Hub, CertificateDer<'static>) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let server = bank.framework.issue_server(&["localhost", "127.0.0.1"]);
    let certificate = server.chain_der[0].clone();
    let hub = Hub::start_in_thread(HubOptions::new(server, bank.framework.bundle_pem()));
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.trust_lines = lines.to_owned());
    (bank, hub, certificate)
}

fn leaf(bank: &Bank) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&fs::read(bank.path("c3.pem")).unwrap()).unwrap()
}

/// Replaces the list as `trust update` does.
fn list(bank: &Bank, text: &str) {
    let new = bank.write("new.crl", text);
    fs::rename(new, bank.path("list.crl")).unwrap();
}

fn said(proxy: &Proxy) -> usize {
    proxy.log().matches("our certificate is REVOKED").count()
}

#[test]
fn a_revocation_is_said_when_the_file_changes_and_taken_back_with_it() {
    let (mut bank, _hub, _) = scene("crls = [\"list.crl\"]");
    list(&bank, &bank.framework.crl(&[], WEEK));
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let certificate = || proxy.ready()["certificate"].clone();
    assert_eq!(certificate()["revoked"], false);
    assert_eq!(proxy.metric(REVOKED, &[("key", "C3")]), 0.0);
    let outdated_from = proxy.metric("hsm_mtls_proxy_crl_next_update_timestamp_seconds", &[]);
    let expected = (time::OffsetDateTime::now_utc() + WEEK).unix_timestamp() as f64;
    assert!((outdated_from - expected).abs() < 600.0, "{outdated_from}");

    list(&bank, &bank.framework.crl(&[&leaf(&bank)], WEEK));
    until("it is said", || certificate()["revoked"] == true);
    let report = proxy.ready();
    assert_eq!(report["ready"], false, "{report:#}");
    assert!(
        report["certificate"]["revoked_since"].is_string(),
        "{report:#}"
    );
    assert!(
        report["certificate"]["hint"]
            .as_str()
            .unwrap()
            .contains("hsm-mtls csr"),
        "{report:#}"
    );
    assert_eq!(proxy.operations("/readyz").0, 503);
    assert_eq!(proxy.metric(REVOKED, &[("key", "C3")]), 1.0);
    assert_eq!(said(&proxy), 1);
    // The hub decides: requests are sent as before.
    assert_eq!(proxy.get("/cm/consents/1").0, 200);

    list(&bank, &bank.framework.crl(&[], WEEK));
    until("it is taken back", || certificate()["revoked"] == false);
    assert_eq!(proxy.ready()["ready"], true);
    list(&bank, "no list");
    until("it is not known", || {
        certificate()["revoked"] == Value::Null
    });
    assert_eq!(proxy.ready()["ready"], true);
    assert!(proxy.metric(REVOKED, &[("key", "C3")]).is_nan());
    assert_eq!(said(&proxy), 1);
}

#[test]
fn a_revocation_is_said_at_the_start_and_at_a_reload() {
    let (mut bank, _hub, _) = scene("crls = [\"list.crl\"]");
    list(&bank, &bank.framework.crl(&[&leaf(&bank)], WEEK));
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.ready()["certificate"]["revoked"], true);
    assert_eq!(said(&proxy), 1);
    proxy.signal("HUP");
    until("it is said again", || said(&proxy) == 2);
    // The next certificate for the same key is another one.
    let next = bank.issue() + &bank.framework.issuing_pem();
    bank.write("c3.pem", &next);
    proxy.signal("HUP");
    until("it is good", || {
        proxy.ready()["certificate"]["revoked"] == false
    });
    assert_eq!(proxy.ready()["ready"], true);
}

#[test]
fn without_a_list_nothing_is_known_and_nothing_is_wrong() {
    let (mut bank, _hub, _) = scene("");
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    let report = proxy.ready();
    assert_eq!(
        (&report["ready"], &report["certificate"]["revoked"]),
        (&true.into(), &Value::Null)
    );
    assert!(!proxy.log().contains("revoked"), "{}", proxy.log());
}

#[test]
fn an_outdated_list_refuses_the_hub_or_warns_as_configured() {
    let (mut bank, _hub, server) = scene("crls = [\"list.crl\"]");
    list(&bank, &bank.framework.crl(&[], -WEEK));
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/consents/1").0, 502);
    drop(proxy);
    bank.configure(|settings| settings.trust_lines += "\ncrl_stale = \"warn\"");
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert!(
        proxy
            .log()
            .contains("this CRL is outdated, and counts all the same"),
        "{}",
        proxy.log()
    );
    drop(proxy);
    // What it lists is revoked all the same.
    list(&bank, &bank.framework.crl(&[&server], -WEEK));
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/consents/1").0, 502);
}
