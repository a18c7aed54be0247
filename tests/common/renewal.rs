//! A proxy at a key renewal: a bank whose PIN and ledger lie outside of the front end's reach, a second key, and the
//! state of the proxy's processes.

use std::process::Command;

use tempfile::TempDir;

use super::bank::Bank;
use super::chaos::Chaos;
use super::hub::{Hub, HubOptions};
use super::poll::until;
use super::procfs::launched;
use super::proxy::Proxy;
use super::signer_process::signers;

pub const NEXT: &str = "pkcs11:object=c3-next;type=private";

pub struct Scene {
    pub bank: Bank,
    pub hub: Hub,
    pub proxy: Proxy,
    pub chaos: Chaos,
    /// What the front end may not read.
    pub apart: TempDir,
}

/// `lines` are further lines of [proxy].
pub fn scene(lines: &str) -> Scene {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let apart = tempfile::tempdir().expect("a folder");
    let ledger = apart.path().join("ledger.jsonl");
    let ledger = format!(
        "[ledger]\nfile = \"{}\"\nfsync = \"interval\"\n",
        ledger.display()
    );
    let ports = Proxy::configure(&mut bank, lines, &ledger);
    let chaos = Chaos::between(&mut bank, "");
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    if !lines.contains("warm_connections = 0") {
        proxy.warm("cm", 1);
    }
    chaos.forget_calls();
    Scene {
        bank,
        hub,
        proxy,
        chaos,
        apart,
    }
}

impl Scene {
    pub fn signer(&self) -> u32 {
        *signers(&self.bank).first().expect("a signer")
    }

    pub fn front_end(&self) -> u32 {
        let signers = signers(&self.bank);
        let mut all = launched(self.proxy.pid()).into_iter();
        all.find(|pid| !signers.contains(pid)).expect("a front end")
    }

    pub fn reloads(&self, result: &str) -> f64 {
        self.proxy
            .metric("hsm_mtls_proxy_reloads_total", &[("result", result)])
    }

    /// The certificate that the proxy says it has.
    pub fn certificate(&self) -> String {
        let ready = self.proxy.ready();
        let name = ready["certificate"]["x5t_s256"].as_str();
        name.expect("a certificate").to_owned()
    }

    /// Supervisor, signer and front end, and nobody else.
    pub fn three_processes(&self) {
        until("there are three processes", || {
            signers(&self.bank).len() == 1 && launched(self.proxy.pid()).len() == 2
        });
    }

    /// The configuration names another key.
    pub fn next_key(&mut self) {
        self.bank.configure(|settings| {
            settings.key = NEXT.to_owned();
            settings.certificate = "c3-next.pem".to_owned();
        });
    }

    /// The same, made and certified first.
    pub fn another_key(&mut self) {
        self.next_key();
        let environment = self.chaos.environment();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_path()))
            .collect();
        let run = |arguments: &[&str]| self.bank.run_with(arguments, &environment).expect(0);
        run(&["key", "generate", "--type", "p-256"]);
        let leaf = self.bank.framework.issue_client(&run(&["csr"]).stdout);
        let chain = leaf + &self.bank.framework.issuing_pem();
        let chain = self.bank.write("issued.pem", &chain);
        run(&["cert", "install", chain.to_str().expect("a plain path")]);
    }

    /// The configuration of before.
    pub fn first_key(&mut self) {
        self.bank.configure(|settings| {
            settings.key = "pkcs11:object=c3;type=private".to_owned();
            settings.certificate = "c3.pem".to_owned();
        });
    }

    /// Asks for a reload that is refused, and sees to it that everything is as before.
    pub fn refused(&self, why: &str, said: &str) {
        let (signer, front_end) = (self.signer(), self.front_end());
        let (failed, certificate) = (self.reloads("failed"), self.certificate());
        let good = self.reloads("good");
        self.proxy.signal("HUP");
        until(why, || self.reloads("failed") > failed);
        self.three_processes();
        assert_eq!(self.reloads("failed"), failed + 1.0, "{why}");
        assert_eq!(self.reloads("good"), good, "{why}");
        assert_eq!(self.signer(), signer, "{why}: the signer stays");
        assert_eq!(self.front_end(), front_end, "{why}: the front end stays");
        assert_eq!(self.certificate(), certificate, "{why}");
        assert_eq!(self.proxy.get("/cm/consents/1").0, 200, "{why}");
        let log = self.proxy.log();
        let mut refusals = log.lines().filter(|line| line.contains("NOT reloaded"));
        let last = refusals.next_back().expect("it is said aloud");
        assert!(last.contains(said), "{why}: {last}");
    }
}

pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.expect("kill").success());
}
