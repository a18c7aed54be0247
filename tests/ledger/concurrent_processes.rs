//! Four processes write to one ledger, with a token that fails now and then: each C_Sign that pkcs11-spy saw has its
//! attempt, and each attempt has its C_Sign and its outcome.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::ledger_file::folder_in_memory;
use crate::common::ledger_records::{LastCall, ProcessRecords, by_process, records};
use crate::common::pkcs11_spy::{self, Seen};
use bytes::Bytes;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::ledger::verify;
use hsm_mtls::internal::token::guard::Attendance;
use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use url::Url;

/// How many requests each process has under way. With one, the order of its calls is known too.
const AT_ONCE: [usize; 4] = [1, 8, 8, 8];
const REQUESTS: usize = 125;
/// What goes wrong in each process, once.
const FAILURES: [(&str, usize, &str); 5] = [
    ("C_Sign", 20, "CKR_DEVICE_ERROR"),
    ("C_Sign", 50, "CKR_SESSION_HANDLE_INVALID"),
    ("C_Sign", 90, "CKR_FUNCTION_FAILED"),
    ("C_SignInit", 35, "CKR_KEY_HANDLE_INVALID"),
    ("C_SignInit", 75, "CKR_DEVICE_MEMORY"),
];

#[test]
fn each_c_sign_of_four_processes_has_its_attempt() {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    let failures = FAILURES.map(|(function, at, ckr)| format!("fail {function} {at} {ckr}\n"));
    let chaos = Chaos::between(&mut bank, &failures.concat());
    let below = bank.module().to_owned();
    let folder = folder_in_memory();
    let ledger = folder.path().join("ledger.jsonl");
    bank.configure(|settings| {
        settings.module = pkcs11_spy::module();
        settings.sections = format!("[ledger]\nfile = {ledger:?}\nfsync = \"interval\"\n");
    });
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let log = |process: usize| bank.path(&format!("spy-{process}.log"));
    thread::scope(|scope| {
        for (process, at_once) in AT_ONCE.into_iter().enumerate() {
            let environment = [
                ("PKCS11SPY", text(below.clone())),
                ("PKCS11SPY_OUTPUT", text(log(process))),
                ("TZ", "UTC".to_owned()),
                ("AT_ONCE", at_once.to_string()),
                ("PID_FILE", text(log(process).with_extension("pid"))),
            ];
            let (bank, chaos) = (&bank, &chaos);
            scope.spawn(move || chaos.run_test(bank, requests_of_one_process, &environment));
        }
    });
    let history = verify::verify(&ledger, None).unwrap();
    assert!(history.unfinished.is_empty(), "{history:?}");
    let processes = by_process(&records(&ledger));
    assert_eq!(processes.len(), AT_ONCE.len());
    for (process, at_once) in AT_ONCE.into_iter().enumerate() {
        let pid = fs::read_to_string(log(process).with_extension("pid")).unwrap();
        let recorded = &processes[&pid.parse().unwrap()];
        let log = fs::read_to_string(log(process)).unwrap();
        each_pairs(&log, recorded);
        if at_once == 1 {
            let asked = recorded.attempts.iter();
            let asked = asked.filter(|attempt| attempt.last_call() == LastCall::Sign);
            let messages: Vec<_> = asked.map(|attempt| attempt.message).collect();
            assert!(pkcs11_spy::signed(&log) == messages, "not in this order");
        }
        // Callers are turned away for a moment while the token is down.
        assert!(recorded.attempts.len() > REQUESTS / 2);
    }
}

/// Each C_Sign that the spy saw with one attempt of the process, and each attempt with its C_Sign.
fn each_pairs(log: &str, recorded: &ProcessRecords) {
    let asked = |wanted: &'static [LastCall]| {
        let attempts = recorded.attempts.iter();
        attempts.filter(move |attempt| wanted.contains(&attempt.last_call()))
    };
    let count = |function| pkcs11_spy::count(log, function);
    assert_eq!(count("C_Sign"), asked(&[LastCall::Sign]).count());
    let with_init = asked(&[LastCall::SignInit, LastCall::Sign]);
    assert_eq!(count("C_SignInit"), with_init.count());
    assert_eq!(count("C_Login"), recorded.logins.len());
    let mut seen = Seen::of(log);
    for attempt in asked(&[LastCall::Sign]) {
        let at = attempt.sequence;
        let time = seen.take(attempt.message);
        let time = time.unwrap_or_else(|| panic!("attempt {at} without its C_Sign"));
        let recorded = &attempt.time;
        assert!(
            **recorded <= *time,
            "attempt {at}: {recorded}, C_Sign {time}"
        );
    }
    // Where it was tried again, that attempt has the C_Sign.
    for attempt in asked(&[LastCall::Nothing, LastCall::SignInit]) {
        let other = seen.take(attempt.message);
        assert_eq!(other, None, "attempt {} ended before", attempt.sequence);
    }
    for (function, _, ckr) in FAILURES {
        let outcomes = recorded
            .attempts
            .iter()
            .flat_map(|attempt| &attempt.outcome);
        let so =
            outcomes.filter(|outcome| outcome["function"] == function && outcome["ckr"] == ckr);
        assert_eq!(so.count(), 1, "{function}: {ckr}");
    }
}

/// Run by the test above, in processes of their own.
#[test]
fn requests_of_one_process() {
    let Some(config) = config_of_child() else {
        return;
    };
    let variable = |name| std::env::var(name).unwrap();
    fs::write(variable("PID_FILE"), std::process::id().to_string()).unwrap();
    let at_once: usize = variable("AT_ONCE").parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Arc::new(Client::open(&config, Attendance::Unattended).unwrap());
    let url: Url = format!("{}/hello-mtls", config.hub.services[0].origin)
        .parse()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..at_once {
            let (client, url) = (Arc::clone(&client), url.clone());
            tasks.spawn(async move {
                for _ in 0..REQUESTS.div_ceil(at_once) {
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
