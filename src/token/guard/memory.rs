//! What is remembered of a PIN source, and what it allows. No file and no clock of its own: only
//! the rules.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;

/// Refused in a row, whatever the source gave: then a person has to look. HSMs lock after three,
/// and a source may change at each start without being corrected (a new file in a new container).
const REFUSED_IN_A_ROW: u32 = 2;
/// Logins in a row without an answer about a PIN that never was good.
const UNANSWERED: u32 = 2;
/// The same for one that was good before: by then it is not an outage that ends by itself.
const CUT_SHORT: u32 = 6;
/// Without an answer in a row, before the next has to wait.
const UNDELAYED: u32 = 3;
/// Between the attempts after those.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
/// Refused versions that are remembered.
const VERSIONS: usize = 16;

/// How the last try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Last {
    /// It began, and nobody lived to see its end.
    Attempt,
    Good,
    Refused,
    /// C_Login failed, and did not say that the PIN was the reason.
    Failed,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) last: Last,
    /// When the last try began, in seconds since 1970.
    pub(super) at: u64,
    /// What the module answered to it.
    pub(super) answer: Option<String>,
    /// Tells versions of the source apart; none where they cannot be told apart.
    version: Option<String>,
    /// Whether this version was good before.
    good: bool,
    /// Tries in a row without an answer about the PIN, the last one included.
    pub(super) unanswered: u32,
    /// The versions that were refused.
    refused: Vec<Option<String>>,
    /// Refusals since a PIN was good.
    pub(super) refused_in_a_row: u32,
}

/// Why nothing may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// This version was refused.
    Refused,
    /// One version after the other was.
    RefusedInARow,
    /// Each try may have cost one.
    Unanswered,
    /// The next try is allowed in so many seconds.
    TooSoon(u64),
}

impl Memory {
    /// Whether what the source gives now may be sent without asking a person.
    pub(super) fn allows(&self, version: Option<&str>, now: u64) -> Result<(), HeldBack> {
        if self
            .refused
            .iter()
            .any(|refused| refused.as_deref() == version)
        {
            return Err(HeldBack::Refused);
        }
        if self.refused_in_a_row >= REFUSED_IN_A_ROW {
            return Err(HeldBack::RefusedInARow);
        }
        if self.unanswered == 0 {
            return Ok(());
        }
        let same = self.version.as_deref() == version;
        if self.good && same {
            if self.last == Last::Attempt && self.unanswered >= CUT_SHORT {
                return Err(HeldBack::Unanswered);
            }
            let wait = BACKOFF
                .delay(self.unanswered.saturating_sub(UNDELAYED))
                .as_secs();
            // A clock that was set back makes it wait once more, not for ever.
            return match wait.saturating_sub(now.saturating_sub(self.at)) {
                0 => Ok(()),
                rest => Err(HeldBack::TooSoon(rest)),
            };
        }
        let crashed_with_it = self.last == Last::Attempt && same;
        if crashed_with_it || self.unanswered >= UNANSWERED {
            return Err(HeldBack::Unanswered);
        }
        Ok(())
    }

    /// A try begins.
    pub(super) fn attempt(before: Option<&Self>, version: Option<String>, now: u64) -> Self {
        let same = before.filter(|before| before.version == version);
        Self {
            last: Last::Attempt,
            at: now,
            answer: None,
            good: same.is_some_and(|before| before.good),
            unanswered: before
                .map_or(0, |before| before.unanswered)
                .saturating_add(1),
            refused: before.map_or_else(Vec::new, |before| before.refused.clone()),
            refused_in_a_row: before.map_or(0, |before| before.refused_in_a_row),
            version,
        }
    }

    /// It ended.
    pub(super) fn ended(mut self, last: Last, answer: Option<String>) -> Self {
        self.last = last;
        self.answer = answer;
        match last {
            Last::Good => {
                self.good = true;
                self.unanswered = 0;
                self.refused_in_a_row = 0;
                // The token changed its mind: it was reset, say.
                self.refused.retain(|refused| *refused != self.version);
            }
            Last::Refused => {
                self.good = false;
                self.unanswered = 0;
                self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
                if !self.refused.contains(&self.version) {
                    self.refused.push(self.version.clone());
                }
                let excess = self.refused.len().saturating_sub(VERSIONS);
                self.refused.drain(..excess);
            }
            Last::Failed | Last::Attempt => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One start after the other: the version that the source gives, and how its login ends.
    fn after(starts: &[(&str, Last)]) -> Memory {
        let memory = starts
            .iter()
            .fold(None, |before: Option<Memory>, (version, end)| {
                let begun = Memory::attempt(before.as_ref(), Some((*version).to_owned()), 1000);
                Some(match end {
                    Attempt => begun,
                    end => begun.ended(*end, None),
                })
            });
        memory.expect("a start at least")
    }

    fn allows(starts: &[(&str, Last)], version: &str, seconds_later: u64) -> Result<(), HeldBack> {
        after(starts).allows(Some(version), 1000 + seconds_later)
    }

    use Last::{Attempt, Failed, Good, Refused};

    #[test]
    fn a_refusal_holds_until_the_source_changes_and_a_second_until_a_person_comes() {
        assert_eq!(allows(&[("1", Refused)], "1", 9999), Err(HeldBack::Refused));
        assert_eq!(allows(&[("1", Refused)], "2", 0), Ok(()));
        let twice = [("1", Refused), ("2", Refused)];
        assert_eq!(allows(&twice, "2", 9999), Err(HeldBack::Refused));
        assert_eq!(allows(&twice, "1", 9999), Err(HeldBack::Refused));
        assert_eq!(allows(&twice, "3", 9999), Err(HeldBack::RefusedInARow));
        // A good one in between begins the count anew, and does not forget the others.
        let between = [("1", Refused), ("2", Good), ("3", Refused)];
        assert_eq!(allows(&between, "1", 0), Err(HeldBack::Refused));
        assert_eq!(allows(&between, "2", 0), Ok(()));
    }

    #[test]
    fn a_crash_with_a_pin_that_never_was_good_is_a_try() {
        assert_eq!(
            allows(&[("1", Attempt)], "1", 9999),
            Err(HeldBack::Unanswered)
        );
        assert_eq!(allows(&[("1", Attempt)], "2", 0), Ok(()));
        let twice = [("1", Attempt), ("2", Attempt)];
        assert_eq!(allows(&twice, "3", 9999), Err(HeldBack::Unanswered));
        let failed = [("1", Failed)];
        assert_eq!(allows(&failed, "1", 0), Ok(()));
        let failed = [("1", Failed), ("1", Failed)];
        assert_eq!(allows(&failed, "1", 9999), Err(HeldBack::Unanswered));
    }

    #[test]
    fn an_outage_does_not_hold_back_a_pin_that_was_good_but_spaces_its_tries() {
        let mut starts = vec![("1", Good)];
        for _ in 0..UNDELAYED {
            starts.push(("1", Failed));
            assert_eq!(allows(&starts, "1", 0), Ok(()));
        }
        starts.push(("1", Failed));
        assert_eq!(allows(&starts, "1", 0), Err(HeldBack::TooSoon(2)));
        assert_eq!(allows(&starts, "1", 2), Ok(()));
        starts.extend([("1", Failed); 40]);
        assert_eq!(allows(&starts, "1", 1), Err(HeldBack::TooSoon(59)));
        assert_eq!(allows(&starts, "1", 60), Ok(()));
        starts.push(("1", Good));
        assert_eq!(allows(&starts, "1", 0), Ok(()));
    }

    #[test]
    fn killed_within_the_login_time_and_again() {
        let mut starts = vec![("1", Good)];
        starts.extend([("1", Attempt); 2]);
        assert_eq!(
            allows(&starts, "1", 0),
            Ok(()),
            "two starts that were killed"
        );
        starts.extend([("1", Attempt); 4]);
        assert_eq!(allows(&starts, "1", 9999), Err(HeldBack::Unanswered));
        // What was good of one version says nothing of another.
        let other = [("1", Good), ("2", Attempt)];
        assert_eq!(allows(&other, "2", 9999), Err(HeldBack::Unanswered));
    }
}
