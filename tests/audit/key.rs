//! Each single thing that is wrong with a key is found by `audit`, with what follows from it and nothing
//! else. The keys are made in a real token, by hand where the product makes none like them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::audit::{Audited, audit, audit_as, bank};
use crate::common::bank::{Bank, config_of_child};
use crate::common::token_objects::{
    generate_p256, generate_rsa, generate_wrapping_key, import_rsa, session, store_certificate,
};
use cryptoki::mechanism::MechanismType;
use cryptoki::object::Attribute as A;
use cryptoki::session::Session;
use cryptoki::types::Date;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

/// How a key is made that is wrong in one way, and the rules whose evidence is a part of the golden file.
struct Case {
    name: &'static str,
    make: fn(&Session, &str),
    shown: &'static [&'static str],
}

const fn case(
    name: &'static str,
    make: fn(&Session, &str),
    shown: &'static [&'static str],
) -> Case {
    Case { name, make, shown }
}

fn rsa(session: &Session, label: &str, changes: &[A]) {
    generate_rsa(session, label, 2048, changes);
}

fn day(year: &str) -> Date {
    Date::new_from_str_slice(year, "01", "31").unwrap()
}

const CASES: &[Case] = &[
    case(
        "as_it_should_be",
        |s, l| rsa(s, l, &[]),
        &["key.readable", "key.hidden", "key.dates", "key.destroyable"],
    ),
    case(
        "not_sensitive",
        |s, l| rsa(s, l, &[A::Sensitive(false)]),
        &["key.readable"],
    ),
    case(
        "extractable",
        |s, l| rsa(s, l, &[A::Extractable(true)]),
        &["key.readable"],
    ),
    case(
        "readable",
        |s, l| rsa(s, l, &[A::Sensitive(false), A::Extractable(true)]),
        &[],
    ),
    case(
        "extractable_with_trusted_only",
        |s, l| rsa(s, l, &[A::Extractable(true), A::WrapWithTrusted(true)]),
        &["key.wrap-with-trusted"],
    ),
    case(
        "not_private",
        |s, l| rsa(s, l, &[A::Private(false)]),
        &["key.hidden"],
    ),
    case(
        "decrypt",
        |s, l| rsa(s, l, &[A::Decrypt(true)]),
        &["key.usage"],
    ),
    case(
        "unwrap",
        |s, l| rsa(s, l, &[A::Unwrap(true)]),
        &["key.usage"],
    ),
    case(
        "derive",
        |s, l| generate_p256(s, l, &[A::Derive(true)]),
        &["key.usage"],
    ),
    case(
        "all_usages",
        |s, l| {
            rsa(
                s,
                l,
                &[A::Decrypt(true), A::Unwrap(true), A::SignRecover(true)],
            )
        },
        &["key.usage"],
    ),
    case(
        "sign_recover",
        |s, l| rsa(s, l, &[A::SignRecover(true)]),
        &[],
    ),
    case("modifiable", |s, l| rsa(s, l, &[A::Modifiable(true)]), &[]),
    case("copyable", |s, l| rsa(s, l, &[A::Copyable(true)]), &[]),
    case(
        "not_destroyable",
        |s, l| rsa(s, l, &[A::Destroyable(false)]),
        &["key.destroyable"],
    ),
    case(
        "mechanisms_of_tls",
        |s, l| {
            let allowed = [MechanismType::RSA_PKCS_PSS, MechanismType::RSA_PKCS];
            rsa(s, l, &[A::AllowedMechanisms(allowed.to_vec())]);
        },
        &["key.allowed-mechanisms"],
    ),
    case(
        "mechanism_of_decryption",
        |s, l| {
            let allowed = [MechanismType::RSA_PKCS_PSS, MechanismType::RSA_PKCS_OAEP];
            rsa(s, l, &[A::AllowedMechanisms(allowed.to_vec())]);
        },
        &["key.allowed-mechanisms"],
    ),
    // SoftHSM tells the dates of keys with CKA_PRIVATE false only: of others C_GetAttributeValue fails.
    case(
        "ended",
        |s, l| {
            let dates = [A::StartDate(day("2019")), A::EndDate(day("2020"))];
            rsa(s, l, &[&dates[..], &[A::Private(false)]].concat());
        },
        &["key.dates"],
    ),
    case(
        "not_begun",
        |s, l| rsa(s, l, &[A::StartDate(day("9998")), A::Private(false)]),
        &["key.dates"],
    ),
    case(
        "in_its_time",
        |s, l| {
            let dates = [A::StartDate(day("2020")), A::EndDate(day("9998"))];
            rsa(s, l, &[&dates[..], &[A::Private(false)]].concat());
        },
        &["key.dates"],
    ),
    case(
        "dates_that_are_not_told",
        |s, l| rsa(s, l, &[A::EndDate(day("2020"))]),
        &["key.dates"],
    ),
    case(
        "rsa_3072",
        |s, l| generate_rsa(s, l, 3072, &[]),
        &["key.type"],
    ),
    case(
        "p_256",
        |s, l| generate_p256(s, l, &[]),
        &["key.type", "key.generated"],
    ),
    case(
        "imported",
        |s, l| import_rsa(s, l, &software_key(), &[]),
        &["key.local", "key.generated"],
    ),
    case(
        "always_authenticate",
        |s, l| rsa(s, l, &[A::AlwaysAuthenticate(true)]),
        &["key.always-authenticate"],
    ),
];

fn software_key() -> Vec<u8> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    key.serialize_der()
}

fn audit_of(bank: &mut Bank, label: &str, further: &[&str]) -> Audited {
    bank.configure(|settings| settings.key = format!("pkcs11:object={label};type=private"));
    audit(bank, further)
}

/// The token's objects on the disk. In the token's own file SoftHSM notes each login.
fn objects(bank: &Bank) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = bank.token.files().into_iter();
    let objects: BTreeMap<_, _> = files
        .filter(|(path, _)| !path.ends_with("token.object") && !path.ends_with("generation"))
        .collect();
    assert!(objects.len() >= 2, "a key pair at least");
    objects
}

#[test]
fn a_new_key_in_a_new_token_leaves_one_finding_that_the_token_is_a_program() {
    let bank = bank();
    bank.run(&["key", "generate"]).expect(0);
    let before = objects(&bank);
    audit(&bank, &[]).golden("key_generate_alone", &["token.hardware"]);
    assert!(before == objects(&bank), "the token is as it was");
    // On a developer's machine that is a note, and nothing is left to find.
    for profile in ["preprod", "development"] {
        let golden = format!("key_generate_alone_{profile}");
        audit_as(&bank, profile, &[]).golden(&golden, &[]);
    }
}

#[test]
fn what_is_wrong_with_a_key_is_found_and_nothing_else() {
    if config_of_child().is_some() {
        let session = session();
        return CASES
            .iter()
            .for_each(|case| (case.make)(&session, case.name));
    }
    let mut bank = bank();
    bank.run_test(what_is_wrong_with_a_key_is_found_and_nothing_else, &[]);
    for case in CASES {
        let golden = format!("key_{}", case.name);
        audit_of(&mut bank, case.name, &[]).golden(&golden, case.shown);
    }
}

#[test]
fn a_wrapping_key_in_the_token_is_tried_and_gets_no_key_that_cannot_be_extracted() {
    if config_of_child().is_some() {
        let session = session();
        rsa(&session, "c3", &[]);
        rsa(&session, "extractable", &[A::Extractable(true)]);
        rsa(
            &session,
            "modifiable",
            &[A::Modifiable(true), A::Copyable(true)],
        );
        return generate_wrapping_key(&session, "wrapping");
    }
    let mut bank = bank();
    bank.run_test(
        a_wrapping_key_in_the_token_is_tried_and_gets_no_key_that_cannot_be_extracted,
        &[],
    );
    let said = audit_of(&mut bank, "c3", &[]).said("key.wrappable");
    let refused = "tried-and-refused: C_WrapKey by CKM_AES_KEY_WRAP_PAD with pkcs11:";
    assert!(said.starts_with(refused), "{said}");
    assert!(said.contains("object=wrapping;"), "{said}");
    assert!(said.contains("CKR_KEY_UNEXTRACTABLE"), "{said}");
    audit_of(&mut bank, "c3", &[]).golden("wrapping_key_and_key_that_stays", &[]);

    let audited = audit_of(&mut bank, "extractable", &[]);
    audited.golden("wrapping_key_and_extractable_key", &[]);
    for profile in ["preprod", "development"] {
        let golden = format!("wrapping_key_and_extractable_key_{profile}");
        audit_as(&bank, profile, &[]).golden(&golden, &[]);
    }
    let said = audited.said("key.wrappable");
    assert!(said.contains("bytes was answered"), "{said}");
    assert!(
        said.ends_with("the module claims CKA_EXTRACTABLE true"),
        "{said}"
    );

    let tried = ["key.copy-tried", "key.change-tried", "key.wrap-tried"];
    let before = objects(&bank);
    for (label, golden) in [
        ("c3", "active_on_a_key_that_stays"),
        ("extractable", "active_on_an_extractable_key"),
        ("modifiable", "active_on_a_modifiable_key"),
    ] {
        audit_of(&mut bank, label, &["--active"]).golden(golden, &tried);
    }
    // What was made for the trials is gone, and was never on the token's disk.
    assert!(before == objects(&bank), "the token is as it was");
    let keys = bank.run(&["key", "list", "--json"]).expect(0).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 3);
}

/// A second private key object, and a second certificate, of the configured key.
#[test]
fn what_lies_beside_the_key_is_seen() {
    const PKCS8: &str = "HSM_MTLS_TEST_PKCS8";
    const LEAKS: &str = "HSM_MTLS_TEST_LEAKS";
    const CERTIFICATE: &str = "HSM_MTLS_TEST_CERTIFICATE";
    let read = |variable| Some(std::fs::read(std::env::var_os(variable)?).unwrap());
    if config_of_child().is_some() {
        let session = session();
        if let Some(pkcs8) = read(PKCS8) {
            import_rsa(&session, "c3", &pkcs8, &[]);
            import_rsa(&session, "copy", &pkcs8, &[A::Decrypt(true)]);
        }
        if let Some(pkcs8) = read(LEAKS) {
            import_rsa(&session, "leak", &pkcs8, &[A::Extractable(true)]);
        }
        if let Some(certificate) = read(CERTIFICATE) {
            store_certificate(&session, "other-purpose", &certificate);
        }
        return;
    }
    let bank = bank();
    let file = bank.path("key.der");
    std::fs::write(&file, software_key()).unwrap();
    bank.run_test(
        what_lies_beside_the_key_is_seen,
        &[(PKCS8, file.display().to_string())],
    );
    audit(&bank, &[]).golden("key_twin", &[]);
    // The configured object keeps the key, and the third one does not.
    bank.run_test(
        what_lies_beside_the_key_is_seen,
        &[(LEAKS, file.display().to_string())],
    );
    let audited = audit(&bank, &[]);
    audited.golden("key_twin_that_leaks", &[]);
    let said = audited.said("key.twin-held");
    assert!(said.contains("object=leak;"), "{said}");
    assert!(said.ends_with("CKA_EXTRACTABLE true"), "{said}");

    let bank = crate::common::audit::certified();
    let second = bank.framework.issue_client_with(&bank.csr(), |params| {
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::CommonName, "another purpose");
    });
    let (_, second) = der::pem::decode_vec(second.as_bytes()).unwrap();
    std::fs::write(&file, second).unwrap();
    bank.run_test(
        what_lies_beside_the_key_is_seen,
        &[(CERTIFICATE, file.display().to_string())],
    );
    audit(&bank, &[]).golden("key_of_two_purposes", &[]);
}
