//! Reads the plan from its file, which a test may rewrite while the module is in use.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use std::{env, fs, process};

use crate::plan::{LostState, Plan, parse};

/// The variable with the path of the plan.
const PLAN: &str = "CHAOS_TOKEN_PLAN";

/// The plan that was read last.
struct State {
    plan: Plan,
    /// How many times the plan was read.
    revision: u64,
    modified: Option<SystemTime>,
    /// A plan that came while the module was in use had this: for this process it stays, whatever the plan becomes.
    lost: Option<LostState>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The current plan.
pub(crate) fn current() -> Plan {
    current_with_revision().0
}

/// The current plan and its revision, which changes with each new plan.
pub(crate) fn current_with_revision() -> (Plan, u64) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = state.get_or_insert_with(|| State {
        plan: Plan::default(),
        revision: 0,
        modified: None,
        lost: None,
    });
    state.refresh();
    (state.plan.clone(), state.revision)
}

/// The state that only a new process clears, if this process is in it.
pub(crate) fn lost() -> Option<LostState> {
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.as_ref()?.lost
}

impl State {
    fn refresh(&mut self) {
        let Some(path) = env::var_os(PLAN) else {
            return;
        };
        let modified = match fs::metadata(&path).and_then(|meta| meta.modified()) {
            Ok(modified) => modified,
            Err(error) => give_up(&format!("the file of {PLAN}, {}: {error}", path.display())),
        };
        if self.modified == Some(modified) {
            return;
        }
        match fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(&text))
        {
            Ok(plan) => self.plan = plan,
            Err(why) => give_up(&why),
        }
        // A process that starts with the plan is the new one.
        if self.revision > 0 {
            self.lost = self.lost.or(self.plan.lost);
        }
        self.revision += 1;
        self.modified = Some(modified);
    }
}

/// Aborts the process: a plan that is invalid must not look like a token that works.
pub(crate) fn give_up(why: &str) -> ! {
    eprintln!("chaos-token: {why}");
    process::abort();
}
