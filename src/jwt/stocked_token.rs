//! A token in stock, and for how long it may be handed out: in the first half of its life, so that it does not expire on its way.

use std::time::{Duration, Instant};

use super::Token;
use crate::rfc3339;

/// A token that was minted ahead.
pub(super) struct StockedToken {
    pub(super) token: Token,
    /// Before it was signed.
    pub(super) minted_at: Instant,
}

impl StockedToken {
    /// When it is handed out no more.
    pub(super) fn ends_at(&self) -> Instant {
        self.minted_at + self.half_life()
    }

    /// Whether it is in the first half of its life, by both clocks: this machine's may have been set meanwhile.
    pub(super) fn is_young(&self, now: Instant) -> bool {
        let (half, issued) = (self.half_life(), self.token.issued_at());
        now.saturating_duration_since(self.minted_at) < half
            && (issued..=issued + half.as_secs()).contains(&rfc3339::unix_now())
    }

    /// Of the token itself: a reload may have changed `lifetime` since.
    fn half_life(&self) -> Duration {
        let token = &self.token;
        Duration::from_secs(token.expires_at().saturating_sub(token.issued_at())) / 2
    }
}
