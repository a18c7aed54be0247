//! A module whose broken state only a new process clears: the signer process is replaced, without a person, and its
//! callers are told of an outage all the time.

use std::time::Duration;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::poll::{found_within, until};
use crate::common::signer_process::{self, launch, signers};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{EngineError, prove};
use hsm_mtls::internal::signer::signer_supervisor::SupervisedSigner;
use hsm_mtls::internal::signer::{self, RemoteKey, SignerHealth};

/// Ten reinitialisations in vain, with the pauses between them, and the start of a process.
const PATIENCE: Duration = Duration::from_secs(40);

fn scene() -> (Bank, Chaos, Config) {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    let config = signer_process::config(&bank);
    (bank, chaos, config)
}

fn connect(bank: &Bank, chaos: &Chaos, config: &Config) -> (SupervisedSigner, RemoteKey) {
    let (signer, sockets) =
        SupervisedSigner::start(launch(bank, Some(chaos)), signer::channels(config)).unwrap();
    let key = RemoteKey::connect(config, sockets, None).unwrap();
    prove(&key).unwrap();
    (signer, key)
}

/// Signs until it is good; every error meanwhile is that of an outage, and so is the health.
fn heals(key: &RemoteKey) {
    let healed = found_within(PATIENCE, || {
        let health = key.health().expect("it answers");
        if let Some(error) = health.error() {
            assert_eq!(error.class(), "token-down", "{health:?}");
        }
        match prove(key) {
            Ok(_) => Some(()),
            Err(error) => {
                is_outage(&error);
                None
            }
        }
    });
    assert_eq!(healed, Some(()), "{:?}", key.health());
}

fn is_outage(error: &EngineError) {
    assert_eq!(error.class(), "token-down", "{error}");
    assert!(
        error.to_string().starts_with("the token is down since"),
        "{error}"
    );
    assert!(error.is_transient() && !error.hint().is_empty(), "{error}");
}

#[test]
fn a_module_that_only_a_new_process_heals_is_healed() {
    for plan in [
        "lost-until-new-process CKR_DEVICE_ERROR",
        "lost-until-new-process CKR_GENERAL_ERROR initialize",
    ] {
        let (bank, chaos, config) = scene();
        let (_signer, key) = connect(&bank, &chaos, &config);
        let first = signers(&bank);
        chaos.plan(plan);
        chaos.forget_calls();
        is_outage(&prove(&key).expect_err("it is lost"));
        heals(&key);
        let second = signers(&bank);
        assert_ne!(first, second);
        assert_eq!(second.len(), 1);
        // None in the process that could not, one in that which can.
        assert_eq!(chaos.calls("C_Login"), 1, "{plan}");
        let health = key.health().unwrap();
        assert_eq!(health.replaced(), Some(1), "{health:?}");
        assert!(health.outage().is_none(), "{health:?}");
    }
}

/// The HSM is away for longer: the next process waits, recovers by itself, and the outage is the same all the time.
#[test]
fn an_outage_goes_on_in_the_next_process() {
    let (bank, chaos, config) = scene();
    let (_signer, key) = connect(&bank, &chaos, &config);
    chaos.plan("vanished");
    chaos.forget_calls();
    is_outage(&prove(&key).expect_err("it is lost"));
    let since = key.health().unwrap().outage().unwrap().since.clone();
    let replaced = found_within(PATIENCE, || {
        let health = key.health().expect("it answers");
        let outage = health.outage().expect("an outage");
        assert_eq!(outage.since, since);
        assert!(outage.error.message.contains(&since), "{}", outage.error);
        is_outage(&prove(&key).expect_err("it is away"));
        matches!(health, SignerHealth::Recovering { replaced: 1, .. }).then_some(())
    });
    assert_eq!(replaced, Some(()));
    assert_eq!(chaos.calls("C_Login"), 0, "there was no token to log in to");
    let second = found_within(PATIENCE, || signers(&bank).first().copied()).unwrap();
    // In this process the failures go on, and it is too young to be replaced.
    let tried = chaos.calls("C_GetSlotList");
    until("it tries further", || {
        chaos.calls("C_GetSlotList") > tried + 4
    });
    assert_eq!(signers(&bank), [second]);
    chaos.plan("");
    heals(&key);
    assert_eq!(signers(&bank), [second]);
    assert_eq!(chaos.calls("C_Login"), 1);
}

/// The new process finds that the PIN is refused: it is sent once, by none of those after it, and the outage becomes a
/// matter of the PIN.
#[test]
fn a_new_process_sends_no_pin_that_was_refused() {
    let (bank, chaos, config) = scene();
    let (_signer, key) = connect(&bank, &chaos, &config);
    chaos.plan("lost-until-new-process CKR_DEVICE_ERROR\nfail C_Login all CKR_PIN_INCORRECT");
    chaos.forget_calls();
    is_outage(&prove(&key).expect_err("it is lost"));
    let refused = found_within(PATIENCE, || {
        prove(&key).err().filter(|error| error.class() == "pin")
    });
    assert!(refused.is_some(), "{:?}", key.health());
    let [pid] = signers(&bank)[..] else {
        panic!("{:?}", signers(&bank));
    };
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
    until("the next says the same", || {
        signers(&bank).iter().any(|next| *next != pid)
            && prove(&key).is_err_and(|error| error.class() == "pin")
    });
    assert_eq!(chaos.calls("C_Login"), 1);
}

/// A login that the device does not answer costs no process an attempt more than the record allows.
#[test]
fn a_login_that_is_not_answered_is_paced_by_its_record() {
    let (bank, chaos, config) = scene();
    let (_signer, key) = connect(&bank, &chaos, &config);
    // Lost, and then a C_Login that fails in each process.
    chaos.plan("lost-until-new-process CKR_DEVICE_ERROR\nfail C_Login all CKR_DEVICE_ERROR");
    chaos.forget_calls();
    let said = found_within(PATIENCE, || {
        let error = prove(&key).expect_err("it is lost");
        error
            .to_string()
            .contains("logins had no answer")
            .then_some(error)
    });
    let said = said.expect("the guard paces the logins");
    assert!(said.is_transient(), "{said}");
    // On one record, whichever process sent them.
    let sent = chaos.calls("C_Login");
    let counted = format!("the last {sent} logins had no answer");
    assert!(said.to_string().contains(&counted), "{sent}: {said}");
    assert!((3..=7).contains(&sent), "{sent} logins");
    chaos.plan("");
    let healed = found_within(PATIENCE, || prove(&key).ok());
    assert!(healed.is_some(), "{:?}", key.health());
}

/// A PIN that a person enters is asked for by no process that takes another's place.
#[test]
fn no_process_is_replaced_where_the_pin_needs_a_person() {
    let (mut bank, chaos, _) = scene();
    bank.configure(|settings| {
        settings.pin = "\"protected-path\"".to_owned();
        settings.token_lines = "keep_alive = \"100ms\"\nlogin = \"never\"".to_owned();
    });
    let config = signer_process::config(&bank);
    // SoftHSM shows a private key to a user who is logged in only: so nothing is found, and nobody is asked.
    chaos.plan("flag CKF_PROTECTED_AUTHENTICATION_PATH\nfail C_OpenSession all CKR_DEVICE_ERROR");
    let (_signer, sockets) =
        SupervisedSigner::start(launch(&bank, Some(&chaos)), signer::channels(&config)).unwrap();
    let first = found_within(PATIENCE, || signers(&bank).first().copied()).unwrap();
    let said = RemoteKey::connect(&config, sockets, None).map(drop);
    said.expect_err("it has no key");
    let tried = chaos.calls("C_GetSlotList");
    let many = found_within(PATIENCE, || {
        (chaos.calls("C_GetSlotList") > tried + 14).then_some(())
    });
    assert_eq!(many, Some(()));
    assert_eq!(signers(&bank), [first]);
    assert_eq!(chaos.calls("C_Login"), 0);
}
