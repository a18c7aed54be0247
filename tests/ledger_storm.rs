//! One chain, whoever writes and however it ends: four processes at once, and two hundred that are
//! killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::bank::{Bank, config_of_child};
use common::chaos::Chaos;
use common::hub::{Hub, HubOptions};
use common::{poll, spy};
use hsm_mtls::client::Client;
use hsm_mtls::ledger::history;
use hsm_mtls::token::guard::Attendance;
use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::task::JoinSet;
use url::Url;

const LEDGER: &str = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n";
const PROCESSES: usize = 4;
const REQUESTS: usize = 125;
const AT_ONCE: usize = 8;
const KILLS: usize = 200;

fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn each_c_sign_of_four_processes_has_its_attempt() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    // Each process meets three failures of the token.
    let failures = "fail C_Sign 20 CKR_DEVICE_ERROR\nfail C_Sign 50 CKR_SESSION_HANDLE_INVALID\nfail C_Sign 90 CKR_FUNCTION_FAILED";
    let chaos = Chaos::between(&mut bank, failures);
    let below = bank.module().to_owned();
    bank.configure(|settings| {
        settings.module = spy::module();
        settings.sections = LEDGER.to_owned();
    });
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (bank, chaos) = (&bank, &chaos);
            let below = text(below.clone());
            scope.spawn(move || {
                let log = text(bank.path(&format!("spy-{process}.log")));
                chaos.run_test(
                    bank,
                    "requests_of_one_process",
                    &[("PKCS11SPY", below), ("PKCS11SPY_OUTPUT", log)],
                );
            });
        }
    });
    let ledger = bank.path("ledger.jsonl");
    let history = history::verify(&ledger, None).unwrap();
    assert!(history.unfinished.is_empty(), "{history:?}");
    let records = records(&ledger);
    let mut attempts: BTreeMap<u64, usize> = BTreeMap::new();
    for attempt in records.iter().filter(|record| record["kind"] == "attempt") {
        *attempts
            .entry(attempt["process"]["pid"].as_u64().unwrap())
            .or_default() += 1;
    }
    let mut signed: Vec<_> = (0..PROCESSES)
        .map(|process| {
            let log = fs::read_to_string(bank.path(&format!("spy-{process}.log"))).unwrap();
            spy::calls(&log)
                .into_iter()
                .filter(|call| *call == "C_Sign")
                .count()
        })
        .collect();
    let mut recorded: Vec<_> = attempts.into_values().collect();
    signed.sort_unstable();
    recorded.sort_unstable();
    assert_eq!(signed, recorded);
    // Callers are turned away for a moment while the token is down.
    assert!(
        signed.iter().all(|count| *count > REQUESTS / 2),
        "{signed:?}"
    );
    let results = |wanted: &str| {
        let of = |record: &&Value| record["kind"] == "outcome" && record["ckr"] == wanted;
        records.iter().filter(of).count()
    };
    for failure in [
        "CKR_DEVICE_ERROR",
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_FUNCTION_FAILED",
    ] {
        assert_eq!(results(failure), PROCESSES, "{failure}");
    }
}

/// Run by the test above, in processes of their own.
#[test]
fn requests_of_one_process() {
    let Some(config) = config_of_child() else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Arc::new(Client::open(&config, Attendance::Unattended).unwrap());
    let url: Url = format!("{}/hello-mtls", config.hub.consent_manager)
        .parse()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (client, url) = (Arc::clone(&client), url.clone());
            tasks.spawn(async move {
                for _ in 0..REQUESTS.div_ceil(AT_ONCE) {
                    // What the token fails is on record, whatever becomes of the request.
                    let _ = client
                        .request(Method::GET, &url, HeaderMap::new(), Bytes::new())
                        .await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
}

/// Ended with SIGKILL, wherever it is.
struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // Where it has ended by itself, the test says so.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_hundred_kills_leave_one_chain() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    bank.configure(|settings| settings.sections = LEDGER.to_owned());
    let ledger = bank.path("ledger.jsonl");
    let length = || fs::metadata(&ledger).map_or(0, |file| file.len());
    for kill in 0..KILLS {
        let before = length();
        let mut doomed = Doomed(
            Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
                .arg("--config")
                .arg(bank.config_path())
                .args(["token", "check", "-n", "1", "--load", "1000000"])
                .envs(chaos.environment())
                .envs([("SOFTHSM2_CONF", bank.token.conf())])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        // Past the login: one that was killed costs the next one a pause, as it has to.
        poll::until("signatures", || length() > before + 4096);
        thread::park_timeout(Duration::from_micros(kill as u64 * 37 % 5000));
        assert!(doomed.0.try_wait().unwrap().is_none(), "it ended by itself");
    }
    bank.run(&["ledger", "verify"]).expect(0);
    let history = history::verify(&ledger, None).unwrap();
    // Eight callers may be at it in each process when it is killed.
    assert!(history.unfinished.len() <= KILLS * 8, "{history:?}");
    let attempts = usize::try_from(history.attempts).unwrap();
    let signed = chaos.calls("C_Sign");
    assert!(
        signed <= attempts,
        "{signed} signatures, {attempts} attempts"
    );
    assert!(signed + history.unfinished.len() >= attempts);
    assert!(history.attempts > KILLS as u64);
}
