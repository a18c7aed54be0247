//! How many tokens are worth keeping in stock, by how many were taken lately: a stock that is too large costs the HSM signatures
//! that nobody uses, and one that is too small has requests wait.

use std::time::{Duration, Instant};

/// The number of tokens that are kept without any calls.
const MIN_TOKENS: usize = 2;
/// The largest number that is kept.
const MAX_TOKENS: usize = 256;
/// The stock is what was taken in this time.
const STOCK_TIME: Duration = Duration::from_millis(250);
/// The time in which the memory of a demand is halved.
const HALF_LIFE: Duration = Duration::from_secs(10);
/// The rate at which tokens are taken, per second, where what is longer ago counts less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    peak: f64,
    in_window: u32,
    window: Instant,
    at: Instant,
}

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            peak: 0.0,
            in_window: 0,
            window: now,
            at: now,
        }
    }

    /// One token is taken.
    pub(super) fn count(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window) >= STOCK_TIME {
            self.window = now;
            self.in_window = 0;
        }
        self.in_window += 1;
        self.decay(now);
        self.peak = self.peak.max(f64::from(self.in_window));
    }

    /// The number of tokens to keep: the most that were taken within `STOCK_TIME` lately, and a quarter more.
    pub(super) fn stock(&mut self, now: Instant) -> usize {
        self.decay(now);
        ((self.peak * 1.25).ceil() as usize).clamp(MIN_TOKENS, MAX_TOKENS)
    }

    fn decay(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        self.at = now;
        self.peak *= 0.5_f64.powf(elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_follows_the_demand_and_forgets_it() {
        let start = Instant::now();
        let mut demand = Demand::new(start);
        assert_eq!(demand.stock(start), MIN_TOKENS);
        for _ in 0..40 {
            demand.count(start);
        }
        assert_eq!(demand.stock(start), 50);
        assert_eq!(demand.stock(start + HALF_LIFE), 25);
        assert_eq!(demand.stock(start + HALF_LIFE * 20), MIN_TOKENS);
        for _ in 0..10_000 {
            demand.count(start + HALF_LIFE * 20);
        }
        assert_eq!(demand.stock(start + HALF_LIFE * 20), MAX_TOKENS);
    }
}
