//! How many sessions an engine may have: as configured, or as few as the token showed that it gives
//! (CKR_SESSION_COUNT).

use std::time::{Duration, Instant};

/// How long a lowered limit holds. Other users of the token may have closed sessions by then.
const LOWERED_FOR: Duration = Duration::from_secs(60);

/// The limit that is in force.
#[derive(Debug)]
pub(super) struct SessionLimit {
    configured: usize,
    current: usize,
    lowered_at: Option<Instant>,
    /// The lowest that was logged: each further reduction is logged once.
    lowest_logged: usize,
}

impl SessionLimit {
    pub(super) fn new(configured: usize) -> Self {
        Self {
            configured,
            current: configured,
            lowered_at: None,
            lowest_logged: configured,
        }
    }

    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// The token refused one more session beside the `open` ones.
    pub(super) fn lower(&mut self, open: usize, now: Instant) {
        if open < self.lowest_logged {
            self.lowest_logged = open;
            tracing::warn!(
                sessions = open,
                "the token gives no further session; going on with fewer"
            );
        }
        self.current = self.current.min(open);
        self.lowered_at = Some(now);
    }

    #[cfg(test)]
    pub(super) fn expire(&mut self) {
        self.lowered_at = Instant::now().checked_sub(LOWERED_FOR);
    }

    /// Goes back to the configured limit when the lowered one has held long enough.
    pub(super) fn restore_if_due(&mut self, now: Instant) {
        let due = |lowered_at| now.saturating_duration_since(lowered_at) >= LOWERED_FOR;
        if self.lowered_at.is_some_and(due) {
            self.current = self.configured;
            self.lowered_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_limit_is_restored_after_its_time() {
        let now = Instant::now();
        let mut limit = SessionLimit::new(3);
        limit.lower(1, now);
        limit.lower(2, now);
        assert_eq!(limit.current(), 1);
        limit.restore_if_due(now + LOWERED_FOR / 2);
        assert_eq!(limit.current(), 1);
        limit.restore_if_due(now + LOWERED_FOR);
        assert_eq!(limit.current(), 3);
    }
}
