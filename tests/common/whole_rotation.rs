//! The whole rotation of a key, as it is the same on each token: there, back, there again, and the old key destroyed, while a proxy
//! has requests all the time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::bank::{Bank, CLIENT_ID, ORGANIZATION_ID, Run};
use super::hub::{Hub, HubOptions};
use super::nginx::{Nginx, NginxOptions};
use super::paced_requests::under_paced_requests;
use super::proxy::Proxy;
use super::published_keys::{jwk, key_set};
use super::sig4::section;
use super::sig4_onboarding::{issued, onboard};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
const HOUR: Duration = Duration::from_secs(3600);

/// Of C3, with about so many requests a second.
pub fn of_c3(mut bank: Bank, key_type: &str, per_second: u32) {
    bank.certify(key_type);
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &NAMES));
    bank.hub_at(hub.port());
    let (apart, ledger) = ledger();
    let lines = "max_age = \"6s\"\nwarm_connections = 2";
    let ports = Proxy::configure(&mut bank, lines, &ledger);
    let proxy = Proxy::start(&bank, ports);
    let config = fs::read_to_string(bank.config_path()).expect("the configuration");
    let x5t = || proxy.ready()["certificate"]["x5t_s256"].clone();
    let first = x5t();
    let rotate = |arguments: &[&str]| bank.run(&[&["rotate"], arguments].concat()).expect(0);
    let ((), answered) = under_paced_requests(&proxy.socket(), per_second, |more| {
        let request = rotate(&["start"]).stdout;
        let chain = bank.framework.issue_client(&request) + &bank.framework.issuing_pem();
        let chain = bank.write("new.pem", &chain);
        rotate(&["install", plain(&chain)]);
        more();
        there_and_back(&bank, &proxy, &config, &rotate, more);
        assert_ne!(x5t(), first);
    });
    report("C3", answered, &proxy);
    let shown: BTreeSet<_> = hub
        .connections()
        .iter()
        .filter_map(|connection| connection.client_certificate.clone())
        .map(|certificate| certificate.to_vec())
        .collect();
    assert_eq!(shown.len(), 2, "the hub saw both");
    retire(&bank, &rotate, "c3", 1);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    bank.run(&["verify"]).expect(0);
    bank.run(&["ledger", "verify"]).expect(0);
    drop(apart);
}

/// Of Sig4: each request has a token that the proxy minted.
pub fn of_sig4(mut bank: Bank, key_type: &str, per_second: u32) {
    bank.certify(key_type);
    let keystore = Nginx::start(&NginxOptions {
        verify_client: false,
        ..NginxOptions::of(&bank.framework, &["localhost"])
    });
    let tokens: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&tokens);
    let mut options = HubOptions::of(&bank.framework, &NAMES);
    options.observer = Some(Box::new(move |request, _| {
        let value = request.headers.get("authorization");
        let token = value.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let mut kept = kept.lock().expect("the tokens");
        kept.push(token.unwrap_or("none").to_owned());
    }));
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    let (apart, ledger) = ledger();
    let name = format!("{ORGANIZATION_ID}/{CLIENT_ID}/application.jwks");
    let url = format!("https://localhost:{}/files/{name}", keystore.port());
    let sections = section(&format!("jwks = \"{url}\"")) + &ledger;
    bank.configure(|settings| settings.sections.clone_from(&sections));
    onboard(&bank);
    let old = fs::read_to_string(bank.path("sig4.pem")).expect("the certificate");
    let ports = Proxy::configure(&mut bank, "jwt = \"both\"", &sections);
    let anchors: PathBuf = bank.path("anchors.pem");
    let publish = |keys: &[&Value], age| keystore.serve_file(&name, &key_set(keys), age);
    let ours = jwk(&bank, &old);
    publish(&[&ours], HOUR);
    let proxy = Proxy::start_with(&bank, ports, &[("SSL_CERT_FILE", anchors.clone())]);
    let config = fs::read_to_string(bank.config_path()).expect("the configuration");
    let run = |arguments: &[&str]| {
        let arguments = [&["rotate"], arguments, &["--sig4"]].concat();
        bank.run_with(&arguments, &[("SSL_CERT_FILE", &anchors)])
    };
    let rotate = |arguments: &[&str]| run(arguments).expect(0);
    let ((), answered) = under_paced_requests(&proxy.socket(), per_second, |more| {
        let request = rotate(&["start"]).stdout;
        let leaf = issued(&bank.framework, &request) + &bank.framework.issuing_pem();
        let file = bank.write("new.pem", &leaf);
        rotate(&["install", plain(&file)]);
        publish(&[&ours, &jwk(&bank, &leaf)], Duration::ZERO);
        // It was published a moment ago: ten minutes are asked for.
        run(&["test"]).expect(1);
        age_publications(&bank, 660);
        more();
        there_and_back(&bank, &proxy, &config, &rotate, more);
    });
    report("Sig4", answered, &proxy);
    let tokens = tokens.lock().expect("the tokens").clone();
    assert!(!tokens.contains(&"none".to_owned()), "each has a token");
    let heads: BTreeSet<_> = tokens.iter().map(|token| token.split('.').next()).collect();
    assert_eq!(heads.len(), 2, "the hub saw tokens of both");
    retire(&bank, &rotate, "sig4", 2);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    bank.run(&["ledger", "verify"]).expect(0);
    drop(apart);
}

/// Tests and switches, goes back, and switches again; the configuration is as it was in between.
fn there_and_back(
    bank: &Bank,
    proxy: &Proxy,
    config: &str,
    rotate: &dyn Fn(&[&str]) -> Run,
    more: &dyn Fn(),
) {
    let pid = proxy.pid().to_string();
    for round in 0..2 {
        rotate(&["test"]);
        rotate(&["switch", "--reload", &pid]);
        assert_eq!(rotate(&["status", "--json"]).json()["proxy"], "new");
        more();
        if round == 0 {
            rotate(&["back", "--reload", &pid]);
            let now = fs::read_to_string(bank.config_path()).expect("the configuration");
            assert_eq!(now, config);
            more();
        }
    }
}

/// Destroys the old key, after which the token has so many.
fn retire(bank: &Bank, rotate: &dyn Fn(&[&str]) -> Run, label: &str, keys: usize) {
    rotate(&["retire", "--after", "0s", "--destroy", label]);
    assert_eq!(rotate(&["status", "--json"]).json()["under_way"], false);
    let listed = bank.run(&["key", "list", "--json"]).expect(0).json();
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(keys));
}

#[expect(clippy::print_stdout, reason = "the test runner shows it on demand")]
fn report(key: &str, answered: usize, proxy: &Proxy) {
    println!("{key}: {answered} requests, all answered with 200");
    assert_eq!(proxy.metric("hsm_mtls_proxy_problems_total", &[]), 0.0);
}

fn ledger() -> (TempDir, String) {
    let apart = tempfile::tempdir().expect("a folder out of the front end's reach");
    let section = format!(
        "[ledger]\nfile = \"{}/ledger.jsonl\"\nfsync = \"interval\"\n",
        apart.path().display()
    );
    (apart, section)
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// What was seen of the keys in the key set was so many seconds earlier.
pub fn age_publications(bank: &Bank, seconds: u64) {
    for entry in fs::read_dir(bank.path("state")).expect("the state") {
        let path = entry.expect("an entry").path();
        let is_of_keys = |name: &str| name.starts_with("jwks-");
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_of_keys)
        {
            let text = fs::read(&path).expect("what was seen");
            let mut content: Value = serde_json::from_slice(&text).expect("JSON");
            if let Some(first_seen) = content["first_seen"].as_u64() {
                content["first_seen"] = (first_seen - seconds).into();
                content["last_missing"] = Value::Null;
                fs::write(&path, content.to_string()).expect("what was seen");
            }
        }
    }
}
