//! Functions that a device carries out only so often in a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::plan::Plan;

/// The times of the calls of the last second.
static CALLS: Mutex<Option<HashMap<String, Vec<Instant>>>> = Mutex::new(None);

/// The return value of a call that comes too soon after the others.
pub(crate) fn refusal(plan: &Plan, function: &str) -> Option<CK_RV> {
    let mut throttles = plan.limits.throttles.iter();
    let throttle = throttles.find(|throttle| throttle.function == function)?;
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let times = calls
        .get_or_insert_default()
        .entry(function.to_owned())
        .or_default();
    times.retain(|time| time.elapsed() < Duration::from_secs(1));
    if times.len() >= throttle.per_second {
        return Some(throttle.code);
    }
    times.push(Instant::now());
    None
}
