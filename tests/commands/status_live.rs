//! `status`: what lives. The running proxy, the end of the ledger, and a rotation.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::proxy::Proxy;
use crate::common::softhsm::MODULE;
use crate::status::{bank_until, checked, item, next, status};

/// A bank with a hub, a ledger and a proxy that may be started.
fn scene() -> (Bank, Hub, crate::common::proxy::Ports, tempfile::TempDir) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let apart = tempfile::tempdir().unwrap();
    let ledger = format!(
        "[ledger]\nfile = \"{}/ledger.jsonl\"\nfsync = \"interval\"\n",
        apart.path().display()
    );
    let ports = Proxy::configure(&mut bank, "warm_connections = 1", &ledger);
    (bank, hub, ports, apart)
}

#[test]
fn the_proxy_is_asked_and_so_is_the_ledger() {
    let (bank, hub, ports, _apart) = scene();
    let report = status(&bank, &[], 2);
    let (state, text) = item(&report, "proxy");
    assert!(
        state == "critical" && text.contains("does not run"),
        "{text}"
    );
    assert_eq!(report["environments"][0]["proxy"]["running"], false);
    assert_eq!(
        next(&report, "start the proxy")["command"],
        "systemctl start hsm-mtls-proxy"
    );
    assert!(
        item(&report, "ledger").1.contains("not there yet"),
        "{report:#}"
    );

    let proxy = Proxy::start(&bank, ports);
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    until("ready", || proxy.ready()["ready"] == true);
    let report = status(&bank, &[], 0);
    let (_, text) = item(&report, "proxy");
    assert!(
        text.starts_with("ready, started ") && text.contains(" good"),
        "{text}"
    );
    let uses = &report["environments"][0]["ledger"]["uses"][0];
    assert_eq!(uses["last"]["result"], "good", "{report:#}");
    assert!(uses["in_last_day"].as_u64().unwrap() >= 1);
    let peer = format!("localhost:{}", hub.port());
    assert!(uses["last_by_peer"][&peer].is_string(), "{uses:#}");
    assert!(
        item(&report, "c3.use").1.contains("tls13-client-auth for "),
        "{report:#}"
    );
    // Without the module: the proxy has it.
    let report = status(&bank, &["--no-token"], 0);
    assert!(
        item(&report, "token")
            .1
            .starts_with("the proxy's signer has it"),
        "{report:#}"
    );

    // A file that the proxy has not taken.
    let before = fs::read_to_string(bank.path("c3.pem")).unwrap();
    bank.write("c3.pem", &(bank.issue() + &bank.framework.issuing_pem()));
    let report = status(&bank, &[], 1);
    assert_eq!(item(&report, "proxy.certificate").0, "warning");
    assert_eq!(
        next(&report, "have the proxy take")["command"],
        "systemctl reload hsm-mtls-proxy"
    );
    bank.write("c3.pem", &before);

    // It is there, and says nothing.
    let front_end = proxy.front_end().unwrap().to_string();
    let send = |signal: &str| {
        let sent = Command::new("kill").args([signal, &front_end]).status();
        assert!(sent.unwrap().success());
    };
    send("-STOP");
    let run = bank.run(&["status", "--json"]);
    send("-CONT");
    let report = checked(&bank, &run.expect(2));
    let text = item(&report, "proxy").1;
    assert!(
        text.starts_with("it gives no answer: no whole answer within "),
        "{text}"
    );

    // The hub is gone, and a connection has to be made anew.
    drop(hub);
    until("not ready", || {
        proxy.get("/cm/consents/1");
        proxy.ready()["ready"] == false
    });
    let report = status(&bank, &[], 2);
    let (state, text) = item(&report, "proxy");
    assert!(
        state == "critical" && text.contains("NOT ready: "),
        "{text}"
    );
}

/// Only a login would show it, and the proxy has logged in.
#[test]
fn a_certificate_in_the_token_is_known_from_the_proxy() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.certificate = "pkcs11:object=c3;type=cert".to_owned());
    bank.certify("p-256");
    let report = status(&bank, &[], 3);
    let (state, text) = item(&report, "c3.certificate");
    assert!(
        state == "unknown" && text.contains("`hsm-mtls cert show`"),
        "{text}"
    );
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start(&bank, ports);
    until("ready", || proxy.ready()["ready"] == true);
    let report = status(&bank, &["--warn", "9999d", "--crit", "30d"], 1);
    let (state, text) = item(&report, "c3.certificate");
    assert!(
        state == "warning" && text.ends_with("as the proxy says: it is in the token"),
        "{text}"
    );
    assert_eq!(
        next(&report, "rotate C3")["command"],
        "hsm-mtls rotate start"
    );
}

#[test]
fn without_a_health_listener_it_is_known_whether_somebody_listens() {
    let (mut bank, _hub, ports, _apart) = scene();
    bank.configure(|settings| {
        let operations = settings.sections.find("[proxy.operations]").unwrap();
        let rest = settings.sections.split_off(operations);
        let ledger = rest.find("[ledger]").unwrap();
        settings.sections.push_str(&rest[ledger..]);
    });
    assert_eq!(item(&status(&bank, &[], 2), "proxy").0, "critical");
    let listener = std::net::TcpListener::bind(ports.tcp).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(bank.path("hub.sock")).unwrap();
    let report = status(&bank, &[], 0);
    assert!(
        item(&report, "proxy").1.starts_with("it listens"),
        "{report:#}"
    );
    drop((listener, socket));
    bank.configure(|settings| {
        settings.sections =
            "[proxy]\n[[proxy.listener]]\nsystemd = \"hub\"\ncallers = \"socket-mode\"\n"
                .to_owned();
    });
    assert_eq!(item(&status(&bank, &[], 3), "proxy").0, "unknown");
}

#[test]
fn a_broken_ledger_is_critical_and_a_failed_use_a_warning() {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let report = status(&bank, &[], 0);
    // A proof and a request are no handshakes.
    assert_eq!(
        item(&report, "c3.use").1,
        "none, as far back as the ledger was read"
    );
    let chaos = Chaos::between(&mut bank, "");
    chaos
        .run(&bank, &["request", "GET", "cm:/consents/1"])
        .expect(0);
    // The signature for the proof of the pair is good, and that of the handshake is not.
    chaos.plan("fail C_Sign 2.. CKR_GENERAL_ERROR");
    let failed = chaos.run(&bank, &["request", "GET", "cm:/consents/1"]);
    assert_ne!(failed.code, 0);
    chaos.plan("");
    let run = chaos.run(&bank, &["status", "--json"]).expect(1);
    let report = checked(&bank, &run);
    let (state, text) = item(&report, "c3.use");
    assert!(
        state == "warning" && text.contains("failed: CKR_GENERAL_ERROR"),
        "{text}"
    );

    // A certificate of a key that has not signed, and no rotation is under way.
    chaos
        .run(&bank, &["request", "GET", "cm:/consents/1"])
        .expect(0);
    let ours = fs::read_to_string(bank.path("c3.pem")).unwrap();
    let named = "pkcs11:object=other;type=private".to_owned();
    let before = bank.module().to_owned();
    bank.configure(|settings| (settings.key, settings.module) = (named, MODULE.into()));
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    bank.write("c3.pem", &bank.issue());
    let report = status(&bank, &[], 1);
    let text = item(&report, "c3.use").1;
    assert!(
        text.ends_with("with another key than the certificate's"),
        "{text}"
    );
    bank.configure(|settings| {
        settings.key = "pkcs11:object=c3;type=private".to_owned();
        settings.module = before;
    });
    bank.write("c3.pem", &ours);

    let ledger = bank.path("uses.jsonl");
    let text = fs::read_to_string(&ledger).unwrap();
    fs::write(
        &ledger,
        text.replacen("tls13-client-auth", "tls12-client-auth", 1),
    )
    .unwrap();
    let report = checked(&bank, &chaos.run(&bank, &["status", "--json"]).expect(2));
    assert_eq!(item(&report, "ledger").0, "critical");
    assert_eq!(
        next(&report, "evidence")["command"],
        "hsm-mtls ledger verify"
    );
    // Others may write to it: the service would refuse it.
    fs::write(&ledger, text).unwrap();
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o666)).unwrap();
    let report = checked(&bank, &chaos.run(&bank, &["status", "--json"]).expect(2));
    assert!(
        item(&report, "ledger")
            .1
            .starts_with("the service refuses it: "),
        "{report:#}"
    );
}

#[test]
fn a_rotation_says_what_comes_next_and_by_when() {
    let mut bank = bank_until(time::Duration::days(43));
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    assert_eq!(
        item(&status(&bank, &[], 1), "rotation"),
        ("ok", "none is under way")
    );
    let request = bank.run(&["rotate", "start"]).expect(0).stdout;
    let report = status(&bank, &[], 1);
    let (state, text) = item(&report, "rotation");
    assert_eq!(state, "warning", "{text}");
    assert!(
        text.starts_with("C3: the request waits for its certificate, begun "),
        "{text}"
    );
    let rotation = &report["environments"][0]["rotations"][0];
    assert_eq!(
        (&rotation["stage"], &rotation["configured"]),
        (&"requested".into(), &"old".into())
    );
    let install = next(&report, "rotate install");
    assert_eq!(install["by"], rotation["by"]);
    // Not another one.
    let next_texts = report["environments"][0]["next"].to_string();
    assert!(!next_texts.contains("rotate C3"), "{next_texts}");
    let report = status(&bank, &["--crit", "50d"], 2);
    assert!(
        item(&report, "rotation").1.starts_with("C3: OVERDUE, "),
        "{report:#}"
    );

    // The new pair is configured, and nobody has used it yet.
    let chain = bank.framework.issue_client(&request) + &bank.framework.issuing_pem();
    let chain = bank.write("new.pem", &chain);
    bank.run(&["rotate", "install", chain.to_str().unwrap()])
        .expect(0);
    bank.run(&["rotate", "switch", "--without-test"]).expect(0);
    let report = status(&bank, &[], 0);
    let rotation = &report["environments"][0]["rotations"][0];
    assert_eq!(
        (&rotation["stage"], &rotation["configured"]),
        (&"switched".into(), &"new".into())
    );
    assert_eq!(item(&report, "rotation").0, "ok");
    next(&report, "reload the proxy");
    // The end of the ledger shows that the new key serves.
    bank.run(&["request", "GET", "cm:/consents/1"]).expect(0);
    let report = status(&bank, &[], 0);
    next(&report, "rotate retire --destroy c3` ends the rotation");
    assert!(report["environments"][0]["rotations"][0]["not_before"].is_string());

    // An old key that is left there for a week is forgotten; and a state of nobody knows what is one line.
    let states = fs::read_dir(bank.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut states = states.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    let state = states.find(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("rotation-")
    });
    let state = state.unwrap();
    let mut left: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    left["switched"] = (left["switched"].as_u64().unwrap() - 8 * 86_400).into();
    fs::write(&state, left.to_string()).unwrap();
    let report = status(&bank, &[], 1);
    assert!(
        item(&report, "rotation").1.starts_with("C3: NOT ENDED, "),
        "{report:#}"
    );
    fs::write(&state, "{}").unwrap();
    assert_eq!(item(&status(&bank, &[], 3), "rotation").0, "unknown");
}
