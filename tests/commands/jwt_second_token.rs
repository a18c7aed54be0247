//! Sig4 in a token of its own, with its certificate there too: each command finds the key in the right one.

use crate::common::bank::Bank;
use crate::common::published_keys::{AUDIENCE, jwk, key_set, kid};

/// The label of the second token.
const SECOND: &str = "signing";

/// A bank with C3 in one token, and Sig4 with its certificate in another.
fn bank_with_two_tokens() -> Bank {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    bank.token.initialize(SECOND);
    let first = format!("pkcs11:token={}", bank.token.label());
    bank.configure(|settings| {
        settings.token_uri = format!("pkcs11:token={SECOND}");
        settings.key = "pkcs11:object=sig4;type=private".to_owned();
        settings.certificate = "pkcs11:object=sig4".to_owned();
    });
    bank.certify("rsa-2048");
    let (module, conf) = (bank.module().to_owned(), bank.token.conf());
    bank.configure(|settings| {
        settings.token_uri = first;
        settings.key = "pkcs11:object=c3;type=private".to_owned();
        settings.certificate = "c3.pem".to_owned();
        settings.sections = format!(
            "[ledger]\nfile = \"ledger.jsonl\"\nfsync = \"interval\"\n\n[sig4]\nkey = \"pkcs11:object=sig4;type=private\"\n\
             certificate = \"pkcs11:object=sig4\"\naudience = \"{AUDIENCE}\"\ntoken = \"{SECOND}\"\n\n\
             [[token]]\nname = \"{SECOND}\"\nmodule = \"{}\"\nuri = \"pkcs11:token={SECOND}\"\npin = {}\n\
             state_dir = \"state\"\n[token.env]\nSOFTHSM2_CONF = \"{}\"\n",
            module.display(),
            settings.pin,
            conf.display(),
        );
    });
    bank
}

#[test]
fn each_command_uses_the_token_of_its_key() {
    let bank = bank_with_two_tokens();
    let leaf = std::fs::read_to_string(bank.path("issued.pem")).unwrap();
    let set = bank.write("set.jwks", &key_set(&[&jwk(&bank, &leaf)]));
    let set = set.to_str().unwrap();
    let report = bank.run(&["jwks", "check", "--json", "--file", set]);
    assert_eq!(report.expect(0).json()["kid"], kid(&leaf));
    let claims = bank.write("claims.json", r#"{"scope":"accounts"}"#);
    let further = ["--claims", claims.to_str().unwrap()];
    // By the signer process, and, with further claims, by a process of the command.
    for arguments in [&[][..], &further] {
        let token = bank.run(&[&["jwt", "mint"], arguments].concat()).expect(0);
        let file = bank.write("token", &token.stdout);
        let arguments = ["jwt", "verify", file.to_str().unwrap(), "--jwks", set];
        bank.run(&arguments).expect(0);
    }
    let records = bank.run(&["ledger", "show", "--purpose", "jwt", "--json"]);
    let records = records.expect(0).stdout;
    assert!(records.lines().count() >= 2, "{records}");
}
