//! `user_name` of `[[token]]`: a login by C_LoginUser of PKCS#11 3.0, guarded as each other one, and never by C_Login.

use std::fs;

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;
use crate::common::hub::Hub;
use crate::common::nss_token::NssToken;
use crate::common::proxy::Proxy;

const NAMED: &str = "user-name lfi-signer\nwithout CKF_USER_PIN_COUNT_LOW";
const USER_NAME: &str = "user_name = \"lfi-signer\"";

fn certified(plan: &str) -> (Bank, Chaos, Hub) {
    let (mut bank, chaos, hub) = Chaos::certified(plan);
    bank.configure(|settings| settings.token_lines = USER_NAME.to_owned());
    (bank, chaos, hub)
}

/// What C_Login and C_LoginUser were called.
fn logins(chaos: &Chaos) -> (usize, usize) {
    (chaos.calls("C_Login"), chaos.calls("C_LoginUser"))
}

#[test]
fn a_named_user_signs() {
    for plan in [NAMED, &format!("{NAMED}\nversion-3 on-request")] {
        let (mut bank, chaos, _hub) = certified(plan);
        for command in [
            &["token", "check", "-n", "3"][..],
            &["csr"],
            &["verify"],
            &["key", "generate", "--type", "p-256", "--label", "another"],
        ] {
            chaos.run(&bank, command).expect(0);
        }
        chaos.forget_calls();
        chaos.run(&bank, &["csr"]).expect(0);
        assert_eq!(logins(&chaos), (0, 1), "{plan}");
        let ports = Proxy::configure(&mut bank, "", "");
        let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
        assert_eq!(proxy.get("/cm/consents/1").0, 200);
    }
}

#[test]
fn a_login_before_each_signature_names_the_user_too() {
    let (bank, chaos, _hub) = certified(&format!("{NAMED}\nalways-authenticate"));
    chaos.run(&bank, &["csr"]).expect(0);
    assert_eq!(logins(&chaos), (0, 2));
}

#[test]
fn a_module_without_version_3_is_sent_no_pin() {
    let (bank, chaos, _hub) = certified("");
    for command in [&["csr"][..], &["token", "check"], &["verify"]] {
        let run = chaos.run(&bank, command).expect(4);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(
            said.contains("no PIN was sent: the module has no C_LoginUser")
                && said.contains("remove `user_name` of [[token]]"),
            "{run:?}"
        );
    }
    assert_eq!(logins(&chaos), (0, 0));
    // In the list of functions, and not implemented.
    chaos.plan(&format!(
        "{NAMED}\nfail C_LoginUser all CKR_FUNCTION_NOT_SUPPORTED"
    ));
    for _ in 0..3 {
        let run = chaos.run(&bank, &["csr"]).expect(4);
        assert!(
            run.stderr.contains("does not log in a user by name"),
            "{run:?}"
        );
    }
}

fn records(bank: &Bank) -> Vec<String> {
    let files = fs::read_dir(bank.path("state")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let records = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    records
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// A refused PIN is sent once for a name, and its record is that name's.
#[test]
fn each_name_has_a_record_of_its_own() {
    let (mut bank, chaos, _hub) = certified(NAMED);
    bank.configure(|settings| {
        settings.token_lines = "user_name = \"somebody\"".to_owned();
        settings.sections = "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    for _ in 0..3 {
        chaos.run(&bank, &["csr"]).expect(4);
    }
    assert_eq!(logins(&chaos), (0, 1));
    bank.configure(|settings| settings.token_lines = USER_NAME.to_owned());
    chaos.run(&bank, &["csr"]).expect(0);
    bank.configure(|settings| settings.token_lines = "user_name = \"somebody\"".to_owned());
    chaos.forget_calls();
    chaos.run(&bank, &["csr"]).expect(4);
    assert_eq!(logins(&chaos), (0, 0));
    let records = records(&bank);
    for name in ["lfi-signer", "somebody"] {
        let named = format!("\"user_name\": \"{name}\"");
        assert_eq!(
            records.iter().filter(|text| text.contains(&named)).count(),
            1,
            "{records:?}"
        );
    }
    let ledger = fs::read_to_string(bank.path("ledger.jsonl")).unwrap();
    assert!(
        ledger.contains("\"role\":\"user\",\"user_name\":\"somebody\""),
        "{ledger}"
    );
    chaos.run(&bank, &["ledger", "verify"]).expect(0);
}

/// The configured PIN is the configured user's: for another name it is not tried.
#[test]
fn another_name_on_the_command_line_takes_another_pin() {
    let (bank, chaos, _hub) = certified(NAMED);
    let generate = ["key", "generate", "--type", "p-256", "--label", "new"];
    let another = [&generate[..], &["--user-name", "key-maker"]].concat();
    let run = chaos.run(&bank, &another).expect(2);
    assert!(run.stderr.contains("pass --pin-source"), "{run:?}");
    assert_eq!(logins(&chaos), (0, 0));
    let source = format!("file:{}", bank.token.pin_file().display());
    chaos.plan(&NAMED.replace("lfi-signer", "key-maker"));
    chaos
        .run(&bank, &[&another[..], &["--pin-source", &source]].concat())
        .expect(0);
    assert_eq!(logins(&chaos), (0, 1));
}

/// NSS softokn has the interface of version 3.0, and no users with names.
#[test]
fn a_real_module_of_version_3_is_asked_by_c_login_user() {
    let mut bank = Bank::new();
    let token = NssToken::new();
    token.configure(&mut bank);
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    bank.configure(|settings| {
        settings.token_lines.push('\n');
        settings.token_lines.push_str(USER_NAME);
    });
    let run = bank.run(&["csr"]).expect(4);
    assert!(
        run.stderr
            .contains("does not log in a user by name: C_LoginUser returned CKR_")
            && run.stderr.contains("remove `user_name` of [[token]]"),
        "{run:?}"
    );
    bank.configure(|settings| {
        settings.token_lines = settings.token_lines.replace(USER_NAME, "");
    });
    bank.run(&["csr"]).expect(0);
}
