//! Sessions that the token closes when idle, and a token that is removed and comes back in another slot: the next
//! signature succeeds without a restart.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::poll::until;
use hsm_mtls::internal::config::{Config, KeepAliveCall};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{EngineError, Purpose, Sign, challenge};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

/// Sets the scene, and is the other half's configuration within it.
fn scene<Test: Fn()>(test: Test, plan: &str, lines: &str) -> Option<Config> {
    let config = config_of_child();
    if config.is_none() {
        let mut bank = Bank::new();
        bank.certify("p-256");
        bank.configure(|settings| settings.token_lines = lines.to_owned());
        let chaos = Chaos::between(&mut bank, plan);
        chaos.run_test(&bank, test, &[]);
    }
    config
}

fn open(config: &Config) -> Arc<dyn Sign> {
    let identity = Identity::open(config, Attendance::Unattended).unwrap();
    Arc::clone(identity.signer())
}

fn sign(signer: &Arc<dyn Sign>) -> Result<Duration, EngineError> {
    challenge(signer.as_ref(), Purpose::SelfTest)
}

/// Lets time pass in which nothing is signed.
fn idle(time: Duration) {
    let started = Instant::now();
    until("time passes", || started.elapsed() >= time);
}

#[test]
fn an_idle_session_is_kept_alive() {
    let Some(config) = scene(
        an_idle_session_is_kept_alive,
        "idle 2000ms",
        "sessions = 1\nkeep_alive = \"200ms\"",
    ) else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    let opened = chaos.calls("C_OpenSession");
    idle(Duration::from_millis(3000));
    sign(&signer).unwrap();
    assert_eq!(chaos.calls("C_OpenSession"), opened);
    assert_eq!(chaos.calls("C_Login"), 1);
    assert!(chaos.calls("C_GetSessionInfo") > 5, "nothing kept it alive");
}

/// Some modules answer C_GetSessionInfo without asking the device.
#[test]
fn the_call_that_keeps_a_session_alive_is_configured() {
    for call in ["random", "find", "session-info"] {
        let lines = format!("sessions = 1\nkeep_alive = \"200ms\"\nkeep_alive_call = \"{call}\"");
        let Some(config) = scene(
            the_call_that_keeps_a_session_alive_is_configured,
            "idle 2000ms",
            &lines,
        ) else {
            continue;
        };
        let (signer, chaos) = (open(&config), Chaos::of_child());
        let function = match config.token.profile(None).keep_alive_call(&config.token) {
            KeepAliveCall::Random => "C_GenerateRandom",
            KeepAliveCall::Find => "C_FindObjectsInit",
            _ => "C_GetSessionInfo",
        };
        let before = (chaos.calls(function), chaos.calls("C_OpenSession"));
        idle(Duration::from_millis(3000));
        sign(&signer).unwrap();
        assert!(chaos.calls(function) > before.0 + 5, "{function}");
        assert_eq!(chaos.calls("C_OpenSession"), before.1);
        return;
    }
}

/// Without any, idle sessions die, and the next signature opens another.
#[test]
fn no_call_keeps_nothing_alive() {
    let Some(config) = scene(
        no_call_keeps_nothing_alive,
        "idle 300ms",
        "sessions = 1\nkeep_alive = \"100ms\"\nkeep_alive_call = \"none\"",
    ) else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    let before = chaos.calls("C_GetSessionInfo");
    idle(Duration::from_millis(1000));
    assert_eq!(chaos.calls("C_GetSessionInfo"), before);
    sign(&signer).unwrap();
}

#[test]
fn sessions_that_died_of_idleness_cost_a_login_and_no_signature() {
    let Some(config) = scene(
        sessions_that_died_of_idleness_cost_a_login_and_no_signature,
        "idle 300ms",
        "sessions = 2\nkeep_alive = \"60s\"",
    ) else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    for round in 1..=3 {
        idle(Duration::from_millis(600));
        sign(&signer).unwrap();
        // With the last session the login is gone, so there is one for each round.
        assert_eq!(chaos.calls("C_Login"), 1 + round);
        sign(&signer).unwrap();
        assert_eq!(chaos.calls("C_Login"), 1 + round);
    }
}

#[test]
fn a_token_comes_back_in_another_slot() {
    let Some(config) = scene(a_token_comes_back_in_another_slot, "", "sessions = 2") else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    for round in 1..=3 {
        chaos.plan("vanished");
        for _ in 0..20 {
            let error = sign(&signer).unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Token);
        }
        let logins = chaos.calls("C_Login");
        assert_eq!(logins, round, "no PIN is sent to a token that is not there");
        chaos.plan(&format!("slot-ids {}", 1000 * round));
        idle(Duration::from_secs(2));
        sign(&signer).unwrap();
        assert_eq!(chaos.calls("C_Login"), logins + 1);
    }
}

/// OpenSSL behind a module cleans up after each thread. A process that exits meanwhile crashes, so dropping the engine
/// waits for that.
#[test]
fn an_engine_that_was_dropped_leaves_no_thread() {
    let Some(config) = scene(
        an_engine_that_was_dropped_leaves_no_thread,
        "delay thread-exit 300ms",
        "sessions = 4",
    ) else {
        return;
    };
    let signer = open(&config);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| sign(&signer).unwrap());
        }
    });
    assert!(session_threads() > 0);
    drop(signer);
    assert_eq!(session_threads(), 0);
}

fn session_threads() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
    threads
        .filter_map(|thread| name(thread.ok()?).ok())
        .filter(|name| name.trim_end() == "hsm-session")
        .count()
}
