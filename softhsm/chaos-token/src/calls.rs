//! Counts each call of a function, logs it, and carries out the plan's delays, hangs and failures.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::{env, process, thread};

use cryptoki_sys::*;

use crate::rule::Verdict;
use crate::{exit, plan_file};

/// The variable with the path of a file that each call's name is appended to.
const LOG: &str = "CHAOS_TOKEN_LOG";

/// The calls of each function under the current plan.
#[derive(Default)]
struct CallCounts {
    /// The revision of the plan: calls are numbered from 1 under each new one.
    revision: u64,
    counts: HashMap<&'static str, u64>,
}

static COUNTS: Mutex<Option<CallCounts>> = Mutex::new(None);

/// Begins a call: it is counted, logged and delayed. `Some`: the call fails with this by the plan.
pub(crate) fn begin(function: &'static str) -> Option<CK_RV> {
    exit::register_thread();
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let counts_of_plan = counts.get_or_insert_default();
    let (plan, revision) = plan_file::current_with_revision();
    if counts_of_plan.revision != revision {
        counts_of_plan.revision = revision;
        counts_of_plan.counts.clear();
    }
    let number = counts_of_plan.counts.entry(function).or_default();
    *number += 1;
    let number = *number;
    log(function);
    // Other calls go on during a delay.
    drop(counts);
    #[expect(
        clippy::disallowed_methods,
        reason = "being slow is what was asked for"
    )]
    thread::sleep(plan.delay(function, number));
    if plan.hangs(function, number) {
        loop {
            thread::park();
        }
    }
    if let Some(lost) = plan_file::lost()
        && (lost.initialize || !matches!(function, "C_Initialize" | "C_Finalize"))
    {
        return Some(lost.code);
    }
    match plan.verdict(function, number) {
        Verdict::Pass => plan.outage.code(function),
        Verdict::Fail(code) => Some(code),
        // As a module with a bug; nothing is unwound through C.
        Verdict::Crash => process::abort(),
    }
}

fn log(function: &str) {
    let Some(log) = env::var_os(LOG) else {
        return;
    };
    // One write per line, so that lines of several processes do not mix. A test relies on the log, so a failure to
    // write it ends the process.
    let line = format!("{function}\n");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if written.is_err() {
        plan_file::give_up(&format!("the file of {LOG} cannot be written"));
    }
}
