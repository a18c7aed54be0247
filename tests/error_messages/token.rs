//! Obstacles on the way to a token, its login and a key: the message for each.

use std::fs;

use crate::common::bank::{Bank, Run, config_of_child};
use crate::common::chaos::Chaos;
use crate::common::error_report;
use crate::common::softhsm::{MODULE, PIN};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use der::Encode as _;
use der::asn1::ObjectIdentifier;
use insta::assert_snapshot;

const CHECK: [&str; 5] = ["token", "check", "--json", "-n", "1"];

fn check(bank: &Bank) -> String {
    error_report::of(bank, &bank.run(&CHECK))
}

fn with_key() -> Bank {
    let bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    bank
}

/// A key from outside, which may have a label that is taken.
fn import(bank: &Bank, id: &str) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let pem = bank.write("outside.pem", &key.serialize_pem());
    bank.token.import(&pem, "c3", id);
}

/// The steps up to the login, and whether the signature at the end is good.
fn up_to_login(bank: &Bank, run: &Run) -> String {
    let all = error_report::steps(bank, run);
    let mut lines = all.lines();
    let signed = lines.any(|line| line.starts_with("good signatures: 1 verified"));
    assert!(signed, "{all}");
    let login = all.lines().find(|line| line.contains(" login: "));
    login.unwrap_or_default().to_owned()
}

#[test]
fn no_such_token() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.token_uri = "pkcs11:token=lfi-preprod".to_owned());
    assert_snapshot!(check(&bank), @r#"
    exit 3
    step token
    no token matches pkcs11:token=lfi-preprod; there is: pkcs11:token=lfi;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=<serial>
    hint: correct `uri` of [[token]]; `hsm-mtls token list` shows what is there
    "#);
}

#[test]
fn no_initialised_token() {
    let bank = Bank::new();
    fs::remove_dir_all(bank.token.tokens()).unwrap();
    fs::create_dir(bank.token.tokens()).unwrap();
    assert_snapshot!(check(&bank), @r#"
    exit 3
    step token
    the module shows no initialised token
    hint: check `env` of [[token]] and the vendor's client: without its configuration a module shows nothing. Only where there is no token yet: initialise one with the vendor's tool
    "#);
}

#[test]
fn two_tokens_match() {
    let bank = Bank::new();
    bank.token.initialize("lfi");
    assert_snapshot!(check(&bank), @r#"
    exit 3
    step token
    2 tokens match pkcs11:token=lfi: pkcs11:token=lfi;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=<serial>, pkcs11:token=lfi;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=<serial 2>
    hint: add `serial=` to `uri` of [[token]] so that it names exactly one
    "#);
}

#[test]
fn two_keys_match() {
    let bank = with_key();
    import(&bank, "02");
    assert_snapshot!(check(&bank), @r#"
    exit 2
    step key
    2 private keys match pkcs11:object=c3;type=private: pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private, pkcs11:token=lfi;serial=<serial>;object=c3;id=<id 2>;type=private
    hint: add `id=` to `key` of [c3] so that it names exactly one
    "#);
}

#[test]
fn the_key_is_missing() {
    let mut bank = with_key();
    bank.configure(|settings| settings.key = "pkcs11:object=c3-2026;type=private".to_owned());
    assert_snapshot!(check(&bank), @r#"
    exit 2
    step key
    no private key matches pkcs11:object=c3-2026;type=private; there is: pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private
    hint: correct `key` of [c3]; `hsm-mtls key list` shows what is there
    "#);
}

#[test]
fn there_is_no_key_yet() {
    assert_snapshot!(check(&Bank::new()), @r#"
    exit 2
    step key
    no private key matches pkcs11:object=c3;type=private; the token shows none
    hint: check that `uri` of [[token]] names the right token; on a new one, make a key with `hsm-mtls key generate`
    "#);
}

#[test]
fn the_label_of_a_new_key_is_taken() {
    let bank = with_key();
    let run = bank.run(&["key", "generate", "--json"]);
    assert_snapshot!(error_report::of(&bank, &run), @r#"
    exit 2
    the token holds an object with the label "c3" already: pkcs11:token=lfi;serial=<serial>;object=c3;id=<id>;type=private
    hint: choose another --label: two keys of one label cannot be told apart later; nothing was made
    "#);
}

/// A key that nobody has to log in for is used without a login.
#[test]
fn without_a_login() {
    if config_of_child().is_some() {
        return make_public_private_key();
    }
    let mut bank = Bank::new();
    bank.run_test(without_a_login, &[]);
    bank.configure(|settings| {
        settings.token_lines = "login = \"never\"".to_owned();
        // No source is asked where nobody logs in.
        settings.pin = "{ env = \"NOT_SET\" }".to_owned();
    });
    let run = bank.run(&CHECK).expect(0);
    assert_snapshot!(up_to_login(&bank, &run), @r#"
    note login: not logged in: `login = "never"`
    "#);
    bank.configure(|settings| settings.token_lines.clear());
    let chaos = Chaos::between(&mut bank, "without CKF_LOGIN_REQUIRED");
    let run = chaos.run(&bank, &CHECK).expect(0);
    assert_snapshot!(up_to_login(&bank, &run), @"good login: the token wants none");
    assert_eq!(chaos.calls("C_Login"), 0);
}

#[expect(clippy::disallowed_methods, reason = "the product makes no such key")]
fn make_public_private_key() {
    let pkcs11 = Pkcs11::new(MODULE).unwrap();
    let locking = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    pkcs11.initialize(locking).unwrap();
    let slot = pkcs11.get_slots_with_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    let pin = AuthPin::from(PIN.to_owned());
    session.login(UserType::User, Some(&pin)).unwrap();
    let p256 = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    let names = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(b"c3".to_vec()),
        Attribute::Id(vec![1]),
    ];
    let public = [&names[..], &[Attribute::EcParams(p256.to_der().unwrap())]].concat();
    let private = [&names[..], &[Attribute::Sign(true)]].concat();
    session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .unwrap();
}

#[test]
fn a_private_key_without_a_login() {
    let mut bank = with_key();
    bank.configure(|settings| settings.token_lines = "login = \"never\"".to_owned());
    assert_snapshot!(check(&bank), @r#"
    exit 2
    step key
    no private key matches pkcs11:object=c3;type=private; the token shows none without a login
    hint: a token shows its private keys after a login only: write `login = "always"` into [[token]]
    "#);
}

#[test]
fn a_key_that_wants_a_login_for_each_signature() {
    let mut bank = with_key();
    let chaos = Chaos::between(&mut bank, "always-authenticate");
    let run = chaos.run(&bank, &CHECK).expect(0);
    assert_snapshot!(up_to_login(&bank, &run), @r#"
    good login: PIN from file <token>/pin
    "#);
    assert_eq!(chaos.calls("C_Login"), 1 + 1);
}

#[test]
fn nobody_is_at_the_keypad() {
    let mut bank = with_key();
    bank.configure(|settings| settings.pin = "\"protected-path\"".to_owned());
    let chaos = Chaos::between(&mut bank, "flag CKF_PROTECTED_AUTHENTICATION_PATH");
    let run = chaos.run(&bank, &CHECK);
    assert_snapshot!(error_report::of(&bank, &run), @r#"
    exit 4
    step login
    the PIN comes from the token's protected authentication path, and nobody is at a terminal
    hint: run this at a terminal, or give [[token]] a `pin` that needs no person: file, credential or command
    "#);
    assert_eq!(chaos.calls("C_Login"), 0, "it would wait for ever");
}

#[test]
fn the_token_has_no_keypad() {
    let mut bank = with_key();
    bank.configure(|settings| settings.pin = "\"protected-path\"".to_owned());
    assert_snapshot!(check(&bank), @r#"
    exit 4
    step login
    no PIN from the token's protected authentication path: the token has none: CKF_PROTECTED_AUTHENTICATION_PATH is not set
    hint: give [[token]] another `pin`: file, credential, command or prompt
    "#);
}

#[test]
fn nobody_is_at_the_terminal() {
    let mut bank = with_key();
    bank.configure(|settings| settings.pin = "\"prompt\"".to_owned());
    assert_snapshot!(check(&bank), @r#"
    exit 4
    step login
    the PIN comes from the prompt, and nobody is at a terminal
    hint: run this at a terminal, or give [[token]] a `pin` that needs no person: file, credential or command
    "#);
}

/// Some vendors' PINs are `user:password`: nothing of it is taken apart.
#[test]
fn a_pin_with_a_colon() {
    assert!(PIN.contains(':'));
    let bank = with_key();
    let run = bank.run(&CHECK).expect(0);
    assert_snapshot!(up_to_login(&bank, &run), @r#"
    good login: PIN from file <token>/pin
    "#);
}

#[test]
fn a_pin_that_is_refused() {
    let mut bank = with_key();
    let wrong = bank.path("wrong");
    crate::common::trust_framework::write_file(&wrong, "not the PIN", 0o600);
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", wrong.display()));
    assert_snapshot!(check(&bank), @r#"
    exit 4
    step login
    the token refused the PIN: C_Login returned CKR_PIN_INCORRECT
    hint: do not try again before the PIN source is corrected: a few wrong tries lock the token for everyone
    "#);
    // The token warns from now on.
    assert_snapshot!(check(&bank), @r#"
    exit 4
    step login
    no PIN was sent: the token says CKF_USER_PIN_COUNT_LOW (a wrong PIN was tried lately, and nobody said that it may be tried again)
    hint: check the PIN source, then run `hsm-mtls token check` at a terminal and answer yes: a right PIN resets the counter. Where there is no terminal, `hsm-mtls pin accept-count-low --once` by the same user allows one try within the hour (the guard's folder is <bank>/state)
    "#);
}

#[test]
fn a_pin_file_that_is_missing() {
    let mut bank = with_key();
    bank.configure(|settings| settings.pin = "{ file = \"hsm-pin\" }".to_owned());
    assert_snapshot!(check(&bank), @r#"
    exit 4
    step login
    no PIN from file <bank>/hsm-pin: No such file or directory (os error 2)
    hint: as the user that runs this, type `install -m 600 /dev/stdin <bank>/hsm-pin`, the PIN, Enter and Ctrl-D
    "#);
    bank.configure(|settings| settings.pin = "{ file = \"secrets/hsm-pin\" }".to_owned());
    assert_snapshot!(check(&bank), @r#"
    exit 4
    step login
    no PIN from file <bank>/secrets/hsm-pin: the folder <bank>/secrets is not there
    hint: as the user that runs this, type `install -m 600 /dev/stdin <bank>/secrets/hsm-pin`, the PIN, Enter and Ctrl-D; or correct `pin` of [[token]]: <bank>/secrets/hsm-pin is not there
    "#);
}
