//! Exponential backoff: the delay before the next attempt, by the number of consecutive failures. The caller counts the
//! failures; its policy is a constant in its own module.

use std::time::Duration;

/// A delay that doubles with each consecutive failure, up to a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// A policy with the delay `first` after one failure, doubled by each further one, at most `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The delay after this many consecutive failures; zero after none.
    pub fn delay(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound_and_never_overflows() {
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        let millis = |failures| backoff.delay(failures).as_millis();
        assert_eq!(
            [0, 1, 2, 3, 5, 6].map(millis),
            [0, 250, 500, 1000, 4000, 5000]
        );
        assert_eq!(millis(u32::MAX), 5000);
        let long = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(long.delay(u32::MAX), Duration::MAX);
    }
}
