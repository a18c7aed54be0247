//! The whole path of an operator on tokens other than SoftHSM: openCryptoki, a TPM 2.0 and NSS softokn, each against nginx.

use crate::common::bank::Bank;
use crate::common::nginx::{Nginx, NginxOptions, Protocols};
use crate::common::nss_token::NssToken;
use crate::common::opencryptoki::OpenCryptoki;
use crate::common::proxy::Proxy;
use crate::common::tpm_token::TpmToken;

const REQUESTS: usize = 20;

/// From an empty token to requests through the proxy, each on a connection of its own.
fn whole_path(bank: &mut Bank, key_type: &str) {
    bank.run(&["token", "list"]).expect(0);
    bank.run(&["key", "generate", "--type", key_type]).expect(0);
    let keys = bank.run(&["key", "list", "--json"]).expect(0).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys:#}");
    let leaf = bank.issue();
    let chain = bank.write("issued.pem", &(leaf + &bank.framework.issuing_pem()));
    bank.run(&["cert", "install", chain.to_str().unwrap()])
        .expect(0);
    bank.run(&["token", "check", "-n", "20"]).expect(0);
    for protocols in [Protocols::Tls12, Protocols::Tls13] {
        let options = NginxOptions {
            protocols,
            ..NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"])
        };
        let hub = Nginx::start(&options);
        bank.hub_at(hub.port());
        let report = bank.run(&["verify", "--json"]).expect(0).json();
        assert_eq!(report["established"], true, "{protocols:?}: {report:#}");
    }
    let audit = bank.run(&["audit", "--active", "--json"]);
    assert!(matches!(audit.code, 0 | 1), "{audit:?}");
    let options = NginxOptions {
        requests_per_connection: 1,
        ..NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"])
    };
    let hub = Nginx::start(&options);
    bank.hub_at(hub.port());
    let uses = tempfile::tempdir().unwrap();
    let ledger = format!(
        "[ledger]\nfile = \"{}/ledger.jsonl\"\n",
        uses.path().display()
    );
    let ports = Proxy::configure(bank, "", &ledger);
    let proxy = Proxy::start(bank, ports);
    for _ in 0..REQUESTS {
        let (status, answer) = proxy.get("/cm/hello-mtls");
        assert_eq!(status, 200, "{answer}");
    }
    proxy.signal("TERM");
    assert_eq!(proxy.ended().code(), Some(0));
    hub.wait_for_accesses(REQUESTS);
    bank.run(&["ledger", "verify"]).expect(0);
    let signatures = bank
        .run(&["ledger", "show", "--purpose", "tls13-client-auth", "--json"])
        .expect(0);
    assert!(
        signatures.stdout.lines().count() >= REQUESTS,
        "{signatures:?}"
    );
}

#[test]
fn opencryptoki_makes_the_key_and_signs() {
    let Some(token) = OpenCryptoki::in_namespaces(opencryptoki_makes_the_key_and_signs) else {
        return;
    };
    let mut bank = Bank::new();
    token.configure(&mut bank);
    whole_path(&mut bank, "rsa-2048");
}

#[test]
fn a_tpm_makes_the_key_and_signs() {
    for key_type in ["rsa-2048", "p-256"] {
        let token = TpmToken::new();
        let mut bank = Bank::new();
        token.configure(&mut bank);
        whole_path(&mut bank, key_type);
    }
}

#[test]
fn nss_softokn_makes_the_key_and_signs() {
    for key_type in ["rsa-2048", "p-256"] {
        let token = NssToken::new();
        let mut bank = Bank::new();
        token.configure(&mut bank);
        whole_path(&mut bank, key_type);
    }
}
