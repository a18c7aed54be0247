//! Valid plans and invalid ones.

use super::*;
use crate::persona::PERSONAS;

#[test]
fn each_line_of_a_plan_is_parsed() {
    let plan = parse(
        "fail C_Sign 3 CKR_DEVICE_ERROR # the third\nfail C_OpenSession 2.. CKR_SESSION_COUNT\n\
         crash C_Login 1..2\ndelay C_Sign 2 9ms\n\npin-tries 3\nwithout CKM_ECDSA\nsignature der\n\
         crash exit\ndelay thread-exit 25ms\n",
    )
    .expect("a plan");
    assert_eq!(plan.rules.len(), 3);
    assert_eq!(plan.rules[0].verdict, Verdict::Fail(CKR_DEVICE_ERROR));
    let second_on = plan.rules[1].calls;
    assert!(!second_on.contain(1) && second_on.contain(2) && second_on.contain(u64::MAX));
    assert!(plan.delays[0].calls.contain(2) && !plan.delays[0].calls.contain(3));
    assert_eq!(plan.pin_tries, Some(3));
    assert_eq!(plan.hidden_mechanisms, [CKM_ECDSA]);
    assert_eq!(plan.signature, SignatureForm::Der);
    assert!(plan.crash_at_exit);
    assert_eq!(plan.thread_exit_delay, Duration::from_millis(25));
}

#[test]
fn a_module_is_lost_with_its_c_initialize_or_without() {
    let lost = |text: &str| parse(text).expect("a plan").lost;
    let [code, initialize] = [CKR_DEVICE_ERROR, CKR_GENERAL_ERROR];
    assert_eq!(
        lost("lost-until-new-process CKR_DEVICE_ERROR"),
        Some(LostState {
            code,
            initialize: false
        })
    );
    assert_eq!(
        lost("lost-until-new-process CKR_GENERAL_ERROR initialize"),
        Some(LostState {
            code: initialize,
            initialize: true
        })
    );
    let eighth = parse("fail C_Sign */8 CKR_DEVICE_ERROR").expect("a plan");
    let failing: Vec<_> = (1..=24)
        .filter(|number| eighth.verdict("C_Sign", *number) != Verdict::Pass)
        .collect();
    assert_eq!(failing, [8, 16, 24]);
}

#[test]
fn an_invalid_line_is_an_error() {
    for bad in [
        "fail C_Sing 1 CKR_DEVICE_ERROR",
        "fail C_Sign x CKR_DEVICE_ERROR",
        "fail C_Sign 1 CKR_NOTHING",
        "flag CKF_NOTHING",
        "without CKF_NOTHING",
        "signature upside-down",
        "delay C_Sign 3",
        "delay all 3 25ms",
        "hang C_Sing 1",
        "idle 3",
        "slot-ids -1",
        "vanished now",
        "login-per-session always",
        "version-3",
        "lost-until-new-process",
        "lost-until-new-process CKR_DEVICE_ERROR often",
        "fail C_Sign */x CKR_DEVICE_ERROR",
        "explode",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn each_persona_is_a_plan_and_each_line_has_its_source() {
    for (name, text) in PERSONAS {
        parse(text).unwrap_or_else(|why| panic!("{name}: {why}"));
        let mut has_source = false;
        for line in text.lines() {
            let words = without_comment(line);
            let comment = &line[words.len()..];
            let marks = ["(D)", "(U)", "(C)", "(I)"];
            // A comment is about the lines up to the next empty one.
            has_source &= !line.is_empty();
            has_source |= marks.iter().any(|mark| comment.contains(mark));
            assert!(words.is_empty() || has_source, "{name}: {line}");
        }
    }
    assert!(parse("persona nobody").is_err());
    let plan = parse("fail C_Login 1 CKR_PIN_LOCKED\npersona google\noutage").expect("a plan");
    assert_eq!(plan.verdict("C_Login", 1), Verdict::Fail(CKR_PIN_LOCKED));
    assert_eq!(plan.outage.code("C_Sign"), Some(CKR_DEVICE_ERROR));
    assert!(plan.logins.pin_ignored);
}
