//! The states of `status`, which are those of monitoring plugins (Nagios, Icinga, Checkmk and others): the number is the exit code,
//! and the word the first one of the output. And the thresholds: from how many days on a certificate is in which state.

use hsm_mtls::internal::exit_code::ExitCode;
use serde::{Deserialize, Serialize};

/// The state of an item, of an environment, or of all. The later one outweighs the earlier one: what is known to be wrong is said before
/// what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Ok,
    /// This user may not see it, or nobody has looked yet.
    Unknown,
    /// It will fail if nobody does anything.
    Warning,
    /// It fails, or will within days.
    Critical,
}

impl State {
    /// The word of the plugins' convention.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    /// The exit code of the plugins' convention. Its numbers have other meanings with the other commands.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::of(match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        })
    }
}

/// With fewer days left a certificate is a warning, or critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    pub(super) warn: u32,
    pub(super) crit: u32,
}

impl Thresholds {
    /// The state of something that ends in so many whole days; negative: it has ended.
    pub(super) fn judge(self, days_left: i64) -> State {
        match days_left {
            days if days < i64::from(self.crit) => State::Critical,
            days if days < i64::from(self.warn) => State::Warning,
            _ => State::Ok,
        }
    }
}

/// Parses `60d`.
pub(super) fn parse_days(text: &str) -> Result<u32, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    days.filter(|days| *days <= 36_500)
        .ok_or_else(|| "write days as 60d".to_owned())
}

/// `43 days left`, or how long ago that was.
pub(super) fn days_text(days_left: i64) -> String {
    match days_left {
        0.. => format!("{days_left} days left"),
        _ => format!("ended {} days ago", -days_left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_judged_by_two_thresholds() {
        let thresholds = Thresholds { warn: 60, crit: 30 };
        let judged = [60, 59, 30, 29, 0, -1].map(|days| thresholds.judge(days));
        use State as S;
        let expected = [
            S::Ok,
            S::Warning,
            S::Warning,
            S::Critical,
            S::Critical,
            S::Critical,
        ];
        assert_eq!(judged, expected);
        // An expired one is critical whatever the threshold.
        let thresholds = Thresholds { warn: 0, crit: 0 };
        assert_eq!(thresholds.judge(-1), State::Critical);
        assert_eq!(thresholds.judge(0), State::Ok);
    }

    #[test]
    fn days_are_written_with_their_unit() {
        assert_eq!(parse_days("60d"), Ok(60));
        for wrong in ["", "d", "60", "60h", "-1d", "1.5d", "36501d", "60 d"] {
            assert!(parse_days(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_exit_codes_are_those_of_monitoring_plugins() {
        let codes = [State::Ok, State::Warning, State::Critical, State::Unknown];
        assert_eq!(codes.map(|state| state.exit_code() as u8), [0, 1, 2, 3]);
        assert!(State::Critical > State::Warning && State::Warning > State::Unknown);
    }
}
