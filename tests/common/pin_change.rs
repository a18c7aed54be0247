//! A PIN that is changed at the token and in its source, as an administrator does it, while a proxy has the token.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::bank::Bank;
use super::chaos::Chaos;
use super::hub::{Hub, HubOptions};
use super::paced_requests::under_requests;
use super::poll::{found, until};
use super::proxy::Proxy;
use super::trust_framework::write_file;

/// Of a length that each token takes.
pub const NEW_PIN: &str = "new-0002";

/// A proxy on a bank's token, with each call of the module counted.
pub struct PinChange {
    pub bank: Bank,
    pub proxy: Proxy,
    pub chaos: Chaos,
    pub hub: Hub,
    old: String,
    new: &'static str,
    /// What the front end may not read.
    apart: TempDir,
}

impl PinChange {
    /// `bank` has an empty token. `lines` are further lines of [proxy].
    pub fn of(mut bank: Bank, key_type: &str, lines: &str) -> Self {
        let hub =
            Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
        bank.hub_at(hub.port());
        bank.certify(key_type);
        let apart = tempfile::tempdir().expect("a folder");
        let ledger = format!(
            "[ledger]\nfile = \"{}/ledger.jsonl\"\nfsync = \"interval\"\n",
            apart.path().display()
        );
        // Connections are replaced all the time: each is a signature.
        let lines = format!("{lines}\nmax_age = \"1s\"\nwarm_connections = 2");
        let ports = Proxy::configure(&mut bank, &lines, &ledger);
        let chaos = Chaos::between(&mut bank, "");
        let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
        proxy.warm("cm", 1);
        chaos.forget_calls();
        let old = fs::read_to_string(bank.pin_file()).expect("the PIN");
        Self {
            bank,
            proxy,
            chaos,
            hub,
            old,
            new: NEW_PIN,
            apart,
        }
    }

    /// The administrator changes the PIN, in a process of their own and past the module that counts.
    pub fn at_the_token(&self) {
        let [(_, module), ..] = self.chaos.environment();
        let done = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(module)
            .args(["--token-label", self.bank.token_label(), "--change-pin"])
            .args(["--pin", &self.old, "--new-pin", self.new])
            .envs(self.bank.module_environment())
            .stdin(Stdio::null())
            .output()
            .expect("pkcs11-tool: make test installs it");
        assert!(done.status.success(), "{done:?}");
    }

    /// The new PIN in its file, which is replaced as a whole.
    pub fn in_the_source(&self) {
        self.write(self.new);
    }

    /// Another text in the PIN file.
    pub fn write(&self, pin: &str) {
        let path = self.bank.pin_file();
        let new = path.with_extension("new");
        write_file(&new, pin, 0o600);
        fs::rename(new, path).expect("the PIN file is replaced");
    }

    /// The token is gone, and back at once: its sessions and the login are not.
    pub fn lost_and_back(&self) {
        self.chaos.plan("vanished");
        until("the loss is noticed", || {
            self.proxy.ready()["token"]["good"] == false
        });
        self.chaos.plan("");
    }

    /// Waits until reloads have ended so.
    pub fn reloaded(&self, good: f64, failed: f64) {
        let count = |result| {
            self.proxy
                .metric("hsm_mtls_proxy_reloads_total", &[("result", result)])
        };
        until("it reloads", || {
            count("good") + count("failed") >= good + failed
        });
        let seen = (count("good"), count("failed"));
        assert_eq!(seen, (good, failed), "{}", self.proxy.log());
    }

    /// Waits until it is ready again.
    pub fn ready(&self) {
        let ready = found(|| (self.proxy.ready()["ready"] == true).then_some(()));
        assert_eq!(ready, Some(()), "{}", self.proxy.log());
        assert_eq!(self.proxy.get("/cm/consents/1").0, 200);
    }

    /// Sees to it that the token refused no PIN.
    pub fn none_refused(&self) {
        let ledger = self.apart.path().join("ledger.jsonl");
        let text = fs::read_to_string(ledger).expect("the ledger");
        assert!(text.contains("\"kind\":\"login\""), "{text}");
        assert!(!text.contains("CKR_PIN_INCORRECT"), "{text}");
    }

    /// How often a PIN was sent.
    pub fn tries(&self) -> usize {
        self.chaos.calls("C_Login")
    }
}

/// Changes the PIN at the token, then in its file, which the proxy watches: under load, no request fails, and the new PIN is sent once.
/// Then the proxy logs in again with it by itself.
pub fn change_under_load(bank: Bank, key_type: &str) {
    let change = PinChange::of(bank, key_type, "reload = \"watch\"");
    let ((), answered) = under_requests(&change.proxy.socket(), |more| {
        change.at_the_token();
        more();
        assert_eq!(change.tries(), 0, "who is logged in stays so");
        change.in_the_source();
        change.reloaded(1.0, 0.0);
        more();
    });
    assert!(answered >= 90, "{answered}");
    assert_eq!(change.tries(), 1, "{}", change.proxy.log());
    assert_eq!(
        change.proxy.metric("hsm_mtls_proxy_problems_total", &[]),
        0.0
    );
    assert_eq!(change.proxy.ready()["last_reload"]["good"], true);
    change.lost_and_back();
    change.ready();
    change.none_refused();
}

/// Changes the PIN at the token, then in its file, and nobody reloads; the token is lost then: the new PIN is sent, and the old one
/// is not.
pub fn change_and_lose_token(bank: Bank, key_type: &str) {
    let change = PinChange::of(bank, key_type, "");
    change.at_the_token();
    change.in_the_source();
    until("it says so", || {
        let log = change.proxy.log();
        log.contains("the PIN file was replaced, and what it has was not tried yet")
    });
    change.ready();
    assert_eq!(change.tries(), 0, "nothing is sent before it has to be");
    change.lost_and_back();
    change.ready();
    change.none_refused();
}
