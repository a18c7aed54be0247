//! Tokens on which a login is for its session only (Nitrokey NetHSM): each session gets one C_Login, never more, and a
//! refused PIN stops them all. Simulated from documents.

use crate::common::bank::config_of_child;
use crate::common::chaos::Chaos;
use crate::common::poll::until;
use crate::common::proxy::Proxy;
use crate::common::wrong_pin::with_wrong_pin;
use hsm_mtls::internal::engine::{Purpose, challenge};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

const LEARNT: &str = "a login to this token is for one session";

fn one_login_per_session(chaos: &Chaos) {
    // A proxy may be opening one at this moment.
    until("one login for each session", || {
        let (logins, sessions) = (chaos.calls("C_Login"), chaos.calls("C_OpenSession"));
        assert!(logins <= sessions, "{logins} logins, {sessions} sessions");
        logins == sessions && sessions >= 2
    });
}

#[test]
fn it_is_learnt_and_shown() {
    for plan in ["login-per-session", "login-per-session state"] {
        let (mut bank, chaos, _hub) = Chaos::certified(plan);
        for command in [
            &["key", "list"][..],
            &["csr"],
            &["verify"],
            &["key", "generate", "--type", "p-256", "--label", "another"],
            &["request", "GET", "cm:/consents/1"],
        ] {
            chaos.forget_calls();
            let run = chaos.run(&bank, &[&["-v"], command].concat()).expect(0);
            assert!(run.stderr.contains(LEARNT), "{command:?}: {run:?}");
            one_login_per_session(&chaos);
        }
        let shown = chaos.run(&bank, &["token", "check", "-n", "3"]).expect(0);
        assert!(
            shown
                .stdout
                .contains("each session gets a login of its own"),
            "{shown:?}"
        );
        let ports = Proxy::configure(&mut bank, "", "");
        chaos.forget_calls();
        let proxy = Proxy::start_with(&bank, ports, &chaos.environment());
        for _ in 0..5 {
            assert_eq!(proxy.get("/cm/consents/1").0, 200);
        }
        one_login_per_session(&chaos);
    }
}

#[test]
fn a_token_whose_login_holds_for_all_is_logged_in_to_once() {
    let (mut bank, chaos, _hub) = Chaos::certified("");
    for login in ["", "login = \"auto\"", "login = \"always\""] {
        bank.configure(|settings| settings.token_lines = login.to_owned());
        chaos.forget_calls();
        let run = chaos.run(&bank, &["-v", "csr"]).expect(0);
        assert!(!run.stderr.contains(LEARNT), "{run:?}");
        assert_eq!(chaos.calls("C_Login"), 1, "{login}");
    }
    // By hand: the token says that it is logged in already.
    bank.configure(|settings| settings.token_lines = "login = \"per-session\"".to_owned());
    chaos.forget_calls();
    chaos.run(&bank, &["csr"]).expect(0);
    one_login_per_session(&chaos);
}

/// Where nothing shows it before the signature, it can be written by hand, and the error says so.
#[test]
fn it_can_be_written_by_hand() {
    let (mut bank, chaos, _hub) = Chaos::certified("login-per-session signatures");
    let run = chaos.run(&bank, &["csr"]).expect(3);
    assert!(
        run.stderr.contains("CKR_USER_NOT_LOGGED_IN") && run.stderr.contains("\"per-session\""),
        "{run:?}"
    );
    bank.configure(|settings| settings.token_lines = "login = \"per-session\"".to_owned());
    chaos.forget_calls();
    chaos.run(&bank, &["csr"]).expect(0);
    one_login_per_session(&chaos);
}

#[test]
fn a_wrong_pin_is_sent_once() {
    for login in ["auto", "per-session"] {
        let (mut bank, chaos, _hub, _wrong) =
            with_wrong_pin("login-per-session\nwithout CKF_USER_PIN_COUNT_LOW");
        bank.configure(|settings| settings.token_lines = format!("login = \"{login}\""));
        for command in [&["csr"][..], &["verify"], &["key", "list"]] {
            chaos.run(&bank, command).expect(4);
        }
        assert_eq!(chaos.calls("C_Login"), 1, "{login}");
    }
}

/// The PIN is changed at the token while sessions are open: the first that is refused is the last that is sent.
#[test]
fn a_refusal_in_a_further_session_stops_all() {
    let Some(config) = config_of_child() else {
        let (bank, chaos, _hub) =
            Chaos::certified("login-per-session\nwithout CKF_USER_PIN_COUNT_LOW");
        return chaos.run_test(&bank, a_refusal_in_a_further_session_stops_all, &[]);
    };
    let chaos = Chaos::of_child();
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    one_login_per_session(&chaos);
    // Eight callers, and one session so far: seven further ones are wanted.
    chaos.plan(
        "login-per-session\nwithout CKF_USER_PIN_COUNT_LOW\ndelay C_Sign 50ms\n\
         fail C_Login all CKR_PIN_INCORRECT",
    );
    chaos.forget_calls();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                // One of them has the session that is logged in.
                scope.spawn(|| challenge(identity.signer().as_ref(), Purpose::SelfTest).ok());
            }
        });
    }
    assert_eq!(chaos.calls("C_Login"), 1);
    chaos.plan("login-per-session\nwithout CKF_USER_PIN_COUNT_LOW");
    let (denied, signed) = (0..20).fold((0, 0), |(denied, signed), _| {
        match challenge(identity.signer().as_ref(), Purpose::SelfTest) {
            Ok(_) => (denied, signed + 1),
            Err(_) => (denied + 1, signed),
        }
    });
    assert_eq!(
        chaos.calls("C_Login"),
        1,
        "{denied} denied, {signed} signed"
    );
}

/// It has the timeout of the first login, in a command and in the signer process.
#[test]
fn a_login_of_a_further_session_that_hangs_ends_in_time() {
    let (mut bank, chaos, _hub) = Chaos::certified("");
    bank.configure(|settings| settings.token_lines = "start_timeout = \"1s\"".to_owned());
    for command in [&["csr"][..], &["key", "list"], &["verify"]] {
        chaos.plan("login-per-session\nhang C_Login 2");
        chaos.forget_calls();
        let run = chaos.run(&bank, command).expect(4);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(
            said.contains("did not come to an end within 1 s"),
            "{run:?}"
        );
        assert_eq!(chaos.calls("C_Login"), 2, "{command:?}");
    }
}

/// Many sessions at once: each is logged in to once, in this process one after the other.
#[test]
fn sessions_that_are_opened_at_once_get_a_login_each() {
    let Some(config) = config_of_child() else {
        let (bank, chaos, _hub) = Chaos::certified("login-per-session\ndelay C_Sign 30ms");
        return chaos.run_test(
            &bank,
            sessions_that_are_opened_at_once_get_a_login_each,
            &[],
        );
    };
    let chaos = Chaos::of_child();
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    challenge(identity.signer().as_ref(), Purpose::SelfTest).unwrap();
                }
            });
        }
    });
    one_login_per_session(&chaos);
    assert!(chaos.calls("C_Login") > 4, "{}", chaos.calls("C_Login"));
}

/// A token that was away has no session left: each new one is logged in to again.
#[test]
fn a_token_that_comes_back_is_logged_in_to_in_each_session() {
    let Some(config) = config_of_child() else {
        let (bank, chaos, _hub) = Chaos::certified("login-per-session");
        return chaos.run_test(
            &bank,
            a_token_that_comes_back_is_logged_in_to_in_each_session,
            &[],
        );
    };
    let chaos = Chaos::of_child();
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    let sign = || challenge(identity.signer().as_ref(), Purpose::SelfTest);
    for _ in 0..3 {
        chaos.plan("vanished");
        sign().unwrap_err();
        chaos.forget_calls();
        chaos.plan("login-per-session");
        until("it is back", || sign().is_ok());
        let (logins, sessions) = (chaos.calls("C_Login"), chaos.calls("C_OpenSession"));
        assert!((2..=sessions).contains(&logins), "{logins} of {sessions}");
    }
}
