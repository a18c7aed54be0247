//! The whole path of an operator, as it is the same on each token: from an empty token to requests through the proxy.

use std::fs;
use std::path::Path;

use super::bank::{Bank, Run};
use super::nginx::{Nginx, NginxOptions, Protocols};
use super::proxy::Proxy;

/// A folder that gets what three of the commands printed, a file for each key of each token.
const OUTPUTS: &str = "TOKEN_OUTPUTS";
const REQUESTS: usize = 20;

/// The commands' output as it was, for whoever wants to read it.
pub struct Outputs {
    name: String,
    text: String,
}

impl Outputs {
    /// `name` is that of the file.
    pub fn of(name: String) -> Self {
        Self {
            name,
            text: String::new(),
        }
    }

    fn take(&mut self, command: &str, run: &Run) {
        let Run {
            code,
            stdout,
            stderr,
        } = run;
        self.text += &format!("$ hsm-mtls {command}\n{stdout}{stderr}exit {code}\n\n");
    }

    fn write(&self) {
        if let Some(folder) = std::env::var_os(OUTPUTS) {
            let file = Path::new(&folder).join(format!("{}.log", self.name));
            fs::write(file, &self.text).expect("the outputs");
        }
    }
}

/// Makes a key of this type, has it certified, and uses it: each command, both services, TLS 1.2 and 1.3, and requests
/// through the proxy, each on a connection of its own. `token` is what the file of its outputs is called by.
pub fn whole_path(bank: &mut Bank, token: &str, key_type: &str) {
    let mut outputs = Outputs::of(format!("{token}-{key_type}"));
    bank.run(&["token", "list"]).expect(0);
    let generated = bank.run(&["key", "generate", "--type", key_type]).expect(0);
    outputs.take(&format!("key generate --type {key_type}"), &generated);
    use_key(bank, outputs);
}

/// The same with a key that the token has.
pub fn use_key(bank: &mut Bank, outputs: Outputs) {
    let keys = bank.run(&["key", "list", "--json"]).expect(0).json();
    let keys = keys["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 1, "{keys:#?}");
    let leaf = bank.issue();
    let chain = bank.write("issued.pem", &(leaf + &bank.framework.issuing_pem()));
    bank.run(&["cert", "install", chain.to_str().expect("a plain path")])
        .expect(0);
    check_and_verify(bank, outputs);
    requests_on_new_connections(bank);
}

/// What a key with a certificate is good for, beside requests.
pub fn check_and_verify(bank: &mut Bank, mut outputs: Outputs) {
    let checked = bank.run(&["token", "check", "-n", "20"]).expect(0);
    outputs.take("token check -n 20", &checked);
    for protocols in [Protocols::Tls12, Protocols::Tls13] {
        let hub = hub(bank, protocols, 1000);
        let report = bank.run(&["verify", "--json"]).expect(0).json();
        assert_eq!(report["established"], true, "{protocols:?}: {report:#}");
        assert_eq!(report["services"].as_array().map(Vec::len), Some(2));
        hub.wait_for_accesses(2);
    }
    let audited = bank.run(&["audit", "--active"]);
    outputs.take("audit --active", &audited);
    outputs.write();
    assert!(matches!(audited.code, 0 | 1), "{audited:?}");
}

/// Requests through the proxy, each with a handshake of its own, and the record of them.
pub fn requests_on_new_connections(bank: &mut Bank) {
    let hub = hub(bank, Protocols::Both, 1);
    // Where the front end reads nothing, and for as long as the bank is there.
    let uses = bank.token.pin_file().with_file_name("ledger.jsonl");
    let ledger = format!("[ledger]\nfile = \"{}\"\n", uses.display());
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

fn hub(bank: &mut Bank, protocols: Protocols, requests_per_connection: u32) -> Nginx {
    let options = NginxOptions {
        protocols,
        requests_per_connection,
        ..NginxOptions::of(&bank.framework, &["localhost", "127.0.0.1"])
    };
    let hub = Nginx::start(&options);
    bank.hub_at(hub.port());
    hub
}
