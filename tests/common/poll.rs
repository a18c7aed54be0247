//! Waiting for what another process does, which tells nobody when its state changes.

use std::thread;
use std::time::{Duration, Instant};

/// How long is waited for anything.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Polls until the condition yields; `None` when it has not in time.
pub fn found<T>(condition: impl FnMut() -> Option<T>) -> Option<T> {
    found_within(PATIENCE, condition)
}

/// The same, of something that may take as long as this.
pub fn found_within<T>(patience: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(met) = condition() {
            return Some(met);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::park_timeout(POLL);
    }
}

/// Polls until the condition holds, and fails the test where it does not in time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let met = found(|| condition().then_some(()));
    assert!(met.is_some(), "{what}: not within {PATIENCE:?}");
}
