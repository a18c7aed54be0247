//! `user` of `[[token]]`: a vendor's role that signs, as the Crypto User of a Luna HSM, with attempts of its own on record.

use std::fs;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::Hub;
use crate::common::proxy::Proxy;

const CRYPTO_USER: &str = "user-type 0x80000001\nwithout CKF_USER_PIN_COUNT_LOW";

fn certified() -> (Bank, Chaos, Hub) {
    let (mut bank, chaos, hub) = Chaos::certified(CRYPTO_USER);
    bank.configure(|settings| settings.token_lines = "user = 0x80000001".to_owned());
    (bank, chaos, hub)
}

#[test]
fn a_role_of_the_vendor_signs() {
    let (mut bank, chaos, _hub) = certified();
    for command in [
        &["token", "check", "-n", "3"][..],
        &["key", "list"],
        &["csr"],
        &["verify"],
        &["key", "generate", "--type", "p-256", "--label", "another"],
        &["audit"],
    ] {
        let run = chaos.run(&bank, command);
        assert!(matches!(run.code, 0 | 1), "{command:?}: {run:?}");
    }
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
}

#[test]
fn another_role_is_said_to_be_none_of_the_token() {
    let (mut bank, chaos, _hub) = certified();
    bank.configure(|settings| settings.token_lines = String::new());
    let run = chaos.run(&bank, &["csr"]).expect(3);
    assert!(
        run.stderr.contains("CKR_USER_TYPE_INVALID") && run.stderr.contains("`user` of [[token]]"),
        "{run:?}"
    );
}

/// A refused PIN is on record for its role, and sent once.
#[test]
fn its_refused_pin_is_sent_once() {
    let (bank, chaos, _hub) = certified();
    let right = fs::read_to_string(bank.token.pin_file()).unwrap();
    fs::write(bank.token.pin_file(), "wrong").unwrap();
    chaos.run(&bank, &["csr"]).expect(4);
    chaos.forget_calls();
    let run = chaos.run(&bank, &["csr"]).expect(4);
    assert_eq!(chaos.calls("C_Login"), 0, "{run:?}");
    let records = fs::read_dir(bank.path("state"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let written: Vec<String> = records
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    assert!(
        written
            .iter()
            .any(|text| text.contains("\"role\":\"0x80000001\"")
                || text.contains("\"role\": \"0x80000001\"")),
        "{written:?}"
    );
    fs::write(bank.token.pin_file(), right).unwrap();
    chaos.run(&bank, &["csr"]).expect(0);
}
