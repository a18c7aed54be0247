//! Polls for something that the operating system does not let a thread wait for with a timeout: flock(2), the end of a
//! child process, a join.

use std::thread;
use std::time::{Duration, Instant};

/// Calls `attempt` at this interval until it returns something. `None`: it had returned nothing when the deadline
/// passed; it is called at least once.
pub(crate) fn poll_until<T>(
    deadline: Instant,
    interval: Duration,
    mut attempt: impl FnMut() -> Option<T>,
) -> Option<T> {
    loop {
        if let Some(result) = attempt() {
            return Some(result);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::park_timeout(interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_ends_with_a_result_or_at_the_deadline() {
        let interval = Duration::from_millis(1);
        let mut calls = 0;
        let mut third = || {
            calls += 1;
            (calls == 3).then_some(calls)
        };
        let soon = Instant::now() + Duration::from_secs(60);
        assert_eq!(poll_until(soon, interval, &mut third), Some(3));
        let started = Instant::now();
        let deadline = started + Duration::from_millis(20);
        assert_eq!(poll_until(deadline, interval, || None::<()>), None);
        assert!(started.elapsed() >= Duration::from_millis(20));
        assert_eq!(poll_until(started, interval, || Some(())), Some(()));
    }
}
