//! `key generate` on tokens that refuse attributes of a template: what they take is found, the key is as restricted as it can
//! be, and no other key is left behind.

use std::time::{Duration, Instant};

use crate::common::bank::{Bank, Run};
use crate::common::chaos::Chaos;
use serde_json::Value;

fn bank(plan: &str) -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses/ledger.jsonl\"\n".to_owned();
    });
    let chaos = Chaos::between(&mut bank, plan);
    (bank, chaos)
}

fn generate(bank: &Bank, chaos: &Chaos) -> Run {
    chaos.run(bank, &["--json", "key", "generate", "--type", "p-256"])
}

/// The keys that the token really has, without the plan.
fn keys(bank: &Bank, chaos: &Chaos) -> Vec<Value> {
    chaos.plan("");
    let list = chaos.run(bank, &["key", "list", "--json"]).expect(0).json();
    list["keys"].as_array().unwrap().clone()
}

/// The one key that is there has these CKA_ values, and the rest is as it should be.
fn only_key_has(bank: &Bank, chaos: &Chaos, wanted: &[(&str, bool)]) {
    let keys = keys(bank, chaos);
    assert_eq!(keys.len(), 1, "{keys:#?}");
    let attributes = &keys[0]["attributes"];
    for (name, value) in [
        ("private", true),
        ("sensitive", true),
        ("extractable", false),
        ("sign", true),
        ("decrypt", false),
        ("unwrap", false),
        ("derive", false),
    ] {
        assert_eq!(attributes[name], value, "{name}: {keys:#?}");
    }
    for (name, value) in wanted {
        assert_eq!(attributes[*name], *value, "{name}: {keys:#?}");
    }
    let uri = keys[0]["uri"].as_str().unwrap();
    assert!(uri.contains("object=c3;"), "{uri}");
}

#[test]
fn refused_attributes_are_found_singly() {
    for (refused, not_restricted, wanted) in [
        // openCryptoki
        (
            "refuse-attribute private CKA_COPYABLE CKR_ATTRIBUTE_TYPE_INVALID",
            &["CKA_COPYABLE"][..],
            &[("modifiable", false), ("copyable", true)][..],
        ),
        // TPM 2.0: what the private key lacks is set afterwards, so it is made modifiable.
        (
            "refuse-attribute private CKA_DECRYPT CKR_GENERAL_ERROR\n\
             refuse-attribute public CKA_ENCRYPT CKR_GENERAL_ERROR",
            &["CKA_MODIFIABLE"],
            &[("modifiable", true), ("copyable", false)],
        ),
        // AWS CloudHSM: public keys are private objects.
        (
            "refuse-attribute public CKA_PRIVATE CKR_TEMPLATE_INCONSISTENT\n\
             refuse-attribute private CKA_SIGN_RECOVER CKR_TEMPLATE_INCONSISTENT",
            &[],
            &[("modifiable", false), ("copyable", false)],
        ),
    ] {
        for session_keys in ["", "no-session-keys CKR_FUNCTION_FAILED"] {
            let (bank, chaos) = bank(&format!("{refused}\n{session_keys}"));
            let made = generate(&bank, &chaos).expect(0).json();
            let named = made["not_restricted"].as_array().unwrap();
            for name in not_restricted {
                assert!(
                    named.iter().any(|known| known == name),
                    "{refused}: {made:#}"
                );
            }
            only_key_has(&bank, &chaos, wanted);
            bank.run(&["ledger", "verify"]).expect(0);
        }
    }
}

/// Each form in which some family wants the required attributes.
#[test]
fn what_a_token_requires_is_found() {
    for (plan, id_bytes) in [
        (
            "require-attribute public CKA_CLASS CKR_TEMPLATE_INCOMPLETE\n\
             require-attribute private CKA_KEY_TYPE CKR_TEMPLATE_INCOMPLETE",
            16,
        ),
        // CryptoAuthLib
        (
            "require-attribute private CKA_CLASS CKR_TEMPLATE_INCOMPLETE\n\
             require-attribute private CKA_LABEL CKR_TEMPLATE_INCOMPLETE\n\
             require-attribute private CKA_EC_PARAMS CKR_TEMPLATE_INCOMPLETE",
            16,
        ),
        // AWS CloudHSM, Luna Cloud HSM
        (
            "require-attribute public CKA_PRIVATE CKR_TEMPLATE_INCONSISTENT\n\
             refuse-value public CKA_PRIVATE false CKR_TEMPLATE_INCONSISTENT",
            16,
        ),
        // YubiHSM 2, which takes no curve in the private template
        (
            "require-length private CKA_ID 2 CKR_ATTRIBUTE_VALUE_INVALID\n\
             refuse-attribute private CKA_EC_PARAMS CKR_ATTRIBUTE_TYPE_INVALID",
            2,
        ),
        // NetHSM: a CKA_ID takes the label's place.
        ("label-is-id", 2),
        // The token's defaults, which are checked.
        (
            "refuse-attribute public CKA_VERIFY CKR_TEMPLATE_INCONSISTENT\n\
             refuse-attribute private CKA_SIGN CKR_TEMPLATE_INCONSISTENT",
            16,
        ),
    ] {
        let (bank, chaos) = bank(plan);
        let made = generate(&bank, &chaos).expect(0).json();
        let uri = made["key"]["uri"].as_str().unwrap();
        let id = uri.split("id=").nth(1).unwrap().split(';').next().unwrap();
        let escaped = id.matches('%').count();
        assert_eq!(id.len() - 2 * escaped, id_bytes, "{plan}: {uri}");
        only_key_has(&bank, &chaos, &[]);
        bank.run(&["ledger", "verify"]).expect(0);
    }
}

/// A fault of the moment, and a token that wants more in each template, take nothing from the key.
#[test]
fn nothing_is_given_up_without_a_reason() {
    for plan in [
        "fail C_GenerateKeyPair 1 CKR_GENERAL_ERROR",
        "fail C_GenerateKeyPair 1..2 CKR_TEMPLATE_INCOMPLETE",
        "fail C_GenerateKeyPair 1..4 CKR_TEMPLATE_INCONSISTENT",
    ] {
        let (bank, chaos) = bank(plan);
        let made = generate(&bank, &chaos).expect(0).json();
        assert_eq!(
            made["not_restricted"].as_array().unwrap().len(),
            0,
            "{plan}: {made:#}"
        );
        only_key_has(&bank, &chaos, &[("modifiable", false), ("copyable", false)]);
    }
}

#[test]
fn a_device_that_is_away_is_not_asked_for_other_templates() {
    let (bank, chaos) =
        bank("fail C_GenerateKeyPair all 0x80000020\nfail C_GenerateRandom all 0x80000020");
    generate(&bank, &chaos).expect(3);
    assert_eq!(chaos.calls("C_GenerateKeyPair"), 1);
}

#[test]
fn an_extractable_key_is_never_kept() {
    for plan in [
        "claim CKA_EXTRACTABLE true",
        "claim CKA_SENSITIVE false",
        // Not told: the zero of an untouched buffer is no answer.
        "silent CKA_EXTRACTABLE",
        "claim CKA_SIGN false",
    ] {
        let (bank, chaos) = bank(plan);
        let refused = generate(&bank, &chaos).expect(3);
        assert!(
            refused.stderr.contains("but reports it with CKA_"),
            "{plan}: {refused:?}"
        );
        assert!(keys(&bank, &chaos).is_empty(), "{plan}");
    }
}

#[test]
fn a_key_that_says_that_it_decrypts_is_kept_where_that_is_accepted_only() {
    let (bank, chaos) = bank("claim CKA_DECRYPT true");
    let refused = generate(&bank, &chaos).expect(3);
    assert!(refused.stderr.contains("--accept-claims"), "{refused:?}");
    assert!(keys(&bank, &chaos).is_empty());
    chaos.plan("claim CKA_DECRYPT true");
    let arguments = [
        "--json",
        "key",
        "generate",
        "--type",
        "p-256",
        "--accept-claims",
    ];
    let made = chaos.run(&bank, &arguments).expect(0).json();
    assert_eq!(made["not_restricted"][0], "CKA_DECRYPT", "{made:#}");
}

#[test]
fn a_key_that_cannot_be_destroyed_is_named() {
    let (bank, chaos) =
        bank("claim CKA_EXTRACTABLE true\nfail C_DestroyObject all CKR_ACTION_PROHIBITED");
    let refused = generate(&bank, &chaos).expect(3);
    assert!(
        refused.stderr.contains("still on the token: pkcs11:")
            && refused.stderr.contains("object=c3"),
        "{refused:?}"
    );
    // A key that only showed what the token takes is another's name.
    let (bank, chaos) = self::bank(
        "refuse-attribute private CKA_COPYABLE CKR_GENERAL_ERROR\nno-session-keys CKR_GENERAL_ERROR\n\
         fail C_DestroyObject all CKR_ACTION_PROHIBITED",
    );
    let refused = generate(&bank, &chaos).expect(3);
    assert!(
        refused.stderr.contains("object=hsm-mtls%20probe"),
        "{refused:?}"
    );
    let left = keys(&bank, &chaos);
    assert_eq!(left.len(), 1, "the first that stayed ended it: {left:#?}");
    assert!(
        !left[0]["uri"].as_str().unwrap().contains("object=c3"),
        "{left:#?}"
    );
}

#[test]
fn a_session_that_is_lost_leaves_no_key_behind() {
    let (bank, chaos) =
        bank("claim CKA_EXTRACTABLE true\nfail C_DestroyObject 1..2 CKR_SESSION_HANDLE_INVALID");
    generate(&bank, &chaos).expect(3);
    assert!(keys(&bank, &chaos).is_empty());
}

#[test]
fn a_generation_that_hangs_has_an_end() {
    let (mut bank, chaos) = bank("hang C_GenerateKeyPair 1..");
    bank.configure(|settings| settings.token_lines = "start_timeout = \"500ms\"".to_owned());
    let started = Instant::now();
    let ended = generate(&bank, &chaos).expect(3);
    assert!(
        ended.stderr.contains("the generation of the key pair"),
        "{ended:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}
