//! `pin = "none"` for tokens that take no PIN, and `pin = "empty"` for those that take an empty one: what is sent is counted
//! at the module. Simulated from the documents of Google's and Azure's modules.

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::{Hub, HubOptions};
use crate::common::proxy::Proxy;
use crate::common::trust_framework::write_file;

fn certified(pin: &str) -> (Bank, Chaos, Hub) {
    let mut bank = Bank::new();
    let hub = Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]));
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let chaos = Chaos::between(&mut bank, "");
    bank.configure(|settings| settings.pin = format!("\"{pin}\""));
    (bank, chaos, hub)
}

const COMMANDS: [&[&str]; 5] = [
    &["token", "check", "-n", "3"],
    &["key", "list"],
    &["csr"],
    &["verify"],
    &["key", "generate", "--type", "p-256", "--label", "another"],
];

/// A plan in which the module has the token's own PIN.
fn with_pin_of(bank: &Bank, verb: &str) -> String {
    format!("{verb} {}\n", bank.token.pin_file().display())
}

#[test]
fn a_token_that_takes_no_pin_is_not_logged_in_to() {
    let (mut bank, chaos, _hub) = certified("none");
    let own = with_pin_of(&bank, "authenticates");
    chaos.plan(&format!("{own}without CKF_LOGIN_REQUIRED"));
    for command in COMMANDS {
        chaos.run(&bank, command).expect(0);
    }
    // The flag is wrong: by hand.
    chaos.plan(&own);
    bank.configure(|settings| settings.token_lines = "login = \"never\"".to_owned());
    chaos.run(&bank, &["verify"]).expect(0);
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
    assert_eq!(chaos.calls("C_Login"), 0);
}

#[test]
fn a_login_that_is_required_all_the_same_is_an_error() {
    let (bank, chaos, _hub) = certified("none");
    for plan in [
        String::new(),
        // Of the key, before each signature.
        with_pin_of(&bank, "authenticates") + "without CKF_LOGIN_REQUIRED\nalways-authenticate",
    ] {
        chaos.plan(&plan);
        let run = chaos.run(&bank, &["csr"]).expect(4);
        assert!(
            run.stderr
                .contains("a login is required, and `pin = \"none\"`")
                && run.stderr.contains("\"empty\""),
            "{run:?}"
        );
        chaos.run(&bank, &["verify"]).expect(4);
    }
    chaos
        .run(&bank, &["pin", "accept-count-low", "--once"])
        .expect(4);
    assert_eq!(chaos.calls("C_Login"), 0);
}

#[test]
fn an_empty_pin_is_sent_as_one() {
    let (mut bank, chaos, _hub) = certified("empty");
    chaos.plan(&with_pin_of(&bank, "empty-pin"));
    for command in COMMANDS {
        chaos.run(&bank, command).expect(0);
    }
    let ports = Proxy::configure(&mut bank, "", "");
    let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
    assert_eq!(proxy.get("/cm/consents/1").0, 200);
}

/// It is a PIN as any other: a token that does not take it is sent it once.
#[test]
fn an_empty_pin_that_is_refused_is_sent_once() {
    let (bank, chaos, _hub) = certified("empty");
    chaos.plan("without CKF_USER_PIN_COUNT_LOW\nfail C_Login all CKR_PIN_INCORRECT");
    for _ in 0..3 {
        chaos.run(&bank, &["csr"]).expect(4);
    }
    assert_eq!(chaos.calls("C_Login"), 1);
}

/// A file without a PIN stays a mistake.
#[test]
fn an_empty_file_is_no_empty_pin() {
    let (mut bank, chaos, _hub) = certified("empty");
    let file = bank.path("empty");
    write_file(&file, "", 0o600);
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", file.display()));
    chaos.run(&bank, &["csr"]).expect(4);
    assert_eq!(chaos.calls("C_Login"), 0);
}
