//! Metrics that an application's recorder gets: signatures by result, token recovery, days to the certificate's end.
//! The recorder is global: the test runs in a process of its own.

use std::collections::BTreeMap;
use std::thread;
use std::time::SystemTime;

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use bytes::Bytes;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::engine::{Purpose, challenge};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::metrics::{self, Kind};
use hsm_mtls::internal::tls::Tls;
use hsm_mtls::internal::token::guard::Attendance;
use http::{HeaderMap, Method};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// By name and the labels that count here; of a histogram, how many values. Counted since the last
/// look.
fn seen(snapshots: &Snapshotter) -> BTreeMap<String, f64> {
    let all = snapshots.snapshot().into_vec().into_iter();
    all.map(|(key, unit, description, value)| {
        let key = key.key();
        let known = metrics::ALL.iter().find(|known| known.name == key.name());
        let known = known.unwrap_or_else(|| panic!("{key:?} is not listed"));
        let labels: Vec<_> = key.labels().map(|label| label.key()).collect();
        assert_eq!(labels, known.labels, "{}", known.name);
        assert_eq!(description.as_deref(), Some(known.meaning));
        assert_eq!(unit.is_some(), known.kind == Kind::Histogram);
        let mut name = key.name().to_owned();
        for label in key.labels() {
            match label.key() {
                "key" => assert!(label.value().starts_with("pkcs11:token=lfi"), "{label:?}"),
                _ => name = format!("{name} {}", label.value()),
            }
        }
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        (name, value)
    })
    .collect()
}

#[test]
fn the_recorder_is_told_of_signatures_and_of_the_way_to_the_token() {
    let Some(config) = config_of_child() else {
        let mut bank = Bank::new();
        let hub =
            Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
        bank.hub_at(hub.port());
        bank.certify("p-256");
        bank.configure(|settings| settings.token_lines = "sessions = 1".to_owned());
        let chaos = Chaos::between(&mut bank, "");
        chaos.run_test(
            &bank,
            the_recorder_is_told_of_signatures_and_of_the_way_to_the_token,
            &[],
        );
        return;
    };
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    recorder.install().unwrap();
    metrics::describe();
    let chaos = Chaos::of_child();

    // A client that starts: one login, the proof.
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    let now = seen(&snapshots);
    let value = |now: &BTreeMap<String, f64>, name: &str| {
        let name = format!("hsm_mtls_{name}");
        now.get(&name)
            .copied()
            .unwrap_or_else(|| panic!("{name}: {now:#?}"))
    };
    assert_eq!(value(&now, "logins_total good"), 1.0);
    assert_eq!(value(&now, "sessions_opened_total good"), 1.0);
    assert_eq!(value(&now, "signature_seconds proof good"), 1.0);
    assert_eq!(value(&now, "sessions_at_most"), 1.0);
    assert_eq!(value(&now, "token_up"), 1.0);

    // A handshake: the certificate's days.
    let tls = Tls::new(&config, &identity).unwrap();
    let client = Client::new(&config, Connector::new(&config, &tls).unwrap());
    let url = format!("{}/hello-mtls", config.hub.services[0].origin);
    let url = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(client.request(Method::GET, &url, HeaderMap::new(), Bytes::new()))
        .unwrap();
    let now = seen(&snapshots);
    assert_eq!(value(&now, "signature_seconds tls13-client-auth good"), 1.0);
    let days = identity.chain().leaf().days_left(SystemTime::now());
    assert_eq!(value(&now, "certificate_days_left"), days as f64);

    // Two at a token with one session that takes its time: one waits, one is in use.
    chaos.plan("delay C_Sign 1500ms");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| challenge(identity.signer().as_ref(), Purpose::SelfTest).unwrap());
        }
        let mut most = [0.0_f64; 2];
        until("one waits for the other", || {
            let now = seen(&snapshots);
            for (most, name) in most.iter_mut().zip(["queue_depth", "sessions_in_use"]) {
                let told = now.get(&format!("hsm_mtls_{name}")).copied();
                *most = most.max(told.unwrap_or(0.0));
            }
            most == [1.0, 1.0]
        });
    });

    // The token goes: it is down, looked for, and each signature has its class.
    chaos.plan("fail C_SignInit all CKR_DEVICE_ERROR\nfail C_OpenSession all CKR_DEVICE_ERROR");
    until("it is told to be down", || {
        let result = challenge(identity.signer().as_ref(), Purpose::SelfTest);
        result.is_err_and(|error| error.class() == "token-down")
    });
    let now = seen(&snapshots);
    assert_eq!(value(&now, "token_up"), 0.0);
    assert!(value(&now, "signature_seconds self-test token-down") >= 1.0);
    assert!(
        value(&now, "token_searches_total device") >= 1.0,
        "{now:#?}"
    );
    assert!(value(&now, "module_initializations_total good") >= 1.0);

    // It is back: logged in again, in a new session.
    chaos.plan("");
    until("it is found again", || {
        challenge(identity.signer().as_ref(), Purpose::SelfTest).is_ok()
    });
    let now = seen(&snapshots);
    assert_eq!(value(&now, "token_up"), 1.0);
    assert_eq!(value(&now, "token_searches_total good"), 1.0);
    assert!(value(&now, "signature_seconds self-test good") >= 1.0);
}
