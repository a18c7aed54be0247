//! States of a device that a return value names, and a device under load: no storm of logins and reinitialisations, and
//! what works is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::poll::{found_within, until};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{EngineError, Purpose, Sign, challenge};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

/// Sets the scene, and is the other half's configuration within it.
fn scene<Test: Fn()>(test: Test, lines: &str) -> Option<Config> {
    let config = config_of_child();
    if config.is_none() {
        let mut bank = Bank::new();
        bank.certify("p-256");
        bank.configure(|settings| settings.token_lines = lines.to_owned());
        let chaos = Chaos::between(&mut bank, "");
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

/// Calls for a while, so that a storm of calls would be seen; returns the last error.
fn call_for(time: Duration, signer: &Arc<dyn Sign>) -> EngineError {
    let begun = Instant::now();
    let mut last = None;
    until("the time is over", || {
        last = sign(signer).err().or(last.take());
        begun.elapsed() >= time
    });
    last.expect("an error")
}

/// One code for each way in which a state is cleared, and what it costs meanwhile.
#[test]
fn a_state_that_a_person_has_to_end_costs_no_logins() {
    let Some(config) = scene(
        a_state_that_a_person_has_to_end_costs_no_logins,
        "sessions = 2\nprofile = \"luna\"",
    ) else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    for (code, name) in [
        ("0x80000035", "audit-log-full"),
        ("0x80000076", "tampered"),
        ("0x8000008d", "restart-required"),
        ("CKR_DEVICE_MEMORY", "device-memory"),
        ("CKR_HOST_MEMORY", "host-memory"),
    ] {
        sign(&signer).unwrap();
        chaos.plan(&format!("fail C_SignInit all {code}"));
        chaos.forget_calls();
        let error = call_for(Duration::from_millis(3500), &signer);
        assert_eq!(error.device_state(), Some(name), "{error}");
        assert_eq!(error.class(), "token-down", "{error}");
        assert!(error.hint().len() > 20 && error.is_transient(), "{error}");
        let calls = ["C_Login", "C_Initialize", "C_Finalize"].map(|name| chaos.calls(name));
        assert_eq!(calls, [0; 3], "{code}");
        let tried = chaos.calls("C_SignInit");
        assert!((1..=8).contains(&tried), "{code}: {tried} attempts");
        chaos.plan("");
        let back = found_within(Duration::from_secs(40), || sign(&signer).ok());
        assert!(back.is_some(), "{code}: {:?}", sign(&signer));
        assert_eq!(chaos.calls("C_Login"), 0, "{code}: the login was good");
    }
}

/// The login itself meets the state: it is repeated after pauses that grow, and nothing is initialised meanwhile.
#[test]
fn a_login_in_such_a_state_is_repeated_after_pauses() {
    let Some(config) = scene(
        a_login_in_such_a_state_is_repeated_after_pauses,
        "sessions = 1\nprofile = \"luna\"",
    ) else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    // The login is gone, and the next meets the state.
    chaos.plan("vanished");
    sign(&signer).unwrap_err();
    chaos.plan("fail C_Login all 0x80000035");
    chaos.forget_calls();
    until("the login meets it", || {
        sign(&signer).is_err_and(|error| error.device_state() == Some("audit-log-full"))
    });
    let error = call_for(Duration::from_millis(4000), &signer);
    assert_eq!(error.device_state(), Some("audit-log-full"), "{error}");
    assert_eq!(chaos.calls("C_Login"), 1);
    assert!(chaos.calls("C_Initialize") <= 1);
    chaos.plan("");
    let back = found_within(Duration::from_secs(40), || sign(&signer).ok());
    assert!(back.is_some(), "{:?}", sign(&signer));
}

/// AWS CloudHSM returns CKR_DEVICE_ERROR when it is throttled.
#[test]
fn a_throttled_device_keeps_its_sessions_and_its_login() {
    let Some(config) = scene(
        a_throttled_device_keeps_its_sessions_and_its_login,
        "sessions = 8",
    ) else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    for plan in [
        "fail C_Sign */8 CKR_DEVICE_ERROR",
        "fail C_SignInit */8 CKR_FUNCTION_FAILED",
        "fail C_Sign */8 CKR_DEVICE_MEMORY",
    ] {
        // Slow enough for several to be at work at once.
        chaos.plan(&format!("delay C_Sign 5ms\n{plan}"));
        chaos.forget_calls();
        let (good, bad) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        let count = if sign(&signer).is_ok() { &good } else { &bad };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let (good, bad) = (good.into_inner(), bad.into_inner());
        println!("{plan}: {good} good, {bad} failed");
        assert!(good >= 290, "{plan}: {good} good, {bad} failed");
        assert_eq!(chaos.calls("C_Initialize"), 0, "{plan}");
        assert_eq!(chaos.calls("C_Login"), 0, "{plan}");
    }
}

/// One caller alone, whose signatures fail now and then: no other session shows that the token is there.
#[test]
fn one_failure_now_and_then_costs_a_session() {
    let Some(config) = scene(one_failure_now_and_then_costs_a_session, "sessions = 2") else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    chaos.plan("fail C_Sign */4 CKR_DEVICE_ERROR");
    chaos.forget_calls();
    for _ in 0..24 {
        sign(&signer).unwrap();
    }
    assert!(chaos.calls("C_OpenSession") >= 6);
    assert_eq!(chaos.calls("C_Login"), 0);
    assert_eq!(chaos.calls("C_Initialize"), 0);
    // And a token that is gone is found again all the same.
    chaos.plan("vanished");
    sign(&signer).unwrap_err();
    chaos.plan("");
    until("it is back", || sign(&signer).is_ok());
}

/// Without a signer process: it is said that only a new process may help, once in the log, and with each error.
#[test]
fn a_module_that_only_a_new_process_heals_is_named_in_the_library() {
    let Some(config) = scene(
        a_module_that_only_a_new_process_heals_is_named_in_the_library,
        "sessions = 1",
    ) else {
        return;
    };
    let (signer, chaos) = (open(&config), Chaos::of_child());
    chaos.plan("lost-until-new-process CKR_DEVICE_ERROR");
    chaos.forget_calls();
    let said = found_within(Duration::from_secs(30), || {
        let error = sign(&signer).expect_err("it is lost");
        error
            .hint()
            .contains("only a new process may help")
            .then_some(error)
    });
    let said = said.expect("it is said");
    assert_eq!(said.class(), "token-down");
    assert!(chaos.calls("C_Initialize") >= 10);
    assert_eq!(chaos.calls("C_Login"), 0, "no login was possible");
}
