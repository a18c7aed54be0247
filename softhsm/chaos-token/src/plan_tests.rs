//! Valid plans and invalid ones.

use super::*;

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
    assert_eq!(
        plan.rules[1].calls,
        Calls {
            first: 2,
            last: u64::MAX,
            every: 1,
        }
    );
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
