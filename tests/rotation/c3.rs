//! The whole rotation of C3 while a proxy is under load: no request fails, and the hub sees both certificates.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::common::bank::Bank;
use crate::common::hub::{Hub, HubOptions};
use crate::common::paced_requests::under_requests;
use crate::common::proxy::Proxy;
use crate::scene::{
    bank, certified, labels, ledger_in, recorded, refused, rotate, start, state,
    subject_of_certificate, subject_of_request,
};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

#[test]
fn the_whole_rotation_under_load_and_no_request_fails() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
    bank.hub_at(hub.port());
    // Out of the front end's reach.
    let apart = tempfile::tempdir().unwrap();
    let lines = "max_age = \"6s\"\nwarm_connections = 2";
    let ports = Proxy::configure(&mut bank, lines, &ledger_in(apart.path()));
    let proxy = Proxy::start(&bank, ports);
    let config = fs::read_to_string(bank.config_path()).unwrap();
    fs::set_permissions(bank.config_path(), fs::Permissions::from_mode(0o640)).unwrap();
    let pid = proxy.pid().to_string();
    let x5t = || {
        let ready = proxy.ready();
        ready["certificate"]["x5t_s256"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = x5t();
    let (new, answered) = under_requests(&proxy.socket(), |more| {
        let request = start(&bank, &[]);
        let subject = subject_of_certificate(&bank.path("c3.pem"));
        assert_eq!(subject_of_request(&request), subject);
        let status = state(&bank, &[]);
        assert_eq!(status["stage"], "requested");
        assert_eq!(status["configured"], "old");
        let new_label = status["new"]["label"].as_str().unwrap().to_owned();
        assert_eq!(labels(&bank, &[]), ["c3", &new_label]);
        let chain = certified(&bank, &request);
        rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
        more();
        assert_eq!(state(&bank, &[])["proxy"], "old");
        rotate(&bank, &["test"]).expect(0);
        assert_eq!(x5t(), first, "the proxy goes on with the old pair");
        assert_eq!(fs::read_to_string(bank.config_path()).unwrap(), config);
        // Twice: there and back byte for byte, and there again.
        for round in 0..2 {
            rotate(&bank, &["switch", "--reload", &pid]).expect(0);
            let status = state(&bank, &[]);
            assert_eq!(status["stage"], "switched", "{status:#}");
            assert_eq!(status["configured"], "new");
            assert_eq!(status["proxy"], "new");
            assert_ne!(x5t(), first);
            more();
            if round == 0 {
                rotate(&bank, &["back", "--reload", &pid]).expect(0);
                assert_eq!(x5t(), first);
                assert_eq!(fs::read_to_string(bank.config_path()).unwrap(), config);
                let status = state(&bank, &[]);
                assert_eq!(status["stage"], "installed", "{status:#}");
                more();
                rotate(&bank, &["test"]).expect(0);
            }
        }
        new_label
    });
    println!("{answered} answered");
    let mode = fs::metadata(bank.config_path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let changed = fs::read_to_string(bank.config_path()).unwrap();
    let differ = config
        .lines()
        .zip(changed.lines())
        .filter(|(before, after)| before != after);
    assert_eq!(differ.count(), 2, "{changed}");
    assert_eq!(proxy.metric("hsm_mtls_proxy_problems_total", &[]), 0.0);
    let shown: BTreeSet<_> = hub
        .connections()
        .iter()
        .filter_map(|connection| connection.client_certificate.clone())
        .map(|certificate| certificate.to_vec())
        .collect();
    assert_eq!(shown.len(), 2, "the hub saw both");

    // The old key has signed a moment ago.
    let said = refused(&bank, &["retire", "--destroy", "c3"], 1);
    assert!(said.contains("may still be needed"), "{said}");
    let said = refused(&bank, &["retire", "--after", "0s"], 2);
    assert!(said.contains("does not come back"), "{said}");
    let said = refused(&bank, &["retire", "--after", "0s", "--destroy", &new], 2);
    assert!(said.contains("names"), "{said}");
    rotate(
        &bank,
        &["retire", "--after", "0s", "--destroy", "c3", "--dry-run"],
    )
    .expect(0);
    assert_eq!(labels(&bank, &[]).len(), 2);
    rotate(&bank, &["retire", "--after", "0s", "--destroy", "c3"]).expect(0);
    assert_eq!(labels(&bank, &[]), [new]);
    assert_eq!(state(&bank, &[])["under_way"], false);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    bank.run(&["verify"]).expect(0);
    let ledger = apart.path().join("ledger.jsonl");
    assert_eq!(
        recorded(&ledger),
        [
            "start", "install", "test", "switch", "back", "test", "switch", "retire"
        ]
    );
    bank.run(&["ledger", "verify"]).expect(0);
    let shown = bank.run(&["ledger", "show"]).expect(0).stdout;
    assert!(shown.contains("rotation           switch"), "{shown}");
}

/// A proxy that refuses the reload has the old pair, and the status says so.
#[test]
fn a_refused_reload_is_not_called_done() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
    bank.hub_at(hub.port());
    let apart = tempfile::tempdir().unwrap();
    let ports = Proxy::configure(&mut bank, "warm_connections = 0", &ledger_in(apart.path()));
    let proxy = Proxy::start(&bank, ports);
    let chain = certified(&bank, &start(&bank, &[]));
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    rotate(&bank, &["test"]).expect(0);
    // Another limit takes a restart.
    let config = fs::read_to_string(bank.config_path()).unwrap();
    let changed = config.replacen("access_log =", "max_requests = 7\naccess_log =", 1);
    fs::write(bank.config_path(), changed).unwrap();
    let pid = proxy.pid().to_string();
    let run = rotate(&bank, &["switch", "--reload", &pid]).expect(1);
    assert!(run.stderr.contains("refused the reload"), "{run:?}");
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    let status = state(&bank, &[]);
    assert_eq!(status["configured"], "new");
    assert_eq!(status["proxy"], "old");
    assert_eq!(status["last_signer"]["pair"], "old", "{status:#}");
    assert!(
        status["next"]["text"].as_str().unwrap().contains("reload"),
        "{status:#}"
    );
    let said = refused(&bank, &["retire", "--after", "0s", "--destroy", "c3"], 1);
    assert!(said.contains("has the old certificate still"), "{said}");
    // Not of this program: it is not ended by a SIGHUP.
    let said = rotate(
        &bank,
        &["switch", "--reload", &std::process::id().to_string()],
    )
    .expect(2);
    assert!(said.stderr.contains("is no `hsm-mtls proxy`"), "{said:?}");
    let changed = fs::read_to_string(bank.config_path()).unwrap();
    fs::write(
        bank.config_path(),
        changed.replace("max_requests = 7\n", ""),
    )
    .unwrap();
    rotate(&bank, &["switch", "--reload", &pid]).expect(0);
    assert_eq!(state(&bank, &[])["proxy"], "new");
}

/// Certificates in the token, a key of a ceremony, and the key stays in the end.
#[test]
fn a_key_of_a_ceremony_and_a_certificate_in_the_token() {
    let mut bank = bank("p-256");
    bank.configure(|settings| settings.certificate = "pkcs11:object=c3".to_owned());
    let leaf = bank.write("renewed.pem", &bank.issue());
    bank.run(&["cert", "install", leaf.to_str().unwrap()])
        .expect(0);
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
    bank.hub_at(hub.port());
    let said = refused(&bank, &["start", "--key", "pkcs11:object=c3"], 2);
    assert!(said.contains("it is the old key"), "{said}");
    assert_eq!(state(&bank, &[])["under_way"], false);
    bank.run(&["key", "generate", "--type", "p-256", "--label", "ceremony"])
        .expect(0);
    let request = start(&bank, &["--key", "pkcs11:object=ceremony;type=private"]);
    let chain = certified(&bank, &request);
    rotate(&bank, &["install", chain.to_str().unwrap()]).expect(0);
    rotate(&bank, &["test"]).expect(0);
    rotate(&bank, &["switch"]).expect(0);
    let config = fs::read_to_string(bank.config_path()).unwrap();
    assert!(
        config.contains("key = \"pkcs11:object=ceremony;type=private\""),
        "{config}"
    );
    assert!(
        config.contains("certificate = \"pkcs11:object=ceremony;"),
        "{config}"
    );
    let shown: Value = bank.run(&["verify", "--json"]).expect(0).json();
    assert!(shown["certificate"]["key"].to_string().contains("ceremony"));
    rotate(&bank, &["retire", "--after", "0s", "--keep"]).expect(0);
    assert_eq!(labels(&bank, &[]), ["c3", "ceremony"]);
}
