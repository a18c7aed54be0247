//! The plan: what goes wrong, and when. Read from a file that a test may rewrite while the module is
//! in use; calls are counted, and written down where the plan's environment names a log.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use std::{env, process, thread};

use cryptoki_sys::*;

use crate::{exit, forward, names};

/// The file with the plan.
pub(crate) const PLAN: &str = "CHAOS_TOKEN_PLAN";
/// A file that each call's name is appended to.
pub(crate) const LOG: &str = "CHAOS_TOKEN_LOG";

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail(CK_RV),
    Crash,
}

/// What a signature becomes on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SignatureForm {
    #[default]
    AsMade,
    /// One bit is flipped.
    Wrong,
    /// ECDSA as DER instead of r‖s.
    Der,
    /// ECDSA without the leading zeros that both halves have.
    Short,
}

/// Calls with these numbers, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Calls {
    first: u64,
    last: u64,
}

impl Calls {
    const ALL: Self = Self {
        first: 1,
        last: u64::MAX,
    };

    fn contain(self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    function: String,
    calls: Calls,
    verdict: Verdict,
}

/// How much longer calls of a function, or of all of them, take.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Delay {
    function: Option<String>,
    calls: Calls,
    time: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    rules: Vec<Rule>,
    /// Wrong PINs until the token locks.
    pub(crate) pin_tries: Option<u32>,
    /// CKF_ flags that the token reports beside its own.
    pub(crate) flags: CK_FLAGS,
    /// CKF_ flags of its own that it does not report.
    pub(crate) flags_hidden: CK_FLAGS,
    pub(crate) max_sessions: Option<u64>,
    /// Mechanisms that are neither listed nor done.
    pub(crate) hidden: Vec<CK_MECHANISM_TYPE>,
    /// Mechanisms that are listed, but not done.
    pub(crate) refused: Vec<CK_MECHANISM_TYPE>,
    pub(crate) signature: SignatureForm,
    /// Calls that do not come back.
    hangs: Vec<Rule>,
    delays: Vec<Delay>,
    /// A session that nobody used for longer is closed by the token.
    pub(crate) idle: Option<Duration>,
    /// The token is not there.
    pub(crate) vanished: bool,
    /// What is added to the number of each slot.
    pub(crate) slot_ids: CK_SLOT_ID,
    /// Private keys want a context-specific login before each signature.
    pub(crate) always_authenticate: bool,
    /// The token says that it is a device.
    pub(crate) device: bool,
    /// What private keys say of themselves, whatever they are.
    pub(crate) claims: Vec<(CK_ATTRIBUTE_TYPE, bool)>,
    /// The process crashes in the module's exit handler.
    pub(crate) crash_at_exit: bool,
    /// How long the module cleans up after a thread that made a call.
    pub(crate) thread_exit: Duration,
}

#[derive(Default)]
struct State {
    plan: Plan,
    read: Option<SystemTime>,
    counts: HashMap<&'static str, u64>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn state() -> MutexGuard<'static, Option<State>> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.get_or_insert_default();
    state
}

/// Counts a call, writes it down, and says what becomes of it.
pub(crate) fn called(function: &'static str) -> Verdict {
    exit::of_thread();
    let mut guard = state();
    let Some(state) = guard.as_mut() else {
        return Verdict::Pass;
    };
    state.refresh();
    let count = state.counts.entry(function).or_default();
    *count += 1;
    let count = *count;
    if let Some(log) = env::var_os(LOG) {
        // One write per line, so that lines of several processes do not mix. A test that cannot
        // read what it counts on has to fail, so this does not go on silently.
        let line = format!("{function}\n");
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if written.is_err() {
            give_up(&format!("the file of {LOG} cannot be written"));
        }
    }
    let slow = |delay: &&Delay| {
        let named = delay.function.as_deref();
        named.is_none_or(|named| named == function) && delay.calls.contain(count)
    };
    let delays = state.plan.delays.iter().filter(slow);
    let delay: Duration = delays.map(|delay| delay.time).sum();
    let hit = |rule: &&Rule| rule.function == function && rule.calls.contain(count);
    let rule = state.plan.rules.iter().find(hit);
    let verdict = rule.map_or(Verdict::Pass, |rule| rule.verdict);
    let hangs = state.plan.hangs.iter().any(|rule| hit(&rule));
    // Other calls go on meanwhile.
    drop(guard);
    #[expect(
        clippy::disallowed_methods,
        reason = "being slow is what was asked for"
    )]
    thread::sleep(delay);
    if hangs {
        loop {
            thread::park();
        }
    }
    verdict
}

/// The plan as it is now.
pub(crate) fn current() -> Plan {
    let mut guard = state();
    guard.as_mut().map_or_else(Plan::default, |state| {
        state.refresh();
        state.plan.clone()
    })
}

impl State {
    fn refresh(&mut self) {
        let Some(path) = env::var_os(PLAN) else {
            return;
        };
        let changed = match fs::metadata(&path).and_then(|meta| meta.modified()) {
            Ok(changed) => changed,
            Err(error) => give_up(&format!("the file of {PLAN}, {}: {error}", path.display())),
        };
        if self.read == Some(changed) {
            return;
        }
        match fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(&text))
        {
            Ok(plan) => self.plan = plan,
            Err(why) => give_up(&why),
        }
        // Numbers in a new plan count from the moment it is read.
        self.counts.clear();
        self.read = Some(changed);
    }
}

/// A plan that is not understood must not look like a token that works.
pub(crate) fn give_up(why: &str) -> ! {
    eprintln!("chaos-token: {why}");
    process::abort();
}

/// Reads a plan; the README has its grammar.
pub(crate) fn parse(text: &str) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let words: Vec<_> = line.split_whitespace().collect();
        take(&mut plan, &words).map_err(|why| format!("plan, line {}: {why}", index + 1))?;
    }
    Ok(plan)
}

fn take(plan: &mut Plan, words: &[&str]) -> Result<(), String> {
    match words {
        [] => {}
        ["fail", function, calls, code] => {
            let code =
                names::return_value(code).ok_or_else(|| format!("{code} is no CKR_ value"))?;
            plan.rules.push(rule(function, calls, Verdict::Fail(code))?);
        }
        ["crash", function, calls] => plan.rules.push(rule(function, calls, Verdict::Crash)?),
        ["pin-tries", count] => plan.pin_tries = Some(number(count)?),
        ["flag", flag] => plan.flags |= flag_named(flag)?,
        ["max-sessions", count] => plan.max_sessions = Some(number(count)?),
        ["without", flag] if flag.starts_with("CKF_") => plan.flags_hidden |= flag_named(flag)?,
        ["without", mechanism] => plan.hidden.push(mechanism_named(mechanism)?),
        ["refuse", mechanism] => plan.refused.push(mechanism_named(mechanism)?),
        ["signature", "wrong"] => plan.signature = SignatureForm::Wrong,
        ["signature", "der"] => plan.signature = SignatureForm::Der,
        ["signature", "short"] => plan.signature = SignatureForm::Short,
        ["crash", "exit"] => plan.crash_at_exit = true,
        ["delay", "thread-exit", time] => plan.thread_exit = duration(time)?,
        ["delay", "all", time] => plan.delays.push(Delay {
            function: None,
            calls: Calls::ALL,
            time: duration(time)?,
        }),
        ["delay", function, time] => take(plan, &["delay", function, "all", time])?,
        ["delay", function, calls, time] => {
            let Rule {
                function, calls, ..
            } = rule(function, calls, Verdict::Pass)?;
            plan.delays.push(Delay {
                function: Some(function),
                calls,
                time: duration(time)?,
            });
        }
        ["hang", function, calls] => plan.hangs.push(rule(function, calls, Verdict::Pass)?),
        ["idle", time] => plan.idle = Some(duration(time)?),
        ["vanished"] => plan.vanished = true,
        ["slot-ids", more] => plan.slot_ids = number(more)?,
        ["claim", attribute, on @ ("true" | "false")] => {
            let kind = names::attribute(attribute)
                .ok_or_else(|| format!("{attribute} is no attribute that this module knows"))?;
            plan.claims.push((kind, *on == "true"));
        }
        ["device"] => plan.device = true,
        ["always-authenticate"] => plan.always_authenticate = true,
        other => return Err(format!("{} is not understood", other.join(" "))),
    }
    Ok(())
}

fn rule(function: &str, calls: &str, verdict: Verdict) -> Result<Rule, String> {
    if !forward::NAMES.contains(&function) {
        return Err(format!("{function} is no function of PKCS#11"));
    }
    let calls = match calls.split_once("..") {
        None if calls == "all" => Calls::ALL,
        None => {
            let only = number(calls)?;
            Calls {
                first: only,
                last: only,
            }
        }
        Some((first, last)) => Calls {
            first: number(first)?,
            last: match last {
                "" => u64::MAX,
                last => number(last)?,
            },
        },
    };
    Ok(Rule {
        function: function.to_owned(),
        calls,
        verdict,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let millis = text.strip_suffix("ms").ok_or("a time is written as 25ms")?;
    number(millis).map(Duration::from_millis)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn flag_named(name: &str) -> Result<CK_FLAGS, String> {
    names::token_flag(name).ok_or_else(|| format!("{name} is no token flag"))
}

fn mechanism_named(name: &str) -> Result<CK_MECHANISM_TYPE, String> {
    names::mechanism(name).ok_or_else(|| format!("{name} is no mechanism that this module knows"))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
