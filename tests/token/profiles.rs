//! Return values that one family of HSMs has for itself: an outage at the login is no refused PIN, and a refused PIN is sent
//! once. Simulated from the vendors' documents.

use crate::common::bank::Bank;
use crate::common::chaos::Chaos;

fn bank(profile: &str) -> (Bank, Chaos) {
    let mut bank = Bank::new();
    bank.run(&["key", "generate", "--type", "p-256"]).expect(0);
    let chaos = Chaos::between(&mut bank, "");
    bank.configure(|settings| settings.token_lines = profile.to_owned());
    (bank, chaos)
}

#[test]
fn an_outage_at_the_login_blocks_no_pin() {
    for (profile, code, advice) in [
        (
            "luna",
            "0x80000020",
            "the Luna client did not reach its HSM",
        ),
        (
            "luna",
            "0x80000050",
            "the Luna client did not reach its HSM",
        ),
        ("luna", "0x80000035", "audit log is full"),
        (
            "nethsm",
            "CKR_USER_TYPE_INVALID",
            "the NetHSM was not reached",
        ),
        ("yubihsm2", "CKR_DEVICE_MEMORY", "log of 62 entries"),
    ] {
        let (bank, chaos) = bank(&format!("profile = \"{profile}\""));
        for _ in 0..2 {
            chaos.plan(&format!("fail C_Login 1 {code}"));
            let run = chaos.run(&bank, &["csr"]).expect(3);
            assert!(run.stderr.contains(advice), "{profile} {code}: {run:?}");
        }
        chaos.plan("");
        chaos.forget_calls();
        chaos.run(&bank, &["csr"]).expect(0);
        assert_eq!(chaos.calls("C_Login"), 1, "{profile} {code}");
    }
}

/// The same value of no known family: nobody knows that it was not a wrong PIN.
#[test]
fn an_unknown_value_stays_on_the_careful_side() {
    for profile in ["", "profile = \"standard\"", "profile = \"utimaco\""] {
        let (bank, chaos) = bank(profile);
        chaos.plan("fail C_Login 1 0x80000020");
        chaos.run(&bank, &["csr"]).expect(4);
        chaos.plan("");
        chaos.forget_calls();
        chaos.run(&bank, &["csr"]).expect(4);
        assert_eq!(chaos.calls("C_Login"), 0, "{profile}");
    }
}

#[test]
fn a_refused_pin_of_a_family_is_sent_once() {
    for (profile, code) in [
        ("luna", "0x80000067"),
        ("luna", "0x80000007"),
        ("azure-cloud-hsm", "CKR_PIN_EXPIRED"),
    ] {
        let (bank, chaos) = bank(&format!("profile = \"{profile}\""));
        chaos.plan(&format!("fail C_Login all {code}"));
        chaos.forget_calls();
        for _ in 0..3 {
            chaos.run(&bank, &["csr"]).expect(4);
        }
        assert_eq!(chaos.calls("C_Login"), 1, "{profile} {code}");
    }
}

/// What a value means does not depend on the call that returned it.
#[test]
fn a_value_of_a_family_is_read_in_every_call() {
    for call in [
        "C_GetTokenInfo",
        "C_GetMechanismInfo",
        "C_OpenSession",
        "C_FindObjectsInit",
        "C_FindObjects",
        "C_SignInit",
        "C_Sign",
    ] {
        let (bank, chaos) = bank("profile = \"luna\"");
        chaos.plan(&format!("fail {call} all 0x80000020"));
        let run = chaos.run(&bank, &["csr"]).expect(3);
        let advice = "the Luna client did not reach its HSM";
        assert!(run.stderr.contains(advice), "{call}: {run:?}");
    }
    // The first search tells whether logins are for one session.
    for (call, most) in [("C_GenerateKeyPair", 1), ("C_FindObjectsInit", 2)] {
        let (bank, chaos) = bank("profile = \"luna\"");
        chaos.plan(&format!("fail {call} all 0x80000035"));
        chaos.forget_calls();
        let arguments = ["key", "generate", "--label", "c4", "--type", "p-256"];
        let run = chaos.run(&bank, &arguments).expect(3);
        assert!(run.stderr.contains("audit log is full"), "{call}: {run:?}");
        assert!(chaos.calls(call) <= most, "{call}");
    }
    let (mut bank, chaos) = bank("profile = \"luna\"");
    bank.configure(|settings| settings.certificate = "pkcs11:object=c3;type=cert".to_owned());
    let chain = bank
        .framework
        .issue_client(&chaos.run(&bank, &["csr"]).expect(0).stdout);
    let chain = bank.write("issued.pem", &(chain + &bank.framework.issuing_pem()));
    chaos.plan("fail C_CreateObject all 0x80000035");
    let run = chaos.run(&bank, &["cert", "install", chain.to_str().unwrap()]);
    assert!(
        run.code == 3 && run.stderr.contains("audit log is full"),
        "{run:?}"
    );
}

/// AWS CloudHSM, SDK 5: no read-only sessions, which needs no learning where the family is known.
#[test]
fn the_sessions_of_a_family_are_opened_at_once() {
    let (bank, chaos) = bank("profile = \"aws-cloudhsm\"");
    chaos.plan("read-only-sessions not-opened CKR_FUNCTION_FAILED");
    chaos.forget_calls();
    let run = chaos.run(&bank, &["-v", "csr"]).expect(0);
    assert!(
        !run.stderr.contains("takes no read-only sessions"),
        "{run:?}"
    );
}

/// Which profile was taken, why, and what it sets.
#[test]
fn the_profile_is_shown() {
    let (bank, chaos) = bank("profile = \"yubihsm2\"");
    for command in [&["token", "check", "-n", "1"][..], &["config", "check"]] {
        let run = chaos.run(&bank, command).expect(0);
        let shown = "yubihsm2, as configured; keep_alive_call = \"random\"";
        assert!(run.stdout.contains(shown), "{run:?}");
    }
    let report = chaos
        .run(&bank, &["--json", "config", "check"])
        .expect(0)
        .json();
    assert_eq!(
        report["configurations"][0]["profile"], "yubihsm2",
        "{report:#}"
    );
    assert_eq!(report["configurations"][0]["profile_origin"], "configured");
}

/// Without `profile`, and with a file name that tells nothing, the module is asked.
#[test]
fn the_module_tells_its_family() {
    let (bank, chaos) = bank("");
    let run = chaos.run(&bank, &["config", "check"]).expect(0);
    let shown = "standard: the module's file name tells no family";
    assert!(run.stdout.contains(shown), "{run:?}");
    for (plan, shown) in [
        ("", "softhsm, by manufacturerID and libraryDescription"),
        (
            "manufacturer Acme\ndescription Safe",
            "standard: neither the module's file name nor its C_GetInfo tells a family",
        ),
        (
            "manufacturer SafeNet\ndescription Chrystoki",
            "an outage at the login still counts as a refused PIN: if this is right, write `profile = \"luna\"`",
        ),
    ] {
        chaos.plan(plan);
        let run = chaos.run(&bank, &["token", "check", "-n", "1"]).expect(0);
        assert!(run.stdout.contains(shown), "{run:?}");
    }
}

/// What a family sets takes effect where only the module tells it.
#[test]
fn a_family_that_the_module_tells_sets_its_keep_alive_call() {
    let (bank, chaos) = bank("keep_alive = \"100ms\"");
    let used = |plan: &str| {
        chaos.plan(plan);
        chaos.forget_calls();
        let load = [
            "token",
            "check",
            "-n",
            "1",
            "--load",
            "10",
            "--concurrency",
            "1",
        ];
        chaos.run(&bank, &load).expect(0);
        chaos.calls("C_GenerateRandom")
    };
    let yubihsm = "manufacturer Yubico (www.yubico.com)\ndescription YubiHSM PKCS#11 Library\n";
    let slow = "delay C_Sign 300ms\n";
    assert_eq!(used(slow), 0, "SoftHSM has no other keep-alive call");
    assert!(used(&format!("{yubihsm}{slow}")) > 0);
}

/// A module that calls itself a Luna HSM's is not believed that a value of C_Login is no refused PIN: if it is one all the
/// same, the PIN would be sent until it locks.
#[test]
fn a_modules_own_text_lifts_no_refusal() {
    let luna = "manufacturer SafeNet\ndescription Chrystoki";
    for code in ["0x80000020", "0x80000035"] {
        let (bank, chaos) = bank("");
        chaos.plan(&format!("{luna}\nfail C_Login all {code}"));
        chaos.forget_calls();
        for _ in 0..3 {
            chaos.run(&bank, &["csr"]).expect(4);
        }
        assert_eq!(chaos.calls("C_Login"), 1, "{code}");
    }
}

/// The configuration of another HSM, copied: its outage may be this one's wrong PIN, which is sent once.
#[test]
fn the_profile_of_another_hsm_lifts_no_refusal() {
    let (bank, chaos) = bank("profile = \"luna\"");
    chaos.plan("manufacturer Utimaco IS GmbH\nfail C_Login all 0x80000050");
    for _ in 0..3 {
        chaos.run(&bank, &["csr"]).expect(4);
    }
    assert_eq!(chaos.calls("C_Login"), 1);
    let check = chaos.run(&bank, &["token", "check"]);
    let said = "C_GetInfo tells utimaco; an outage at the login still counts as a refused PIN: correct `profile`";
    assert!(check.stdout.contains(said), "{check:?}");
}
