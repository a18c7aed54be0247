//! Quirks that real tokens have been seen to have, with the calls counted at the module.

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};

fn certified(key_type: &str) -> (Bank, Hub) {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify(key_type);
    (bank, hub)
}

#[test]
fn a_wrong_signature_is_not_released() {
    for key_type in ["rsa-2048", "p-256"] {
        let (mut bank, hub) = certified(key_type);
        let chaos = Chaos::between(&mut bank, "signature wrong");
        let csr = chaos.run(&bank, &["csr"]).expect(3);
        assert!(
            csr.stderr
                .contains("does not verify with the public key; it was not used"),
            "{csr:?}"
        );
        assert!(csr.stdout.is_empty());
        chaos.run(&bank, &["verify"]).expect(2);
        assert!(
            hub.connections().is_empty(),
            "the proof failed before any connection"
        );
    }
}

#[test]
fn der_and_short_answers_are_taken() {
    let (mut bank, _hub) = certified("p-256");
    let chaos = Chaos::between(&mut bank, "");
    for form in ["signature der", "signature short"] {
        chaos.plan(form);
        chaos.run(&bank, &["verify"]).expect(0);
        chaos.run(&bank, &["token", "check", "-n", "300"]).expect(0);
    }
}

/// The list of mechanisms is a claim; one that is refused is asked for once and not again.
#[test]
fn a_mechanism_that_is_listed_and_refused_is_learnt() {
    let (mut bank, _hub) = certified("rsa-2048");
    let chaos = Chaos::between(&mut bank, "refuse CKM_RSA_PKCS_PSS");
    chaos.run(&bank, &["verify"]).expect(0);
    // One proof and two connections, and one refusal before them.
    assert_eq!(chaos.calls("C_Sign"), 3);
    assert_eq!(chaos.calls("C_SignInit"), 4);
}

#[test]
fn a_key_that_wants_a_login_each_time_gets_it_between_the_two_calls() {
    let (mut bank, _hub) = certified("p-256");
    let chaos = Chaos::between(&mut bank, "always-authenticate");
    chaos.run(&bank, &["verify"]).expect(0);
    assert_eq!(chaos.calls("C_Sign"), 3);
    assert_eq!(chaos.calls("C_Login"), 1 + 3);
}

#[test]
fn a_lost_session_costs_no_signature() {
    let (mut bank, _hub) = certified("p-256");
    let chaos = Chaos::between(
        &mut bank,
        "fail C_Sign 3 CKR_SESSION_HANDLE_INVALID\nfail C_SignInit 7 CKR_KEY_HANDLE_INVALID",
    );
    chaos.run(&bank, &["token", "check", "-n", "20"]).expect(0);
    let broken = "fail C_Sign all CKR_DEVICE_ERROR";
    chaos.plan(broken);
    let run = chaos.run(&bank, &["token", "check"]).expect(3);
    assert!(
        run.stdout
            .contains("the token did not sign: C_Sign returned CKR_DEVICE_ERROR"),
        "{run:?}"
    );
}

/// The exit handlers of a module, or of OpenSSL behind it, have crashed processes whose work was done.
#[test]
fn a_module_that_crashes_as_the_process_exits_changes_no_exit_code() {
    let (mut bank, _hub) = certified("p-256");
    let chaos = Chaos::between(&mut bank, "crash exit");
    for command in [
        &["token", "list"][..],
        &["token", "check"],
        &["key", "list"],
        &["csr"],
        &["cert", "show"],
        &["verify"],
        &["request", "GET", "cm:/consents/1"],
        &["config", "check"],
    ] {
        let run = chaos.run(&bank, command).expect(0);
        assert!(!run.stdout.is_empty(), "{command:?}: {run:?}");
    }
}

/// SoftHSM writes its token's file anew at each login, of any process: who reads it meanwhile is told CKR_GENERAL_ERROR.
#[test]
fn a_token_that_another_process_writes_to_is_found() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, "fail C_GetTokenInfo 1..2 CKR_GENERAL_ERROR");
    chaos.run(&bank, &["key", "list"]).expect(0);
    chaos.plan("fail C_GetTokenInfo all CKR_GENERAL_ERROR");
    chaos.run(&bank, &["key", "list"]).expect(3);
}
