//! `identity` of `[[token]]`: a token with another serial number is another token, unless the configuration says that the
//! serial number may vary, and a wrong PIN is sent once in any case.

use std::fs;

use crate::common::bank::{Bank, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::poll::until;
use crate::common::trust_framework::write_file;
use crate::common::wrong_pin::{right, with_wrong_pin};
use hsm_mtls::internal::engine::{Purpose, challenge};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

const LABEL: &str = "identity = \"label\"";

fn certified(plan: &str, lines: &str) -> (Bank, Chaos, Hub) {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, plan);
    bank.configure(|settings| {
        settings.token_lines = lines.to_owned();
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    (bank, chaos, hub)
}

#[test]
fn a_token_that_comes_back_with_another_serial_is_another_one() {
    let Some(config) = config_of_child() else {
        let (bank, chaos, _hub) = certified("serial 4711", "");
        return chaos.run_test(
            &bank,
            a_token_that_comes_back_with_another_serial_is_another_one,
            &[],
        );
    };
    let chaos = Chaos::of_child();
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    let sign = || challenge(identity.signer().as_ref(), Purpose::SelfTest);
    chaos.plan("vanished");
    sign().unwrap_err();
    chaos.forget_calls();
    chaos.plan("serial 4712");
    until("it is refused", || {
        let error = sign().unwrap_err().to_string();
        error.contains("the token that is there now is another one")
            && error.contains("serial=4711")
            && error.contains("serial=4712")
    });
    assert_eq!(chaos.calls("C_Login"), 0, "no PIN for another token");
    chaos.plan("serial 4711");
    until("the token itself is taken", || sign().is_ok());
}

#[test]
fn the_serial_may_vary_where_the_label_is_the_identity() {
    let Some(config) = config_of_child() else {
        let (bank, chaos, _hub) = certified("serial 4711\nalways-authenticate", LABEL);
        chaos.run_test(
            &bank,
            the_serial_may_vary_where_the_label_is_the_identity,
            &[],
        );
        // What is on record names the key as before, whoever answered.
        let ledger = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
        assert!(
            ledger.contains("token=lfi") && !ledger.contains("serial"),
            "{ledger}"
        );
        chaos.run(&bank, &["ledger", "verify"]).expect(0);
        return;
    };
    let chaos = Chaos::of_child();
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    let sign = || challenge(identity.signer().as_ref(), Purpose::SelfTest);
    for serial in ["4712", "unknown"] {
        chaos.plan("vanished");
        sign().unwrap_err();
        chaos.plan(&format!("serial {serial}\nalways-authenticate"));
        until("it is taken", || sign().is_ok());
    }
    // From one call to the next, too.
    chaos.plan("serial 4713\nalways-authenticate");
    sign().unwrap();
}

#[test]
fn the_label_may_vary_where_the_serial_is_the_identity() {
    let (mut bank, chaos, _hub) = certified("serial 4711", "identity = \"serial\"");
    bank.configure(|settings| settings.token_uri = "pkcs11:serial=4711".to_owned());
    chaos.run(&bank, &["csr"]).expect(0);
    chaos.plan("serial 4711\nlabel renamed");
    let list = chaos.run(&bank, &["key", "list"]).expect(0);
    assert!(!list.stdout.contains("renamed"), "{list:?}");
    chaos.run(&bank, &["verify"]).expect(0);
}

/// NetHSM's serial is that of whichever instance answered.
#[test]
fn another_serial_gives_a_wrong_pin_no_other_try() {
    let flags = "without CKF_USER_PIN_COUNT_LOW\n";
    let (mut bank, chaos, _hub, pin) = with_wrong_pin(&format!("{flags}serial 4711"));
    bank.configure(|settings| settings.token_lines = LABEL.to_owned());
    for serial in ["4711", "4712", "unknown", "0000000000000000"] {
        chaos.plan(&format!("{flags}serial {serial}"));
        for _ in 0..2 {
            chaos.run(&bank, &["csr"]).expect(4);
        }
    }
    assert_eq!(chaos.calls("C_Login"), 1);
    write_file(&pin, &right(&bank), 0o600);
    chaos.run(&bank, &["csr"]).expect(0);
}

/// What was refused before stays refused when the configuration changes.
#[test]
fn another_identity_gives_a_wrong_pin_no_other_try() {
    let (mut bank, chaos, _hub, _pin) =
        with_wrong_pin("without CKF_USER_PIN_COUNT_LOW\nserial 4711");
    chaos.run(&bank, &["csr"]).expect(4);
    bank.configure(|settings| settings.token_lines = LABEL.to_owned());
    for _ in 0..2 {
        let run = chaos.run(&bank, &["csr"]).expect(4);
        assert!(run.stderr.contains("no PIN was sent"), "{run:?}");
    }
    assert_eq!(chaos.calls("C_Login"), 1);
}
