//! The CAs of the Trust Framework are replaced by a next generation (`- G2` beside `- G1`) while the proxy serves: the hub moves to a chain of
//! the new ones, and then our certificate does. The hub is an nginx.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::common::bank::Bank;
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::paced_requests::under_requests;
use crate::common::poll::until;
use crate::common::proxy::{Proxy, body};
use crate::common::trust_framework::{Kind, TrustFramework};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

struct Scene {
    bank: Bank,
    hub: Nginx,
    proxy: Proxy,
    next: TrustFramework,
    /// Where the CAs are published, and the public roots of that server.
    published: Nginx,
    roots: PathBuf,
    _apart: TempDir,
}

impl Scene {
    /// All is of the first generation, and the hub takes clients of both.
    fn new() -> Self {
        let mut bank = Bank::new();
        bank.certify("p-256");
        let next = TrustFramework::of_generation(Kind::Sandbox, 2);
        let hub = Nginx::start(&options(&bank.framework, &bank, &next));
        bank.hub_at(hub.port());
        let published = Nginx::start(&NginxOptions {
            verify_client: false,
            ..NginxOptions::of(&bank.framework, &["localhost"])
        });
        let url = format!("https://localhost:{}/files/bundle.pem", published.port());
        bank.configure(|settings| settings.trust_lines = format!("anchor_urls = [\"{url}\"]"));
        let roots = bank.write("roots.pem", &bank.framework.bundle_pem());
        let apart = tempfile::tempdir().unwrap();
        let ledger = format!(
            "[ledger]\nfile = \"{}/ledger.jsonl\"\nfsync = \"interval\"\n",
            apart.path().display()
        );
        // Connections are replaced all the time: each is a handshake.
        let lines = "reload = \"watch\"\nmax_age = \"1s\"\nwarm_connections = 2";
        let ports = Proxy::configure(&mut bank, lines, &ledger);
        let proxy = Proxy::start(&bank, ports);
        proxy.warm("cm", 1);
        Self {
            bank,
            hub,
            proxy,
            next,
            published,
            roots,
            _apart: apart,
        }
    }

    fn hub_moves(&self) {
        self.hub
            .reconfigure(&options(&self.next, &self.bank, &self.next));
    }

    /// The scheme publishes both generations, and an operator takes the new one by its fingerprints.
    fn update(&self) {
        let both = self.bank.framework.bundle_pem() + &self.next.bundle_pem();
        self.published
            .serve_file("bundle.pem", &both, Duration::ZERO);
        let accepted = [self.next.root_der(), self.next.issuing_der()].map(fingerprint);
        let arguments = ["trust", "update", "--anchors", "--accept", &accepted[0]];
        let arguments = [&arguments[..], &["--accept", &accepted[1]]].concat();
        self.bank
            .run_with(&arguments, &[("SSL_CERT_FILE", &self.roots)])
            .expect(0);
    }

    fn reloaded(&self, times: f64) {
        until("it reloads", || {
            self.proxy
                .metric("hsm_mtls_proxy_reloads_total", &[("result", "good")])
                >= times
        });
        let failed = [("result", "failed")];
        assert_eq!(
            self.proxy.metric("hsm_mtls_proxy_reloads_total", &failed),
            0.0,
            "{}",
            self.proxy.log()
        );
    }

    /// The certificates that the hub verified since then.
    fn seen_since(&self, before: usize) -> BTreeSet<String> {
        let accesses = self.hub.accesses();
        let of_ours = accesses[before..].iter().map(|access| {
            assert_eq!(access.verify, "SUCCESS", "{access:?}");
            access.fingerprint.clone()
        });
        of_ours.collect()
    }
}

/// A hub with a certificate of `framework`, which takes clients of both.
fn options(framework: &TrustFramework, bank: &Bank, next: &TrustFramework) -> NginxOptions {
    NginxOptions {
        has_master: true,
        client_roots_pem: bank.framework.bundle_pem() + &next.bundle_pem(),
        ..NginxOptions::of(framework, &NAMES)
    }
}

fn fingerprint(der: &CertificateDer<'_>) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

#[test]
fn hub_and_bank_move_to_the_next_generation_and_no_request_fails() {
    let scene = Scene::new();
    let ((), answered) = under_requests(&scene.proxy.socket(), |more| {
        scene.update();
        scene.reloaded(1.0);
        more();
        scene.hub_moves();
        // All connections from before have their age: the requests go over handshakes with the new chain.
        for _ in 0..4 {
            more();
        }
        let before = scene.seen_since(0);
        assert_eq!(before.len(), 1);

        let leaf = scene.next.issue_client(&scene.bank.csr());
        let chain = leaf + &scene.next.issuing_pem();
        let chain = scene.bank.write("renewed.pem", &chain);
        scene
            .bank
            .run(&["cert", "install", chain.to_str().unwrap()])
            .expect(0);
        scene.reloaded(2.0);
        let reloaded = scene.hub.accesses().len();
        for _ in 0..4 {
            more();
        }
        let after = scene.seen_since(reloaded);
        assert!(after.iter().any(|seen| !before.contains(seen)), "{after:?}");
    });
    println!("{answered} requests, all answered with 200");
    assert_eq!(
        scene.proxy.metric("hsm_mtls_proxy_problems_total", &[]),
        0.0
    );
    assert_eq!(scene.proxy.ready()["ready"], true);
}

/// A hub that moves before the operator has taken the CAs: the answer says which generation is missing and how to get it, and requests go on
/// when it was taken.
#[test]
fn a_hub_that_moves_first_is_told_from_a_strange_one_until_the_anchors_follow() {
    let scene = Scene::new();
    scene.hub_moves();
    let mut problem = String::new();
    until("the connections of before have their age", || {
        let (status, answer) = scene.proxy.get("/cm/consents/1");
        problem = answer;
        status != 200
    });
    let problem = body(&problem);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("Root CA - G2"), "{problem:#}");
    assert!(detail.contains("another generation only"), "{problem:#}");
    let hint = problem["hint"].as_str().unwrap();
    assert!(hint.contains("hsm-mtls trust update"), "{problem:#}");
    assert_eq!(scene.proxy.ready()["ready"], false);
    scene.update();
    scene.reloaded(1.0);
    until("it is ready", || scene.proxy.ready()["ready"] == true);
    assert_eq!(scene.proxy.get("/cm/consents/1").0, 200);
    let anchors = fs::read_to_string(scene.bank.path("anchors.pem")).unwrap();
    assert_eq!(anchors.matches("BEGIN CERTIFICATE").count(), 4);
}
