//! Two tokens that hold a key for the connections: whatever befalls one, requests are answered with the other, and it has its share
//! again when it is back.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::ledger_records::records;
use crate::common::paced_requests::under_requests;
use crate::common::poll::found_within;
use crate::common::proxy::Proxy;
use crate::common::second_token::TwoTokens;
use crate::common::signer_process::signers;
use crate::common::trust_framework::write_file;
use rcgen::date_time_ymd;

const PATIENCE: Duration = Duration::from_secs(60);
/// Each request has a handshake of its own.
const LINES: &str = "warm_connections = 0\nmax_age = \"1ms\"";

struct Scene {
    bank: Bank,
    hub: Hub,
    tokens: TwoTokens,
    proxy: Proxy,
}

fn bank() -> (Bank, Hub) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    (bank, hub)
}

fn start(of_bank: (Bank, Hub), tokens: TwoTokens) -> Scene {
    start_with(of_bank, tokens, &[])
}

fn start_with(
    (mut bank, hub): (Bank, Hub),
    tokens: TwoTokens,
    environment: &[(&str, PathBuf)],
) -> Scene {
    let ports = Proxy::configure(&mut bank, LINES, &tokens.section);
    let proxy = Proxy::start_with(&bank, ports, environment);
    Scene {
        bank,
        hub,
        tokens,
        proxy,
    }
}

impl Scene {
    fn is_asked(&self, token: &str) -> bool {
        self.proxy
            .metric("hsm_mtls_token_asked", &[("token", token)])
            == 1.0
    }

    fn connections(&self, token: &str) -> f64 {
        let name = "hsm_mtls_connections_of_token_total";
        self.proxy.metric(name, &[("token", token)])
    }

    /// Each connection that was made showed a certificate; returns the certificates.
    fn never_anonymous(&self) -> BTreeSet<Vec<u8>> {
        let shown = self.hub.connections().into_iter();
        let made = shown.filter(|connection| connection.handshake.is_ok());
        made.map(|connection| {
            let certificate = connection.client_certificate.expect("a certificate");
            certificate.to_vec()
        })
        .collect()
    }

    fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let met = found_within(PATIENCE, || condition().then_some(()));
        assert_eq!(
            met,
            Some(()),
            "{what}: {:#}\n{}",
            self.proxy.ready(),
            self.proxy.log()
        );
    }
}

#[test]
fn one_of_two_clones_that_is_killed_or_hangs_costs_no_request() {
    let (mut bank, hub) = bank();
    let tokens = TwoTokens::cloned(&mut bank, ["", ""]);
    let mut scene = start((bank, hub), tokens);
    scene.until("both are proved", || {
        scene.is_asked("a") && scene.is_asked("b")
    });
    assert_eq!(signers(&scene.bank).len(), 2, "a process for each module");
    let socket = scene.proxy.socket();
    under_requests(&socket, |more| {
        more();
        let shares = ["a", "b"].map(|token| scene.connections(token));
        assert!((shares[0] - shares[1]).abs() <= 4.0, "{shares:?}");
    });
    for round in ["killed", "hung"] {
        under_requests(&socket, |more| {
            let conf = scene.tokens.second_folder.conf();
            match round {
                "killed" => scene.tokens.second.kill(),
                _ => scene.tokens.second.stop(),
            }
            scene.until("it is seen", || !scene.is_asked("b"));
            more();
            let before = scene.connections("b");
            more();
            assert_eq!(scene.connections("b"), before, "{round}");
            scene.until("it is reported", || {
                let ready = scene.proxy.ready();
                let good = [0, 1].map(|token| ready["token"]["tokens"][token]["good"] == true);
                ready["ready"] == true && good == [true, false]
            });
            match round {
                "killed" => scene.tokens.second.start_with(&conf),
                _ => scene.tokens.second.go_on(),
            }
            scene.until("it is back", || scene.is_asked("b"));
            let before = scene.connections("b");
            more();
            let since = scene.connections("b") - before;
            assert!(since >= 10.0, "{round}: {since}");
        });
    }
    assert_eq!(scene.never_anonymous().len(), 1);
}

#[test]
fn a_start_with_one_of_two_away_works_and_the_other_is_taken_in() {
    let (mut bank, hub) = bank();
    let mut tokens = TwoTokens::different(&mut bank, "rsa-2048", ["", ""]);
    tokens.first.kill();
    let conf = bank.token.conf();
    let mut scene = start((bank, hub), tokens);
    let socket = scene.proxy.socket();
    under_requests(&socket, |more| {
        scene.until("it is said", || {
            let ready = scene.proxy.ready();
            let good = [0, 1].map(|token| ready["token"]["tokens"][token]["good"] == true);
            ready["ready"] == true && good == [false, true]
        });
        assert!(
            scene
                .proxy
                .log()
                .contains("a token has no key for the connections yet")
        );
        scene.tokens.first.start_with(&conf);
        scene.until("it is taken in", || scene.is_asked("a"));
        let before = scene.connections("a");
        more();
        assert!(scene.connections("a") - before >= 10.0);
    });
    assert_eq!(scene.never_anonymous().len(), 2, "a certificate for each");
}

#[test]
fn the_second_priority_is_asked_where_the_first_is_slow_refused_or_dead() {
    let (mut bank, hub) = bank();
    let lines = ["failover_after = \"500ms\"", "priority = 2"];
    let tokens = TwoTokens::different(&mut bank, "p-256", lines);
    let conf = bank.token.conf();
    let mut scene = start((bank, hub), tokens);
    scene.until("both are proved", || {
        scene.is_asked("a") && scene.is_asked("b")
    });
    let socket = scene.proxy.socket();
    under_requests(&socket, |more| {
        more();
        assert_eq!(scene.connections("b"), 0.0, "{}", scene.proxy.log());
        scene.tokens.first.kill();
        scene.until("it is seen", || !scene.is_asked("a"));
        let before = scene.connections("b");
        more();
        assert!(scene.connections("b") - before >= 28.0);
        scene.tokens.first.start_with(&conf);
        scene.until("it is back", || scene.is_asked("a"));
        let before = scene.connections("b");
        more();
        assert!(scene.connections("b") - before <= 4.0);
    });
    // Both dead and back: as with one.
    scene.tokens.first.kill();
    scene.tokens.second.kill();
    let (code, answer) = scene.proxy.get("/cm/consents/1");
    assert!([503, 504].contains(&code), "{answer}");
    assert!(answer.contains("token"), "{answer}");
    scene.until("it is reported", || scene.proxy.ready()["ready"] == false);
    scene
        .tokens
        .second
        .start_with(&scene.tokens.second_folder.conf());
    scene.until("one is back", || scene.proxy.get("/cm/consents/1").0 == 200);
    assert_eq!(scene.never_anonymous().len(), 2);
}

#[test]
fn a_refused_pin_of_one_token_is_tried_once_and_costs_the_other_nothing() {
    let (mut bank, hub) = bank();
    let tokens = TwoTokens::different(&mut bank, "p-256", ["", ""]);
    let pin_file = tokens.second_folder.pin_file();
    let pin = fs::read(&pin_file).unwrap();
    write_file(&pin_file, "a wrong one", 0o600);
    let apart = tempfile::tempdir().unwrap();
    let ledger = apart.path().join("ledger.jsonl");
    let sections = format!("\n[ledger]\nfile = {ledger:?}\n");
    let tokens = TwoTokens {
        section: tokens.section.clone() + &sections,
        ..tokens
    };
    let scene = start((bank, hub), tokens);
    let socket = scene.proxy.socket();
    let refusals = || {
        let records = records(&ledger);
        let refused = |record: &&serde_json::Value| record["ckr"] == "CKR_PIN_INCORRECT";
        records.iter().filter(refused).count()
    };
    under_requests(&socket, |more| {
        scene.until("it is refused", || refusals() == 1);
        scene.until("it is said", || {
            let token = &scene.proxy.ready()["token"]["tokens"][1];
            token["good"] == false
                && token["detail"]
                    .as_str()
                    .is_some_and(|it| it.contains("PIN"))
        });
        more();
        more();
        assert_eq!(refusals(), 1);
        fs::write(&pin_file, &pin).unwrap();
        let accept = ["pin", "accept-count-low", "--once", "--token", "b"];
        scene.bank.run(&accept).expect(0);
        scene.until("it is taken in", || scene.is_asked("b"));
        let before = scene.connections("b");
        more();
        assert!(scene.connections("b") - before >= 10.0);
    });
    assert_eq!(refusals(), 1);
}

#[test]
fn a_reload_opens_all_tokens_anew_and_loses_no_request() {
    let (mut bank, hub) = bank();
    let tokens = TwoTokens::cloned(&mut bank, ["weight = 3", ""]);
    let scene = start((bank, hub), tokens);
    scene.until("both are proved", || {
        scene.is_asked("a") && scene.is_asked("b")
    });
    let before = signers(&scene.bank);
    under_requests(&scene.proxy.socket(), |more| {
        scene.proxy.signal("HUP");
        scene.until("it is reloaded", || {
            scene.proxy.ready()["last_reload"]["good"] == true
        });
        scene.until("the old signers end", || {
            let now = signers(&scene.bank);
            now.len() == 2 && now.iter().all(|signer| !before.contains(signer))
        });
        scene.until("both are proved", || {
            scene.is_asked("a") && scene.is_asked("b")
        });
        let counts = ["a", "b"].map(|token| scene.connections(token));
        more();
        let a = scene.connections("a") - counts[0];
        let b = scene.connections("b") - counts[1];
        assert!(a >= 2.0 * b && b >= 5.0, "3 to 1: {a} and {b}");
    });
}

#[test]
fn a_certificate_that_has_expired_leaves_its_token_out_until_it_is_renewed() {
    let (mut bank, hub) = bank();
    let tokens = TwoTokens::different(&mut bank, "p-256", ["", ""]);
    bank.configure(|settings| settings.sections = tokens.section.clone());
    let csr = bank.run(&["csr", "--token", "b"]).expect(0).stdout;
    let good = fs::read_to_string(bank.path("c3-b.pem")).unwrap();
    let expired = bank.framework.issue_client_with(&csr, |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    bank.write("c3-b.pem", &(expired + &bank.framework.issuing_pem()));
    let scene = start((bank, hub), tokens);
    under_requests(&scene.proxy.socket(), |more| {
        more();
        scene.until("it is said", || {
            let token = &scene.proxy.ready()["token"]["tokens"][1];
            token["good"] == false
                && token["detail"]
                    .as_str()
                    .is_some_and(|it| it.contains("expired"))
        });
        assert_eq!(scene.connections("b"), 0.0);
        scene.bank.write("c3-b.pem", &good);
        scene.until("it is taken in", || scene.is_asked("b"));
        let before = scene.connections("b");
        more();
        assert!(scene.connections("b") - before >= 10.0);
    });
}

#[test]
fn a_token_that_takes_two_seconds_is_left_out_until_it_is_quick_again() {
    let (mut bank, hub) = bank();
    let tokens = TwoTokens::cloned(&mut bank, ["", ""]);
    let chaos = Chaos::between(&mut bank, "");
    let scene = start_with((bank, hub), tokens, &chaos.environment());
    scene.until("both are proved", || {
        scene.is_asked("a") && scene.is_asked("b")
    });
    under_requests(&scene.proxy.socket(), |more| {
        chaos.plan("delay C_Sign 2s");
        scene.until("it is seen", || !scene.is_asked("a"));
        more();
        let before = scene.connections("a");
        more();
        assert_eq!(scene.connections("a"), before);
        chaos.plan("");
        scene.until("it is back", || scene.is_asked("a"));
        let before = scene.connections("a");
        more();
        let since = scene.connections("a") - before;
        assert!(since >= 10.0, "{since}");
    });
    assert_eq!(scene.never_anonymous().len(), 1);
}
