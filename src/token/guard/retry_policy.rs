//! The retry policy of a role: the history of its login attempts, whatever PIN source they were made with, and whether the next is allowed. These are rules
//! only: `attempt_file` keeps the history on disk, and the caller gives the time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::refused_pin_versions::RefusedVersions;
use crate::backoff::Backoff;

/// The number of consecutive refusals, of any version, after which an operator has to intervene. HSMs lock after three, and
/// a source may have a new version at each start without a correction (a new file in a new container).
const MAX_CONSECUTIVE_REFUSALS: u32 = 2;
/// The maximum number of consecutive attempts without an answer about the PIN, for a PIN that was never accepted.
const MAX_UNANSWERED: u32 = 2;
/// The maximum number of consecutive attempts during which the process ended, for a PIN that was accepted before. More are
/// not explained by an outage.
const MAX_INTERRUPTED: u32 = 6;
/// The number of consecutive attempts without an answer before the backoff begins.
const IMMEDIATE_RETRIES: u32 = 3;
/// The delay before each further attempt.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// It has begun and not ended: it is in progress, or the process ended during it.
    #[serde(rename = "attempt")]
    Unfinished,
    Good,
    Refused,
    /// C_Login failed, and not because of the PIN as far as its return value shows.
    Failed,
}

/// The history of the attempts of one role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AttemptHistory {
    pub(super) last: Outcome,
    /// When the last attempt began, in seconds since 1970.
    pub(super) at: u64,
    /// The error that C_Login returned.
    pub(super) answer: Option<String>,
    /// The source's version in the last attempt.
    version: String,
    /// Whether the token has accepted this version.
    good: bool,
    /// Consecutive attempts without an answer about the PIN, the last one included.
    pub(super) unanswered: u32,
    /// The versions that the token refused.
    refused: RefusedVersions,
    /// Consecutive refusals since a PIN was accepted.
    pub(super) refused_in_a_row: u32,
}

/// Why the next attempt is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryDenied {
    /// The token refused this version.
    Refused,
    /// The token refused several versions in a row.
    RefusedInARow,
    /// Earlier attempts had no answer about the PIN, and each may count as a wrong PIN.
    Unanswered,
    /// The next attempt is allowed in so many seconds.
    TooSoon(u64),
}

impl AttemptHistory {
    /// Checks that the source's current version may be sent without an operator's confirmation.
    pub(super) fn allows(&self, version: &str, now: u64) -> Result<(), RetryDenied> {
        if self.refused.contains(version) {
            return Err(RetryDenied::Refused);
        }
        if self.refused_in_a_row >= MAX_CONSECUTIVE_REFUSALS {
            return Err(RetryDenied::RefusedInARow);
        }
        if self.unanswered == 0 {
            return Ok(());
        }
        let is_same_version = self.version == version;
        if self.good && is_same_version {
            if self.last == Outcome::Unfinished && self.unanswered >= MAX_INTERRUPTED {
                return Err(RetryDenied::Unanswered);
            }
            let wait = BACKOFF
                .delay(self.unanswered.saturating_sub(IMMEDIATE_RETRIES))
                .as_secs();
            // If the clock was set back, the delay is repeated once.
            return match wait.saturating_sub(now.saturating_sub(self.at)) {
                0 => Ok(()),
                rest => Err(RetryDenied::TooSoon(rest)),
            };
        }
        let interrupted = self.last == Outcome::Unfinished && is_same_version;
        if interrupted || self.unanswered >= MAX_UNANSWERED {
            return Err(RetryDenied::Unanswered);
        }
        Ok(())
    }

    /// The history with a new attempt that has begun.
    pub(super) fn begin_attempt(before: Option<&Self>, version: String, now: u64) -> Self {
        let same = before.filter(|before| before.version == version);
        Self {
            last: Outcome::Unfinished,
            at: now,
            answer: None,
            good: same.is_some_and(|before| before.good),
            unanswered: before
                .map_or(0, |before| before.unanswered)
                .saturating_add(1),
            refused: before
                .map(|before| before.refused.clone())
                .unwrap_or_default(),
            refused_in_a_row: before.map_or(0, |before| before.refused_in_a_row),
            version,
        }
    }

    /// The history with the outcome of the last attempt.
    pub(super) fn end_attempt(mut self, last: Outcome, answer: Option<String>) -> Self {
        self.last = last;
        self.answer = answer;
        match last {
            Outcome::Good => {
                self.good = true;
                self.unanswered = 0;
                self.refused_in_a_row = 0;
                self.refused.remove(&self.version);
            }
            Outcome::Refused => {
                self.good = false;
                self.unanswered = 0;
                self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
                self.refused.add(&self.version);
            }
            Outcome::Failed | Outcome::Unfinished => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each start: the source's version, and how its login ends.
    fn after(starts: &[(&str, Outcome)]) -> AttemptHistory {
        let history = starts
            .iter()
            .fold(None, |before: Option<AttemptHistory>, (version, end)| {
                let history =
                    AttemptHistory::begin_attempt(before.as_ref(), (*version).to_owned(), 1000);
                Some(match end {
                    Unfinished => history,
                    end => history.end_attempt(*end, None),
                })
            });
        history.expect("a start at least")
    }

    fn allows(
        starts: &[(&str, Outcome)],
        version: &str,
        seconds_later: u64,
    ) -> Result<(), RetryDenied> {
        after(starts).allows(version, 1000 + seconds_later)
    }

    use Outcome::{Failed, Good, Refused, Unfinished};

    #[test]
    fn one_refusal_blocks_its_version_and_a_second_blocks_all() {
        assert_eq!(
            allows(&[("1", Refused)], "1", 9999),
            Err(RetryDenied::Refused)
        );
        assert_eq!(allows(&[("1", Refused)], "2", 0), Ok(()));
        let twice = [("1", Refused), ("2", Refused)];
        assert_eq!(allows(&twice, "2", 9999), Err(RetryDenied::Refused));
        assert_eq!(allows(&twice, "1", 9999), Err(RetryDenied::Refused));
        assert_eq!(allows(&twice, "3", 9999), Err(RetryDenied::RefusedInARow));
        // An accepted version in between resets the count, and the refused versions stay blocked.
        let between = [("1", Refused), ("2", Good), ("3", Refused)];
        assert_eq!(allows(&between, "1", 0), Err(RetryDenied::Refused));
        assert_eq!(allows(&between, "2", 0), Ok(()));
    }

    #[test]
    fn a_crash_with_a_pin_that_was_never_accepted_counts_as_an_attempt() {
        assert_eq!(
            allows(&[("1", Unfinished)], "1", 9999),
            Err(RetryDenied::Unanswered)
        );
        assert_eq!(allows(&[("1", Unfinished)], "2", 0), Ok(()));
        let twice = [("1", Unfinished), ("2", Unfinished)];
        assert_eq!(allows(&twice, "3", 9999), Err(RetryDenied::Unanswered));
        let failed = [("1", Failed)];
        assert_eq!(allows(&failed, "1", 0), Ok(()));
        let failed = [("1", Failed), ("1", Failed)];
        assert_eq!(allows(&failed, "1", 9999), Err(RetryDenied::Unanswered));
    }

    #[test]
    fn an_outage_delays_attempts_with_an_accepted_pin_and_does_not_block_them() {
        let mut starts = vec![("1", Good)];
        for _ in 0..IMMEDIATE_RETRIES {
            starts.push(("1", Failed));
            assert_eq!(allows(&starts, "1", 0), Ok(()));
        }
        starts.push(("1", Failed));
        assert_eq!(allows(&starts, "1", 0), Err(RetryDenied::TooSoon(2)));
        assert_eq!(allows(&starts, "1", 2), Ok(()));
        starts.extend([("1", Failed); 40]);
        assert_eq!(allows(&starts, "1", 1), Err(RetryDenied::TooSoon(59)));
        assert_eq!(allows(&starts, "1", 60), Ok(()));
        starts.push(("1", Good));
        assert_eq!(allows(&starts, "1", 0), Ok(()));
    }

    #[test]
    fn repeated_kills_during_the_login_block_an_accepted_pin() {
        let mut starts = vec![("1", Good)];
        starts.extend([("1", Unfinished); 2]);
        assert_eq!(
            allows(&starts, "1", 0),
            Ok(()),
            "two starts that were killed"
        );
        starts.extend([("1", Unfinished); 4]);
        assert_eq!(allows(&starts, "1", 9999), Err(RetryDenied::Unanswered));
        // That one version was accepted means nothing for another.
        let other = [("1", Good), ("2", Unfinished)];
        assert_eq!(allows(&other, "2", 9999), Err(RetryDenied::Unanswered));
    }
}
