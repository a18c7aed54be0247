//! A rate limit: the token bucket.

use std::time::{Duration, Instant};

/// A bucket that is refilled with tokens at a rate, up to its capacity. Each event takes one; an event without a token is
/// over the limit.
#[derive(Debug)]
pub(super) struct TokenBucket {
    per_second: f64,
    capacity: f64,
    tokens: f64,
    refilled_at: Instant,
}

impl TokenBucket {
    /// A full bucket: `burst` events at once, and `per_second` events in each second.
    pub(super) fn new(per_second: f64, burst: u32, now: Instant) -> Self {
        Self {
            per_second,
            capacity: f64::from(burst),
            tokens: f64::from(burst),
            refilled_at: now,
        }
    }

    /// Takes a token; returns whether there was one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed: Duration = now.saturating_duration_since(self.refilled_at);
        let refill = elapsed.as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + refill).min(self.capacity);
        self.refilled_at = self.refilled_at.max(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// Puts a token back that was taken for nothing.
    pub(super) fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.capacity);
    }
}
