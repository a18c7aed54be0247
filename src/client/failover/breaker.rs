//! Whether a token that holds a key is asked: a circuit breaker for each. One signature that fails opens it; after that no
//! connection waits for this token, unless there is no other, until a challenge that is signed in the background has closed it again.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::engine::ReportedError;
use crate::poison::IgnorePoison as _;
use crate::rfc3339;

/// The delays between the challenges. A token that is back has its share within the longest and its own time to be found.
const PROBES: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));

/// The breaker of one token.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
}

/// Since when a token does not sign, and why.
#[derive(Clone, Debug)]
pub struct Open {
    /// RFC 3339
    pub since: String,
    /// Why the last signature failed.
    pub why: ReportedError,
    /// Challenges in vain since then.
    probes: u32,
}

impl Breaker {
    /// Since when the token does not sign; `None` if it does.
    pub(super) fn open(&self) -> Option<Open> {
        self.lock().open.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().open.is_none()
    }

    /// A signature failed. Returns whether it was the first: then the token has to be probed.
    pub(super) fn failed(&self, why: ReportedError) -> bool {
        let mut state = self.lock();
        if let Some(open) = &mut state.open {
            open.why = why;
            return false;
        }
        state.open = Some(Open {
            since: rfc3339::now(),
            why,
            probes: 0,
        });
        true
    }

    /// The delay before the next challenge; `None` if the token signs.
    pub(super) fn next_probe(&self) -> Option<Duration> {
        let mut state = self.lock();
        let open = state.open.as_mut()?;
        open.probes = open.probes.saturating_add(1);
        Some(PROBES.delay(open.probes))
    }

    /// The token signs. Returns whether it did not before.
    pub(super) fn close(&self) -> bool {
        self.lock().open.take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().ignore_poison()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;

    #[test]
    fn one_failure_opens_it_and_one_challenge_closes_it() {
        let breaker = Breaker::default();
        assert!(breaker.is_closed() && breaker.next_probe().is_none());
        let why = |class: &str| ReportedError {
            message: class.to_owned(),
            ..EngineError::Stopped.into()
        };
        assert!(breaker.failed(why("gone")));
        assert!(!breaker.failed(why("gone still")), "it is probed already");
        assert_eq!(breaker.open().unwrap().why.message, "gone still");
        let delays: Vec<_> = (0..5).filter_map(|_| breaker.next_probe()).collect();
        let millis: Vec<_> = delays.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [250, 500, 1000, 2000, 2000]);
        assert!(breaker.close() && !breaker.close());
        assert!(breaker.failed(why("gone")), "it is probed anew");
        assert_eq!(breaker.next_probe(), Some(Duration::from_millis(250)));
    }
}
