//! Points in time as reports, records and errors write them (RFC 3339, UTC).

use std::time::{Duration, SystemTime};

use der::DateTime;

/// So many seconds after the beginning of 1970.
pub fn of_unix(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds))
        .map_or_else(|_| "a time beyond 9999".to_owned(), |time| time.to_string())
}

/// The same, of this machine's clock; a clock before 1970 counts as its beginning.
pub fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// What this machine's clock says.
pub fn now() -> String {
    of_unix(unix_now())
}

/// The same with microseconds, for what comes many times a second.
pub fn precisely(time: SystemTime) -> String {
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
    fn a_time_is_written_in_utc_with_whole_seconds() {
        assert_eq!(of_unix(0), "1970-01-01T00:00:00Z");
        assert_eq!(of_unix(1_795_478_400), "2026-11-24T00:00:00Z");
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_042);
        assert_eq!(precisely(time), "1970-01-01T00:00:01.500042Z");
        assert_eq!(of_unix(u64::MAX), "a time beyond 9999");
    }
}
