//! The session limit of an engine: the configured one, or a lower one after the token returned CKR_SESSION_COUNT.

use std::time::{Duration, Instant};

/// How long a lowered limit is in force. Other users of the token may have closed sessions by then.
const LOWERED_FOR: Duration = Duration::from_secs(60);

/// The limit that is in force.
#[derive(Debug)]
pub(super) struct SessionLimit {
    configured: usize,
    current: usize,
    lowered_at: Option<Instant>,
    /// The lowest limit that was logged: only a lower one is logged again.
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

    /// Lowers the limit to `open`, the number of open sessions, because the token refused a further one.
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

    /// Restores the configured limit if the lowered one has been in force for long enough.
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
