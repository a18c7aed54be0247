//! `key generate` by family: mechanisms of their own, tools of their own, claims that are known to be wrong, and keys that a
//! cluster shows late. Simulated from the vendors' documents.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::common::bank::{Bank, Run};
use crate::common::chaos::Chaos;
use crate::common::softhsm::PIN;
use serde_json::Value;

fn bank(token_lines: &str, plan: &str) -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses/ledger.jsonl\"\n".to_owned();
        settings.token_lines = token_lines.to_owned();
    });
    let chaos = Chaos::between(&mut bank, plan);
    (bank, chaos)
}

fn generate(bank: &Bank, chaos: &Chaos, further: &[&str]) -> Run {
    chaos.run(bank, &[&["--json", "key", "generate"], further].concat())
}

/// A source of the PIN that the plan's security officer has.
fn administrators_pin(bank: &Bank) -> String {
    let path = bank.write("administrator", PIN);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    format!("file:{}", path.display())
}

/// The ledger's records of a kind.
fn records(bank: &Bank, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(bank.path("uses/ledger.jsonl")).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["kind"] == kind).collect()
}

/// The keys that the token really has, without the plan.
fn keys(bank: &Bank, chaos: &Chaos) -> Vec<Value> {
    chaos.plan("");
    let list = chaos.run(bank, &["key", "list", "--json"]).expect(0).json();
    list["keys"].as_array().unwrap().clone()
}

/// A Luna HSM in FIPS mode, and tokens with ANSI X9.31 only.
#[test]
fn rsa_keys_are_made_with_the_mechanism_that_the_token_carries_out() {
    const PKCS: &str = "CKM_RSA_PKCS_KEY_PAIR_GEN";
    const X9_31: &str = "CKM_RSA_X9_31_KEY_PAIR_GEN";
    const PRIME: &str = "CKM_RSA_FIPS_186_3_PRIME_KEY_PAIR_GEN";
    const AUX_PRIME: &str = "CKM_RSA_FIPS_186_3_AUX_PRIME_KEY_PAIR_GEN";
    // The substitutes are carried out by the wrapped module, which knows CKM_RSA_PKCS_KEY_PAIR_GEN.
    for (profile, plan, mechanism) in [
        ("", "", PKCS),
        ("", "without PKCS\nmechanism X9_31 as PKCS", X9_31),
        ("", "refuse PKCS\nmechanism X9_31 as PKCS", X9_31),
        (
            "profile = \"luna\"",
            "without PKCS\nmechanism 0x80000143 as PKCS\nmechanism 0x80000142 as PKCS",
            PRIME,
        ),
        (
            "profile = \"luna\"",
            "refuse PKCS\nmechanism X9_31 as PKCS\nmechanism 0x80000142 as PKCS",
            AUX_PRIME,
        ),
        // The number means something else there.
        (
            "profile = \"utimaco\"",
            "without PKCS\nmechanism 0x80000143 as PKCS\nmechanism X9_31 as PKCS",
            X9_31,
        ),
    ] {
        let plan = plan.replace("PKCS", PKCS).replace("X9_31", X9_31);
        let (bank, chaos) = bank(profile, &plan);
        let made = generate(&bank, &chaos, &[]).expect(0).json();
        assert_eq!(made["mechanism"], mechanism, "{plan}: {made:#}");
        assert_eq!(made["key"]["type"], "RSA-2048", "{plan}: {made:#}");
        let recorded = records(&bank, "key-generation");
        assert_eq!(
            recorded.last().unwrap()["mechanism"],
            mechanism,
            "{recorded:#?}"
        );
        assert_eq!(keys(&bank, &chaos).len(), 1, "{plan}");
        bank.run(&["ledger", "verify"]).expect(0);
    }
}

/// Where keys are made another way, that is said before anything is asked of the token.
#[test]
fn the_vendors_tool_is_named() {
    for (profile, further, said) in [
        (
            "google-kms",
            &[][..],
            "gcloud kms keys create c3 --keyring KEYRING --location LOCATION --purpose asymmetric-signing",
        ),
        ("nethsm", &["--accept-claims"], "--user-type so"),
    ] {
        let (bank, chaos) = bank(&format!("profile = \"{profile}\""), "");
        let refused = generate(&bank, &chaos, further).expect(3);
        assert!(
            refused.stderr.contains("no key was made") && refused.stderr.contains(said),
            "{profile}: {refused:?}"
        );
        for call in ["C_Login", "C_GenerateKeyPair"] {
            assert_eq!(chaos.calls(call), 0, "{profile}");
        }
    }
}

/// What a token says of itself is enough where the family is not known.
#[test]
fn a_token_that_makes_no_keys_is_told_by_its_answers() {
    for (profile, plan, said) in [
        (
            "",
            "fail C_GenerateKeyPair all CKR_FUNCTION_NOT_SUPPORTED",
            "does not generate RSA-2048 key pairs",
        ),
        (
            "",
            "without CKM_RSA_PKCS_KEY_PAIR_GEN",
            "does not generate RSA-2048 key pairs",
        ),
        (
            "profile = \"nshield\"",
            "fail C_GenerateKeyPair all 0x800000e0",
            "generatekey pkcs11 protect=token type=RSA size=2048 plainname=c3",
        ),
        (
            "profile = \"azure-managed-hsm\"",
            "fail C_GenerateKeyPair all CKR_FUNCTION_NOT_SUPPORTED",
            "mhsm_p11_create_key --RSA 2K --label c3",
        ),
        // The accelerator slot.
        (
            "profile = \"nshield\"",
            "without CKF_LOGIN_REQUIRED",
            "accelerator slot",
        ),
    ] {
        let (bank, chaos) = bank(profile, plan);
        let refused = generate(&bank, &chaos, &[]).expect(3);
        assert!(refused.stderr.contains(said), "{plan}: {refused:?}");
        assert!(
            refused.stderr.contains("`key` of [c3]") || refused.stderr.contains("`uri`"),
            "{plan}: {refused:?}"
        );
        let tries = chaos.calls("C_GenerateKeyPair");
        assert!(tries <= 2, "{plan}: {tries} tries");
        assert!(keys(&bank, &chaos).is_empty(), "{plan}");
    }
}

/// 0x800000E0 is about making keys: after C_Login it counts as a refused PIN like every value that no document explains.
#[test]
fn a_code_about_keys_lifts_no_pin_guard() {
    let (bank, chaos) = bank("profile = \"nshield\"", "fail C_Login 1 0x800000e0");
    generate(&bank, &chaos, &[]).expect(4);
    chaos.plan("");
    chaos.forget_calls();
    generate(&bank, &chaos, &[]).expect(4);
    assert_eq!(chaos.calls("C_Login"), 0);
}

/// What the module says of every key is accepted before a key is made.
#[test]
fn known_claims_are_accepted_before_a_key_is_made() {
    for (profile, said) in [
        ("nethsm", "CKA_DECRYPT true of each RSA key"),
        ("azure-cloud-hsm", "CKA_NEVER_EXTRACTABLE true"),
    ] {
        let (bank, chaos) = bank(&format!("profile = \"{profile}\""), "user-type 0x0");
        let pin = administrators_pin(&bank);
        let administrator = ["--user-type", "so", "--pin-source", pin.as_str()];
        let refused = generate(&bank, &chaos, &administrator).expect(3);
        assert!(
            refused.stderr.contains(said) && refused.stderr.contains("--accept-claims"),
            "{profile}: {refused:?}"
        );
        assert_eq!(chaos.calls("C_GenerateKeyPair"), 0, "{profile}");
    }
}

/// The whole of a NetHSM: the administrator makes keys, label and CKA_ID are one, and each RSA key says CKA_DECRYPT.
#[test]
fn the_administrator_of_a_nethsm_makes_a_key() {
    let (bank, chaos) = bank(
        "profile = \"nethsm\"",
        "user-type 0x0\nlabel-is-id\nclaim CKA_DECRYPT true\nno-session-keys CKR_FUNCTION_FAILED",
    );
    let pin = administrators_pin(&bank);
    let made = generate(
        &bank,
        &chaos,
        &["--user-type", "so", "--pin-source", &pin, "--accept-claims"],
    );
    let made = made.expect(0).json();
    let uri = made["key"]["uri"].as_str().unwrap();
    assert!(
        uri.contains("object=c3;id=%63%33;") || uri.contains("object=c3;id=c3;"),
        "{uri}"
    );
    assert_eq!(made["not_restricted"][0], "CKA_DECRYPT", "{made:#}");
    assert_eq!(chaos.calls("C_GenerateKeyPair"), 1);
}

/// What a session key shows of an unknown token is enough: no key is made on it.
#[test]
fn a_session_key_shows_the_claims_first() {
    let (bank, chaos) = bank("", "claim CKA_DECRYPT true");
    let refused = generate(&bank, &chaos, &["--type", "p-256"]).expect(3);
    assert!(refused.stderr.contains("--accept-claims"), "{refused:?}");
    let labels: Vec<String> = records(&bank, "key-generation")
        .iter()
        .map(|record| record["label"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        !labels.is_empty() && labels.iter().all(|label| label != "c3"),
        "{labels:?}"
    );
}

/// AWS CloudHSM: another HSM of the cluster may answer the search.
#[test]
fn a_new_key_is_searched_for_until_it_is_found() {
    // The probe key is none of the token's.
    let (bank, chaos) = bank("", "late-keys 3");
    let made = generate(&bank, &chaos, &["--type", "p-256"])
        .expect(0)
        .json();
    assert_eq!(made["not_restricted"].as_array().unwrap().len(), 0);
    // One that is not found in time stays, and is named.
    let (bank, chaos) = self::bank("start_timeout = \"3s\"", "late-keys 1000");
    let late = generate(&bank, &chaos, &["--type", "p-256"]).expect(3);
    assert!(
        late.stderr.contains("did not find it within 3 s") && late.stderr.contains("object=c3"),
        "{late:?}"
    );
    assert_eq!(keys(&bank, &chaos).len(), 1);
}

/// A key that may leave the token, and that another HSM of the cluster knows nothing of yet: it is not taken for destroyed.
#[test]
fn a_key_that_is_neither_destroyed_nor_found_is_named() {
    let plan = "late-keys 1000\nclaim CKA_EXTRACTABLE true\nfail C_DestroyObject 3.. CKR_OBJECT_HANDLE_INVALID";
    let (bank, chaos) = bank("start_timeout = \"1s\"", plan);
    let left = generate(&bank, &chaos, &["--type", "p-256"]).expect(3);
    assert!(
        left.stderr.contains("is still on the token") && left.stderr.contains("object=c3"),
        "{left:?}"
    );
    let outcomes = records(&bank, "outcome");
    assert_eq!(
        outcomes.last().unwrap()["result"],
        "failed",
        "{outcomes:#?}"
    );
    assert_eq!(keys(&bank, &chaos).len(), 1);
}

/// Each C_SetAttributeValue of a new key is on record, before it and with its outcome.
#[test]
fn changes_of_a_new_key_are_on_record() {
    let (bank, chaos) = bank("", "refuse-attribute private CKA_DECRYPT CKR_GENERAL_ERROR");
    generate(&bank, &chaos, &["--type", "p-256"]).expect(0);
    let changes = records(&bank, "key-change");
    assert_eq!(changes.len(), chaos.calls("C_SetAttributeValue"));
    assert!(!changes.is_empty());
    let of_c3 = changes.iter().filter(|record| {
        let key = record["key"].as_str().unwrap();
        key.contains("object=c3;") && record["change"] == "CKA_MODIFIABLE false"
    });
    assert_eq!(of_c3.count(), 1, "{changes:#?}");
    let outcomes = records(&bank, "outcome");
    let results: Vec<&str> = changes
        .iter()
        .map(|change| {
            let outcome = outcomes
                .iter()
                .find(|outcome| outcome["of"] == change["seq"]);
            outcome.unwrap()["result"].as_str().unwrap()
        })
        .collect();
    assert!(
        results.contains(&"failed") && results.contains(&"good"),
        "{results:?}"
    );
    bank.run(&["ledger", "verify"]).expect(0);
}
