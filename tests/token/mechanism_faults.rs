//! C_GetMechanismInfo that fails: an outage is not a token without RSA-PSS, and a mechanism of which the module says nothing
//! is still listed.

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;

fn bank() -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.certify("rsa-2048");
    let chaos = Chaos::between(&mut bank, "");
    (bank, chaos)
}

#[test]
fn an_outage_while_mechanisms_are_read_is_told_as_that() {
    for (profile, code, advice) in [
        ("", "CKR_DEVICE_ERROR", "HSM is reachable"),
        ("", "CKR_TOKEN_NOT_PRESENT", "the slot is empty"),
        ("", "CKR_DEVICE_REMOVED", "the device is gone"),
        ("", "CKR_CRYPTOKI_NOT_INITIALIZED", "HSM is reachable"),
        (
            "profile = \"luna\"",
            "0x80000020",
            "the Luna client did not reach its HSM",
        ),
    ] {
        let (mut bank, chaos) = bank();
        bank.configure(|settings| settings.token_lines = profile.to_owned());
        chaos.plan(&format!("fail C_GetMechanismInfo 5.. {code}"));
        let failed = chaos.run(&bank, &["token", "check", "-n", "1"]).expect(3);
        let said = [failed.stdout.as_str(), &failed.stderr].concat();
        let told = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            told.contains("C_GetMechanismInfo") && told.contains(advice),
            "{code}: {failed:?}"
        );
        assert!(!told.contains("TLS 1.2 only"), "{code}: {failed:?}");
    }
}

/// Codes that say nothing of the device leave the mechanism in the list; one that the module does not know is left out.
#[test]
fn a_mechanism_without_information_is_tried() {
    for code in [
        "CKR_GENERAL_ERROR",
        "CKR_FUNCTION_NOT_SUPPORTED",
        "CKR_ARGUMENTS_BAD",
        "0x80001234",
    ] {
        let (bank, chaos) = bank();
        chaos.plan(&format!("fail C_GetMechanismInfo all {code}"));
        let check = chaos.run(&bank, &["token", "check", "-n", "2"]).expect(0);
        assert!(
            check.stdout.contains("rsa_pss_rsae_sha256"),
            "{code}: {check:?}"
        );
    }
    let (bank, chaos) = bank();
    chaos.plan("fail C_GetMechanismInfo all CKR_MECHANISM_INVALID");
    let check = chaos.run(&bank, &["token", "check", "-n", "1"]);
    assert_ne!(check.code, 0, "{check:?}");
    assert!(!check.stdout.contains("rsa_pss_rsae_sha256"), "{check:?}");
}
