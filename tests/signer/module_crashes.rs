//! A vendor's module in the signer process: when it crashes, hardly a request is lost, and the PIN is sent no more
//! often than before.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::procfs;
use crate::common::signer_process::{self, launch};
use bytes::Bytes;
use hsm_mtls::internal::client::{Client, ClientError};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::prove;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::signer::signer_supervisor::{Launch, SupervisedSigner};
use hsm_mtls::internal::signer::{self, RemoteKey};
use hsm_mtls::internal::tls::TlsError;
use hsm_mtls::internal::token::guard::Attendance;
use http::{HeaderMap, Method};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use url::Url;

const CONNECTIONS: usize = 32;
/// An application that has the module in it dies in this C_Sign.
const CRASH: &str = "crash C_Sign 300";

fn ready() -> (Bank, Hub, Chaos) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    // A connection for each request, of callers without a pause.
    bank.configure(|settings| settings.sections = "[signer]\nper_second = 1000000\n".to_owned());
    let chaos = Chaos::between(&mut bank, "");
    (bank, hub, chaos)
}

/// How long the module crashes for: SIGNER_SECONDS=120 for the length of a proper trial.
fn seconds() -> Duration {
    let given = std::env::var("SIGNER_SECONDS").ok();
    Duration::from_secs(given.map_or(24, |text| text.parse().expect("a number of seconds")))
}

#[derive(Default)]
struct Tally {
    good: u64,
    failed: BTreeMap<String, u64>,
}

/// Requests on connections of their own, so many at once, until the end.
async fn requests(client: &Client, config: &Config, end: Instant) -> Tally {
    let url: Arc<Url> = Arc::new(
        format!("{}/hello-mtls", config.hub.services[0].origin)
            .parse()
            .unwrap(),
    );
    let mut callers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (client, url) = (client.clone(), Arc::clone(&url));
        callers.spawn(async move {
            let mut tally = Tally::default();
            while Instant::now() < end {
                let (headers, body) = (HeaderMap::new(), Bytes::new());
                match client.request(Method::GET, &url, headers, body).await {
                    Ok(answer) => {
                        assert_eq!(answer.status, 200);
                        tally.good += 1;
                    }
                    Err(ClientError::Tls(TlsError::Signature(error))) => {
                        *tally.failed.entry(error.class().to_owned()).or_default() += 1;
                    }
                    Err(other) => panic!("not classified: {other} ({other:?})"),
                }
            }
            tally
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = callers.join_next().await {
        let tally = tally.unwrap();
        all.good += tally.good;
        for (class, count) in tally.failed {
            *all.failed.entry(class).or_default() += count;
        }
    }
    all
}

#[test]
fn a_module_that_crashes_again_and_again_costs_hardly_a_request() {
    let (bank, _hub, chaos) = ready();
    let config = signer_process::config(&bank);
    let identity = signer::identity(&config, launch(&bank, Some(&chaos))).unwrap();
    let client = Client::of(&config, &identity).unwrap();
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let whole = seconds();
    let end = Instant::now() + whole;
    let (all, signers) = runtime.block_on(async {
        let mut signers = BTreeSet::new();
        let mut crashes = tokio::time::interval((whole / 6).min(Duration::from_secs(10)));
        let mut look = tokio::time::interval(Duration::from_millis(1));
        let requests = requests(&client, &config, end);
        let mut requests = std::pin::pin!(requests);
        // The pid that is to crash.
        let mut doomed = None;
        loop {
            tokio::select! {
                all = &mut requests => break (all, signers),
                _ = crashes.tick() => {
                    doomed = signer_process::signers(&bank).first().copied();
                    // In its next signature.
                    chaos.plan("crash C_Sign 1");
                }
                _ = look.tick(), if doomed.is_some() => {
                    if doomed.is_some_and(|pid| procfs::state(pid).is_none_or(|state| state == 'Z')) {
                        chaos.plan("");
                        signers.extend(doomed.take());
                    }
                }
            }
        }
    });
    let failed: u64 = all.failed.values().sum();
    let share = all.good as f64 / (all.good + failed) as f64;
    println!(
        "{} good, {:?}, {} signer processes crashed in {:?}: {:.3} % good",
        all.good,
        all.failed,
        signers.len(),
        seconds(),
        100.0 * share
    );
    assert!(
        signers.len() >= 5,
        "only {} crashes were seen",
        signers.len()
    );
    assert!(
        all.good >= 1000 && share >= 0.99,
        "{} good, {:?}",
        all.good,
        all.failed
    );
    let known = ["signer-gone", "deadline"];
    assert!(
        all.failed
            .keys()
            .all(|class| known.contains(&class.as_str())),
        "{:?}",
        all.failed
    );
}

/// For contrast: with the module in it, the application is gone.
#[test]
fn in_process_the_same_module_takes_the_application_with_it() {
    let (bank, _hub, chaos) = ready();
    chaos.plan(CRASH);
    let run = || chaos.run_test(&bank, an_application_with_the_module_in_it, &[]);
    let ended = catch_unwind(AssertUnwindSafe(run));
    let failure = ended.expect_err("it lives").downcast::<String>();
    let failure = *failure.expect("what the application ended with");
    assert!(failure.contains("signal: "), "{failure}");
}

#[test]
fn an_application_with_the_module_in_it() {
    let Some(config) = config_of_child() else {
        return;
    };
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    for _ in 0..1000 {
        prove(identity.signer().as_ref()).unwrap();
    }
}

#[test]
fn a_signer_that_is_stopped_is_ended_and_started_again() {
    let (bank, _hub, chaos) = ready();
    let config = signer_process::config(&bank);
    let identity = signer::identity(&config, launch(&bank, Some(&chaos))).unwrap();
    let stopped = signer_process::signers(&bank);
    let [pid] = stopped[..] else {
        panic!("{stopped:?}");
    };
    let sent = std::process::Command::new("kill")
        .args(["-STOP", &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
    until("another signer is there", || {
        let signers = signer_process::signers(&bank);
        signers.len() == 1 && signers[0] != pid
    });
    prove(identity.signer().as_ref()).unwrap();
}

#[test]
fn a_session_that_hangs_while_it_is_kept_alive_keeps_nobody_waiting() {
    let (mut bank, _hub, chaos) = ready();
    bank.configure(|settings| {
        settings.token_lines = "timeout = \"3s\"\nkeep_alive = \"100ms\"\nsessions = 2".to_owned();
    });
    let config = signer_process::config(&bank);
    let identity = signer::identity(&config, launch(&bank, Some(&chaos))).unwrap();
    let before = signer_process::signers(&bank);
    chaos.forget_calls();
    chaos.plan("hang C_GetSessionInfo 1");
    until("a session is kept alive", || {
        chaos.calls("C_GetSessionInfo") > 0
    });
    // The next signer's module reads this: there nothing hangs.
    chaos.plan("");
    until("a session hangs, and its process is ended for it", || {
        // Served by the other session meanwhile, and by the next signer after it.
        prove(identity.signer().as_ref()).unwrap();
        let now = signer_process::signers(&bank);
        !now.is_empty() && now != before
    });
}

#[test]
fn a_request_that_nobody_took_waits_for_the_next_signer() {
    let (bank, _hub, chaos) = ready();
    let config = signer_process::config(&bank);
    let identity = signer::identity(&config, launch(&bank, Some(&chaos))).unwrap();
    for _ in 0..8 {
        let signers = signer_process::signers(&bank);
        let pid = signers.first().expect("a signer").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-KILL", &pid])
            .status();
        assert!(sent.unwrap().success());
        // Between two signers, or while the next one starts.
        prove(identity.signer().as_ref()).unwrap();
    }
}

#[test]
fn a_pin_that_is_refused_is_sent_once_by_however_many_signers() {
    let (bank, _hub, chaos) = ready();
    chaos.plan("fail C_Login all CKR_PIN_INCORRECT");
    chaos.forget_calls();
    for _ in 0..5 {
        let config = signer_process::config(&bank);
        let refused = signer::identity(&config, launch(&bank, Some(&chaos))).expect_err("refused");
        assert_eq!(refused.exit_code(), ExitCode::Pin, "{refused}");
        assert!(!refused.hint().is_empty());
    }
    assert_eq!(chaos.calls("C_Login"), 1);
}

/// Who sits at the keypad, or at the terminal, has answered: the next question is the next command's.
#[test]
fn a_person_is_asked_once() {
    let (mut bank, _hub, chaos) = ready();
    bank.configure(|settings| settings.pin = "\"protected-path\"".to_owned());
    chaos.plan("flag CKF_PROTECTED_AUTHENTICATION_PATH\nfail C_Login all CKR_DEVICE_ERROR");
    chaos.forget_calls();
    let config = signer_process::config(&bank);
    let launch = Launch {
        attended: true,
        ..launch(&bank, Some(&chaos))
    };
    let (_signer, mut channels) = SupervisedSigner::start(launch, 2).unwrap();
    let mut ask = || RemoteKey::connect(&config, vec![channels.pop().unwrap()], None).map(drop);
    ask().expect_err("the login fails");
    let told = Instant::now();
    until("many pauses are over", || {
        told.elapsed() > Duration::from_secs(1)
    });
    ask().expect_err("the same is said again");
    assert_eq!(chaos.calls("C_Login"), 1);
}

#[test]
fn a_login_that_crashes_is_not_tried_again_by_the_next_signer() {
    let (mut bank, _hub, chaos) = ready();
    // A PIN that never was good, as far as this record knows.
    bank.configure(|settings| settings.state_dir = "fresh".to_owned());
    chaos.plan("crash C_Login all");
    chaos.forget_calls();
    let config = signer_process::config(&bank);
    let refused = signer::identity(&config, launch(&bank, Some(&chaos))).expect_err("crashed");
    assert_eq!(refused.exit_code(), ExitCode::Pin, "{refused}");
    assert_eq!(chaos.calls("C_Login"), 1, "{refused}");
}
