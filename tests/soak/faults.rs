//! The faults of the token, one after the other, and whether the client has recovered two seconds after each.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::chaos::Chaos;
use crate::common::remote_token::RemoteToken;
use crate::load::Load;
use crate::outcome::FaultFelt;

/// How long a fault lasts, unless it says otherwise.
const LASTS: Duration = Duration::from_millis(1500);
/// Between a fault's end and the signature that has to be good.
const RETURN: Duration = Duration::from_secs(2);

/// Functions that a signature needs, and what sends the engine there.
const FUNCTIONS: [(&str, &str); 4] = [
    ("C_Sign", ""),
    (
        "C_OpenSession",
        "fail C_Sign 1..4 CKR_SESSION_HANDLE_INVALID",
    ),
    ("C_SignInit", ""),
    ("C_FindObjectsInit", "fail C_Sign 1..4 CKR_SESSION_CLOSED"),
];

/// What they answer. No code of a PIN: that no time heals is what the PIN guard is for.
const CODES: [&str; 13] = [
    "CKR_DEVICE_ERROR",
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_GENERAL_ERROR",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_DEVICE_REMOVED",
    "CKR_KEY_HANDLE_INVALID",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
    "CKR_FUNCTION_FAILED",
    "CKR_HOST_MEMORY",
    "CKR_OPERATION_ACTIVE",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_DEVICE_MEMORY",
    "CKR_SESSION_CLOSED",
];

#[derive(Clone, Copy)]
enum Fault {
    /// A few calls of a function fail with a code.
    Code,
    Plan(&'static str),
    /// The same, for so long.
    PlanFor(&'static str, Duration),
    ServerGone,
    ConnectionLost,
    ServerHangs,
}

/// A round; the codes take turns in the first of each group.
const ROUND: [(&str, Fault); 16] = [
    ("the server is killed and started again", Fault::ServerGone),
    ("a call fails", Fault::Code),
    ("a signature is wrong", Fault::Plan("signature wrong")),
    ("the token is pulled out", Fault::Plan("vanished")),
    ("a call fails", Fault::Code),
    (
        "four calls hang for four seconds",
        Fault::PlanFor("delay C_Sign 1..4 4000ms", Duration::from_millis(4500)),
    ),
    ("the connection is lost", Fault::ConnectionLost),
    ("a call fails", Fault::Code),
    ("each call takes 3 ms longer", Fault::Plan("delay all 3ms")),
    ("sessions die when idle", Fault::Plan("idle 20ms")),
    ("a call fails", Fault::Code),
    ("the server hangs", Fault::ServerHangs),
    (
        "the token comes back in another slot, with two sessions",
        Fault::Plan("slot-ids 1000\nmax-sessions 3\nfail C_Sign 1..4 CKR_DEVICE_REMOVED"),
    ),
    (
        "each signature takes 200 ms longer",
        Fault::Plan("delay C_Sign 200ms"),
    ),
    (
        "every call fails",
        Fault::Plan("fail C_Sign all CKR_DEVICE_ERROR"),
    ),
    ("signatures in the wrong form", Fault::Plan("signature der")),
];

pub struct Faults<'a> {
    token: &'a mut RemoteToken,
    chaos: Chaos,
    load: &'a Load,
    felt: Felt,
}

/// What they did.
#[derive(Default)]
pub struct Felt {
    pub faults: Vec<FaultFelt>,
    pub not_recovered: Vec<String>,
}

impl<'a> Faults<'a> {
    pub fn of(token: &'a mut RemoteToken, chaos: Chaos, load: &'a Load) -> Self {
        Self {
            token,
            chaos,
            load,
            felt: Felt::default(),
        }
    }

    /// Each fault begins early enough to be over at the end.
    pub fn go_on_until(&mut self, end: Instant) {
        let mut codes = 0;
        for (name, fault) in ROUND.into_iter().cycle() {
            let lasts = match fault {
                Fault::PlanFor(_, lasts) => lasts,
                Fault::ServerHangs => LASTS * 2,
                _ => LASTS,
            };
            if Instant::now() + lasts + RETURN > end {
                return;
            }
            let (requests, failures) = self.so_far();
            let detail = self.happens(fault, lasts, &mut codes);
            pass(RETURN);
            if let Err(error) = self.load.sign_now() {
                let text = format!("{name} ({detail}): {error}");
                self.felt.not_recovered.push(text);
            }
            let (requests_after, failures_after) = self.so_far();
            let faults = &mut self.felt.faults;
            let known = faults.iter().position(|felt| felt.fault == name);
            let at = known.unwrap_or_else(|| {
                faults.push(FaultFelt {
                    fault: name.to_owned(),
                    times: 0,
                    requests: 0,
                    failed: 0,
                });
                faults.len() - 1
            });
            faults[at].times += 1;
            faults[at].requests += requests_after - requests;
            faults[at].failed += failures_after - failures;
        }
    }

    pub fn felt(self) -> Felt {
        self.felt
    }

    fn so_far(&self) -> (u64, u64) {
        let tally = self.load.tally();
        (tally.requests, tally.failures())
    }

    /// From its beginning to its end.
    fn happens(&mut self, fault: Fault, lasts: Duration, codes: &mut usize) -> String {
        match fault {
            Fault::Code => {
                let (function, before) = FUNCTIONS[*codes % FUNCTIONS.len()];
                let code = CODES[*codes % CODES.len()];
                *codes += 1;
                let plan = format!("{before}\nfail {function} 1..5 {code}");
                self.planned(&plan, lasts)
            }
            Fault::Plan(plan) | Fault::PlanFor(plan, _) => self.planned(plan, lasts),
            Fault::ServerGone => {
                self.token.kill();
                pass(lasts);
                self.token.start();
                String::new()
            }
            Fault::ConnectionLost => {
                self.token.kill_children();
                pass(lasts);
                String::new()
            }
            Fault::ServerHangs => {
                self.token.stop_children();
                pass(lasts);
                self.token.continue_children();
                String::new()
            }
        }
    }

    fn planned(&self, plan: &str, lasts: Duration) -> String {
        self.chaos.plan(plan);
        pass(lasts);
        self.chaos.plan("");
        plan.replace('\n', ", ")
    }
}

/// Time itself is what a soak is made of.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}
