//! Logins to families of HSMs that are simulated from documents (chaos-token's personas): what the family returns during an
//! outage blocks no PIN, and a PIN that it refuses, by whatever name, is sent once.

use crate::common::persona::{ALL, Persona};

/// The device is lost at C_Login only, and then altogether; the same PIN is good afterwards.
#[test]
fn an_outage_at_the_login_blocks_no_pin() {
    for persona in ALL {
        if !persona.has_pin() {
            continue;
        }
        let (bank, chaos) = persona.bank();
        persona.generate(&bank, "p-256").expect(0);
        for lines in [persona.outage_at_login, "outage", "outage"] {
            chaos.plan(&persona.plan(lines));
            let run = bank.run(&["csr"]).expect(3);
            assert!(
                !run.stderr.contains("PIN was refused"),
                "{persona:?}: {run:?}"
            );
        }
        chaos.plan(&persona.plan(""));
        chaos.forget_calls();
        bank.run(&["csr"]).expect(0);
        let (logins, sessions) = (chaos.calls("C_Login"), chaos.calls("C_OpenSession"));
        let most = if persona.logs_in_per_session() {
            sessions
        } else {
            1
        };
        assert!((1..=most).contains(&logins), "{persona:?}: {logins} logins");
    }
}

#[test]
fn a_wrong_pin_is_sent_once() {
    for persona in ALL {
        if !persona.has_pin() {
            continue;
        }
        let (mut bank, chaos) = persona.bank();
        persona.generate(&bank, "p-256").expect(0);
        persona.mistype_pin(&mut bank);
        chaos.forget_calls();
        for _ in 0..3 {
            bank.run(&["csr"]).expect(4);
        }
        assert_eq!(chaos.calls("C_Login"), 1, "{persona:?}");
    }
}

/// A PIN without the user's name, as it is on other tokens. AWS's module says CKR_ARGUMENTS_BAD of it, which is no answer about
/// the PIN: it is tried twice, as after an outage.
#[test]
fn a_pin_of_another_form_is_not_sent_again() {
    for (name, attempts) in [("aws", 2), ("azure-cloud", 1), ("yubihsm", 1)] {
        let persona = Persona::named(name);
        let (mut bank, chaos) = persona.bank();
        persona.mistype_pin_as(&mut bank, "password");
        chaos.forget_calls();
        for _ in 0..3 {
            let run = bank.run(&["csr"]);
            assert!(matches!(run.code, 3 | 4), "{name}: {run:?}");
        }
        assert_eq!(chaos.calls("C_Login"), attempts, "{name}");
    }
}

/// Luna's officer has to change the first password; the PIN is not tried again before that.
#[test]
fn an_unchanged_first_password_is_sent_once() {
    let persona = Persona::named("luna");
    let (bank, chaos) = persona.bank();
    persona.generate(&bank, "p-256").expect(0);
    chaos.plan(&persona.plan("fail C_Login all CKR_PIN_EXPIRED"));
    chaos.forget_calls();
    for _ in 0..3 {
        bank.run(&["csr"]).expect(4);
    }
    assert_eq!(chaos.calls("C_Login"), 1);
}
