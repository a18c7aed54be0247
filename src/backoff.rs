//! Exponential backoff: how long to wait after so many failures in a row. Whoever waits counts the failures; the
//! policy is a constant beside it.

use std::time::Duration;

/// A delay that doubles with each failure in a row, up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// `first` after one failure, twice as long after each further one, never longer than `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The delay after so many failures in a row; none after no failure.
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
