//! Law 8: a token that goes away and comes back is found again without a restart. The token is a real remote one, and
//! each test is a failure that operators have seen.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::bank::{Bank, config_of_child};
use crate::common::poll::until;
use crate::common::remote_token::{CLIENT, RemoteToken};
use hsm_mtls::internal::engine::{EngineError, Purpose, Sign, challenge};
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::token::guard::Attendance;

const SOCKET: &str = "REMOTE_TOKEN_SOCKET";

const SESSIONS: usize = 4;

/// Between the token's return and the signature that has to be good.
const RETURN: Duration = Duration::from_secs(2);

/// Sets the scene in the parent, and plays the rest in a process whose environment is the module's.
fn scene<Test: Fn()>(test: Test, play: impl FnOnce(&mut RemoteToken, Arc<dyn Sign>)) {
    let Some(config) = config_of_child() else {
        let mut bank = Bank::new();
        bank.certify("p-256");
        let socket = bank.path("p11-kit.sock");
        bank.configure(|settings| {
            settings.module = PathBuf::from(CLIENT);
            settings.token_lines = format!("timeout = \"1s\"\nsessions = {SESSIONS}");
        });
        let variables = [
            (SOCKET, socket.to_str().unwrap().to_owned()),
            ("P11_KIT_SERVER_ADDRESS", RemoteToken::address(&socket)),
        ];
        return bank.run_test(test, &variables);
    };
    let socket = PathBuf::from(std::env::var_os(SOCKET).unwrap());
    let mut token = RemoteToken::at(&socket, "lfi");
    token.start();
    let identity = Identity::open(&config, Attendance::Unattended).unwrap();
    play(&mut token, Arc::clone(identity.signer()));
}

fn sign(signer: &Arc<dyn Sign>) -> Result<Duration, EngineError> {
    challenge(signer.as_ref(), Purpose::SelfTest)
}

/// Sessions on several threads, so that there is more than one to be lost.
fn sign_on_many_threads(signer: &Arc<dyn Sign>) {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    sign(signer).unwrap();
                }
            });
        }
    });
}

/// Every call while the token is away fails in time, and says why.
fn fails_in_time(signer: &Arc<dyn Sign>) {
    for _ in 0..20 {
        let started = Instant::now();
        let error = sign(signer).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(2), "{error}");
    }
    let error = sign(signer).unwrap_err();
    assert!(
        matches!(error, EngineError::TokenDown { .. }),
        "{error} {error:?}"
    );
}

/// The time itself is what is asked about: how long after the token's return.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// A: what heals neither nginx nor stunnel, ghostunnel or haproxy.
#[test]
fn the_server_is_killed_and_started_again() {
    scene(the_server_is_killed_and_started_again, |token, signer| {
        let mut after_the_first = None;
        let most_threads = threads() + SESSIONS;
        for cycle in 0..20 {
            sign_on_many_threads(&signer);
            token.kill();
            if cycle < 2 {
                fails_in_time(&signer);
            } else {
                sign(&signer).unwrap_err();
            }
            token.start();
            if cycle < 2 {
                pass(RETURN);
                sign(&signer).unwrap();
            } else {
                until("it is found again", || sign(&signer).is_ok());
            }
            sign_on_many_threads(&signer);
            let now = (open_files(), token.children().len());
            let first = *after_the_first.get_or_insert(now);
            assert_eq!(now, first, "files and connections after cycle {cycle}");
            // A thread that was joined is in /proc for a moment longer.
            until("no thread is left behind", || threads() <= most_threads);
        }
    });
}

/// B: a daemon that loses our connection, and takes a new one.
#[test]
fn the_connection_is_lost() {
    scene(the_connection_is_lost, |token, signer| {
        for _ in 0..5 {
            sign_on_many_threads(&signer);
            token.kill_children();
            sign(&signer).unwrap();
            sign_on_many_threads(&signer);
        }
    });
}

/// C: calls that hang. Nobody can finalise a module under them, so it is their return that heals.
#[test]
fn the_token_hangs_and_goes_on() {
    scene(the_token_hangs_and_goes_on, |token, signer| {
        sign_on_many_threads(&signer);
        token.stop_children();
        let before = threads();
        for _ in 0..3 {
            let started = Instant::now();
            let error = sign(&signer).unwrap_err();
            let waited = started.elapsed();
            assert!(matches!(error, EngineError::Deadline(_)), "{error}");
            assert!(waited < Duration::from_millis(1100), "{waited:?}");
        }
        // A thousand callers at a token that hangs: a bounded queue, and no thread more.
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let signer = Arc::clone(&signer);
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || {
                        let started = Instant::now();
                        (sign(&signer).unwrap_err(), started.elapsed())
                    })
                    .unwrap()
            })
            .collect();
        for caller in callers {
            let (error, waited) = caller.join().unwrap();
            assert!(
                matches!(error, EngineError::Deadline(_) | EngineError::QueueFull(_)),
                "{error}"
            );
            assert!(waited < Duration::from_millis(1500), "{waited:?}");
        }
        assert!(threads() <= before + SESSIONS, "{} threads", threads());
        token.continue_children();
        until("the calls that hung have come back", || {
            sign(&signer).is_ok()
        });
        sign_on_many_threads(&signer);
    });
}

/// D: the token's storage goes away and comes back.
#[test]
fn the_storage_is_moved_away_and_back() {
    if let Some(config) = config_of_child() {
        let tokens = PathBuf::from(std::env::var_os(SOCKET).unwrap());
        let away = tokens.with_extension("away");
        let identity = Identity::open(&config, Attendance::Unattended).unwrap();
        for _ in 0..3 {
            sign_on_many_threads(identity.signer());
            fs::rename(&tokens, &away).unwrap();
            for _ in 0..20 {
                sign(identity.signer()).unwrap_err();
            }
            fs::rename(&away, &tokens).unwrap();
            pass(RETURN);
            sign(identity.signer()).unwrap();
        }
        return;
    }
    let bank = Bank::new();
    bank.certify("p-256");
    let tokens = bank.token.tokens().to_str().unwrap().to_owned();
    bank.run_test(the_storage_is_moved_away_and_back, &[(SOCKET, tokens)]);
}
