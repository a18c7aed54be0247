//! A PIN that is changed while the proxy serves, in each order of token, source and reload: requests go on, each PIN is sent once,
//! and never a second wrong one after a first.

use std::fs;

use crate::common::bank::Bank;
use crate::common::opencryptoki::OpenCryptoki;
use crate::common::paced_requests::under_requests;
use crate::common::pin_change::{NEW_PIN, PinChange, change_and_lose_token, change_under_load};
use crate::common::poll::until;
use crate::common::tpm_token::TpmToken;
use crate::common::trust_framework::write_file;

#[test]
fn softhsm_under_load() {
    change_under_load(Bank::new(), "p-256");
}

#[test]
fn softhsm_that_is_lost_before_a_reload() {
    change_and_lose_token(Bank::new(), "p-256");
}

#[test]
fn opencryptoki_under_load() {
    let Some(token) = OpenCryptoki::in_namespaces(opencryptoki_under_load) else {
        return;
    };
    let mut bank = Bank::new();
    token.configure(&mut bank);
    change_under_load(bank, "rsa-2048");
}

#[test]
fn a_tpm_under_load() {
    let token = TpmToken::new();
    let mut bank = Bank::new();
    token.configure(&mut bank);
    change_under_load(bank, "p-256");
}

/// The file first: the proxy goes on with its login, and takes the new PIN at the reload after the token has it.
#[test]
fn the_source_first_and_a_reload_last() {
    let change = PinChange::of(Bank::new(), "p-256", "");
    under_requests(&change.proxy.socket(), |more| {
        change.in_the_source();
        more();
        change.at_the_token();
        more();
        assert_eq!(change.tries(), 0);
        change.proxy.signal("HUP");
        change.reloaded(1.0, 0.0);
    });
    assert_eq!(change.tries(), 1);
}

/// The wrong order where files are watched: the new PIN is sent before the token has it, once, and the old one serves on.
#[test]
fn a_watched_source_first_costs_one_try_and_no_request() {
    let change = PinChange::of(Bank::new(), "p-256", "reload = \"watch\"");
    under_requests(&change.proxy.socket(), |more| {
        change.in_the_source();
        change.reloaded(0.0, 1.0);
        more();
        let refused = &change.proxy.ready()["last_reload"];
        assert_eq!(refused["good"], false);
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("the token refused the PIN"), "{detail}");
        assert_eq!(change.tries(), 1);
        // Not again, as long as the file is the same.
        change.proxy.signal("HUP");
        change.reloaded(0.0, 2.0);
        assert_eq!(change.tries(), 1);
        // The change at the token, with the right old PIN, ends the token's warning. The same PIN again is nothing new to the watch.
        change.at_the_token();
        change.in_the_source();
        change.proxy.signal("HUP");
        change.reloaded(1.0, 2.0);
        more();
    });
    assert_eq!(change.tries(), 2);
    assert_eq!(change.proxy.ready()["last_reload"]["good"], true);
}

/// A PIN with a mistake in it: sent once, the proxy serves on, and an operator has the corrected one tried.
#[test]
fn a_mistake_is_sent_once_and_its_correction_when_an_operator_says_so() {
    let change = PinChange::of(Bank::new(), "p-256", "reload = \"watch\"");
    under_requests(&change.proxy.socket(), |more| {
        change.at_the_token();
        change.write("new-0003");
        change.reloaded(0.0, 1.0);
        more();
        assert_eq!(change.tries(), 1);
        change.in_the_source();
        change.reloaded(0.0, 2.0);
        let report = change.proxy.ready();
        let detail = report["last_reload"]["detail"].as_str().unwrap();
        assert!(detail.contains("CKF_USER_PIN_COUNT_LOW"), "{detail}");
        assert_eq!(change.tries(), 1);
        let accept = ["pin", "accept-count-low", "--once"];
        change.chaos.run(&change.bank, &accept).expect(0);
        change.proxy.signal("HUP");
        change.reloaded(1.0, 2.0);
        more();
    });
    assert_eq!(change.tries(), 2);
}

/// The token is lost when the file has a wrong PIN: that one is sent once, and the one of before not at all. The correction is taken
/// without a reload.
#[test]
fn the_pin_of_before_is_not_sent_after_a_mistake() {
    let change = PinChange::of(Bank::new(), "p-256", "");
    change.write("new-0003");
    change
        .chaos
        .plan("without CKF_USER_PIN_COUNT_LOW\nvanished");
    until("the loss is noticed", || {
        change.proxy.ready()["token"]["good"] == false
    });
    change.chaos.plan("without CKF_USER_PIN_COUNT_LOW");
    let stage = || change.proxy.ready()["token"]["stage"].clone();
    until("the PIN is refused", || stage() == "pin-guarded");
    assert_eq!(change.tries(), 1);
    // Requests do not have it sent again.
    for _ in 0..20 {
        change.proxy.get("/cm/consents/1");
    }
    assert_eq!(change.tries(), 1);
    change.at_the_token();
    change.in_the_source();
    change.ready();
    assert_eq!(change.tries(), 2, "{}", change.proxy.log());
}

/// A fault that passes, while the file has a mistake: the login still holds, and nothing is given up for a PIN that is wrong.
#[test]
fn a_login_that_holds_is_kept_while_the_file_has_a_mistake() {
    let change = PinChange::of(Bank::new(), "p-256", "");
    change.write("new-0003");
    under_requests(&change.proxy.socket(), |more| {
        for code in ["CKR_TOKEN_NOT_PRESENT", "CKR_DEVICE_ERROR"] {
            change.chaos.plan(&format!("fail C_Sign 1 {code}"));
            more();
            change.chaos.plan("");
            more();
        }
    });
    change.ready();
    assert_eq!(change.tries(), 0, "{}", change.proxy.log());
    assert_eq!(change.chaos.calls("C_Finalize"), 0);
}

/// `pin check` proves the new PIN from a file of its own, which then takes the place of the one that the proxy reads.
#[test]
fn a_new_pin_is_proved_before_it_is_put_in_place() {
    let change = PinChange::of(Bank::new(), "p-256", "reload = \"watch\"");
    let next = change.bank.pin_file().with_file_name("next");
    let source = format!("file:{}", next.display());
    let check = |code| {
        let arguments = ["pin", "check", "--json", "--pin-source", &source];
        change.chaos.run(&change.bank, &arguments).expect(code)
    };
    under_requests(&change.proxy.socket(), |more| {
        write_file(&next, "new-0003", 0o600);
        change.at_the_token();
        let refused = check(4);
        assert!(refused.stderr.contains("CKR_PIN_INCORRECT"), "{refused:?}");
        assert_eq!(change.tries(), 1);
        let held_back = check(4);
        assert!(
            held_back.stderr.contains("no PIN was sent"),
            "{held_back:?}"
        );
        assert_eq!(change.tries(), 1);
        write_file(&next, NEW_PIN, 0o600);
        let accept = ["pin", "accept-count-low", "--once", "--pin-source", &source];
        change.chaos.run(&change.bank, &accept).expect(0);
        let accepted = check(0).json();
        assert_eq!(accepted["accepted"], true, "{accepted:#}");
        assert_eq!(accepted["pin_source"], *source.replace(':', " "));
        assert_eq!(change.tries(), 2);
        more();
        fs::rename(&next, change.bank.pin_file()).unwrap();
        change.reloaded(1.0, 0.0);
        more();
    });
    assert_eq!(change.tries(), 3);
}

/// A program shows no change by a date: it is asked again at the login after the loss.
#[test]
fn a_program_that_gives_the_pin_is_asked_again() {
    let mut bank = Bank::new();
    let file = bank.token.pin_file();
    bank.configure(|settings| {
        settings.pin = format!("{{ command = [\"/bin/cat\", \"{}\"] }}", file.display());
    });
    let change = PinChange::of(bank, "p-256", "");
    change.at_the_token();
    change.in_the_source();
    change.lost_and_back();
    change.ready();
    change.none_refused();
}

/// What is no PIN is not sent, and neither is the one of before: a file that is being written is read again when it is done.
#[test]
fn a_file_that_is_half_written_is_waited_for() {
    let change = PinChange::of(Bank::new(), "p-256", "");
    change.at_the_token();
    change.write("");
    change.lost_and_back();
    until("it says so", || {
        change.proxy.log().contains("no PIN from file")
    });
    assert_eq!(change.tries(), 0);
    change.in_the_source();
    change.ready();
    assert_eq!(change.tries(), 1);
}
