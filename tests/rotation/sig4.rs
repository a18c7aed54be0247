//! The whole rotation of Sig4: no request of the proxy goes without a token that a hub accepts, and the new key signs only when it has been
//! published for ten minutes.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::common::bank::{Bank, CLIENT_ID, ORGANIZATION_ID, Run};
use crate::common::hub::{Hub, HubOptions};
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::paced_requests::under_requests;
use crate::common::proxy::Proxy;
use crate::common::published_keys::{failed, jwk, key_set, kid};
use crate::common::sig4::section;
use crate::common::sig4_onboarding::{issued, onboard, section_on_token};
use crate::common::whole_rotation::age_publications;
use crate::scene::{labels, ledger_in, recorded, start, state};

const HOUR: Duration = Duration::from_secs(3600);

fn set_name() -> String {
    format!("{ORGANIZATION_ID}/{CLIENT_ID}/application.jwks")
}

/// Runs a step with the bank's Trust Framework in the place of the machine's public roots.
fn rotate(bank: &Bank, arguments: &[&str]) -> Run {
    let arguments = [&["rotate"], arguments, &["--sig4"]].concat();
    bank.run_with(&arguments, &[("SSL_CERT_FILE", &bank.path("anchors.pem"))])
}

fn keystore(bank: &Bank) -> Nginx {
    Nginx::start(&NginxOptions {
        verify_client: false,
        ..NginxOptions::of(&bank.framework, &["localhost"])
    })
}

fn url(keystore: &Nginx) -> String {
    format!("https://localhost:{}/files/{}", keystore.port(), set_name())
}

fn kid_of_token(token: &str) -> String {
    let header = URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[test]
fn the_whole_rotation_under_load_and_each_request_has_its_token() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let keystore = keystore(&bank);
    let tokens: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&tokens);
    let mut options = HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]);
    options.observer = Some(Box::new(move |request, _| {
        let value = request.headers.get("authorization");
        let token = value.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        kept.lock()
            .unwrap()
            .push(token.unwrap_or("none").to_owned());
    }));
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let apart = tempfile::tempdir().unwrap();
    let lines = format!("jwks = \"{}\"", url(&keystore));
    let sections = section(&lines) + &ledger_in(apart.path());
    bank.configure(|settings| settings.sections = sections.clone());
    onboard(&bank);
    let old = fs::read_to_string(bank.path("sig4.pem")).unwrap();
    // The kid is compared, and follows the certificate.
    let sections = sections.replace(&lines, &format!("{lines}\nkid = \"{}\" # ours", kid(&old)));
    let ports = Proxy::configure(&mut bank, "jwt = \"both\"", &sections);
    let anchors: PathBuf = bank.path("anchors.pem");
    let publish = |keys: &[&Value], age: Duration| {
        keystore.serve_file(&set_name(), &key_set(keys), age);
    };
    let ours = jwk(&bank, &old);
    publish(&[&ours], HOUR);
    let proxy = Proxy::start_with(&bank, ports, &[("SSL_CERT_FILE", anchors)]);
    let config = fs::read_to_string(bank.config_path()).unwrap();
    let pid = proxy.pid().to_string();
    let (new_kid, answered) = under_requests(&proxy.socket(), |more| {
        let request = start(&bank, &["--sig4"]);
        let leaf = issued(&bank.framework, &request) + &bank.framework.issuing_pem();
        let new = jwk(&bank, &leaf);
        let file = bank.write("new.pem", &leaf);
        rotate(&bank, &["install", file.to_str().unwrap()]).expect(0);
        // Not published.
        let report = rotate(&bank, &["test", "--json"]).expect(1).json();
        assert!(failed(&report).contains(&"kid"), "{report:#}");
        publish(&[&ours, &new], Duration::ZERO);
        let report = rotate(&bank, &["test", "--json"]).expect(1).json();
        assert_eq!(failed(&report), ["published"], "ten minutes: {report:#}");
        let said = rotate(&bank, &["switch"]).expect(2).stderr;
        assert!(said.contains("rotate test --sig4"), "{said}");
        // Eleven minutes later.
        age_publications(&bank, 660);
        let report = rotate(&bank, &["test", "--json"]).expect(0).json();
        assert_eq!(report["passed"], true, "{report:#}");
        more();
        for round in 0..2 {
            rotate(&bank, &["switch", "--reload", &pid]).expect(0);
            more();
            let text = fs::read_to_string(bank.config_path()).unwrap();
            assert!(
                text.contains(&format!("kid = \"{}\" # ours", kid(&leaf))),
                "{text}"
            );
            if round == 0 {
                rotate(&bank, &["back", "--reload", &pid]).expect(0);
                assert_eq!(fs::read_to_string(bank.config_path()).unwrap(), config);
                more();
                rotate(&bank, &["test"]).expect(0);
            }
        }
        kid(&leaf)
    });
    println!("{answered} answered");
    let seen = tokens.lock().unwrap().clone();
    let kids: BTreeSet<_> = seen.iter().map(|token| kid_of_token(token)).collect();
    assert_eq!(kids, BTreeSet::from([kid(&old), new_kid]));
    let status = state(&bank, &["--sig4"]);
    assert_eq!(status["last_signer"]["pair"], "new", "{status:#}");
    assert_eq!(status["proxy"], "new");
    // C3 is not concerned.
    assert_eq!(state(&bank, &[])["under_way"], false);
    rotate(&bank, &["retire", "--after", "0s", "--destroy", "sig4"]).expect(0);
    assert!(!labels(&bank, &[]).contains(&"sig4".to_owned()));
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(
        recorded(&apart.path().join("ledger.jsonl")),
        [
            "start", "install", "test", "test", "test", "switch", "back", "test", "switch",
            "retire"
        ]
    );
}

#[test]
fn a_sig4_key_in_a_token_of_its_own_is_rotated_there() {
    let mut bank = Bank::new();
    bank.token.initialize("signing-token");
    let keystore = keystore(&bank);
    let sections = section_on_token(&bank, "signing-token")
        + &format!("jwks = \"{}\"\n", url(&keystore))
        + &ledger_in(bank.folder());
    bank.configure(|settings| settings.sections = sections);
    bank.certify("rsa-2048");
    onboard(&bank);
    let request = start(&bank, &["--sig4"]);
    let leaf = issued(&bank.framework, &request) + &bank.framework.issuing_pem();
    let keys = [jwk(&bank, &leaf)];
    keystore.serve_file(&set_name(), &key_set(&[&keys[0]]), HOUR);
    let file = bank.write("new.pem", &leaf);
    rotate(&bank, &["install", file.to_str().unwrap()]).expect(0);
    rotate(&bank, &["test"]).expect(0);
    rotate(&bank, &["switch"]).expect(0);
    assert_eq!(labels(&bank, &[]), ["c3"]);
    assert_eq!(labels(&bank, &["--sig4"]).len(), 2);
    let token = bank.run(&["jwt", "mint"]).expect(0).stdout;
    assert_eq!(kid_of_token(&token), kid(&leaf));
    rotate(&bank, &["retire", "--after", "0s", "--destroy", "sig4"]).expect(0);
    assert_eq!(labels(&bank, &["--sig4"]).len(), 1);
}
