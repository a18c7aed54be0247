//! Timestamps of reports, records and errors: RFC 3339, in UTC.

use std::time::{Duration, SystemTime};

use der::DateTime;

/// The time that is this many seconds after the Unix epoch.
pub fn of_unix(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds))
        .map_or_else(|_| "a time beyond 9999".to_owned(), |time| time.to_string())
}

/// The current time in seconds after the Unix epoch; 0 if this machine's clock is before it.
pub fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The current time, with whole seconds.
pub fn now() -> String {
    of_unix(unix_now())
}

/// A time with microseconds.
pub fn with_micros(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let whole = of_unix(since.as_secs());
    format!(
        "{}.{:06}Z",
        whole.trim_end_matches('Z'),
        since.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_seconds_or_microseconds() {
        assert_eq!(of_unix(0), "1970-01-01T00:00:00Z");
        assert_eq!(of_unix(1_795_478_400), "2026-11-24T00:00:00Z");
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_042);
        assert_eq!(with_micros(time), "1970-01-01T00:00:01.500042Z");
        assert_eq!(of_unix(u64::MAX), "a time beyond 9999");
    }
}
