//! `--since` and `--until` of `ledger show`. A range that no record can be in is an error: its empty result would be read as
//! "the key was not used".

use std::time::SystemTime;

use der::DateTime;

use super::super::CommandError;
use super::ShowArgs;

/// A time of RFC 3339 in UTC, or a prefix of one: a day, an hour.
#[derive(Clone, Debug)]
pub(super) struct Time(pub(super) String);

/// The earliest time, as records write it.
const EARLIEST: &str = "0000-01-01T00:00:00.000000Z";

/// Parses a time or a prefix of one.
pub(super) fn parse_time(text: &str) -> Result<Time, String> {
    let format_hint =
        || "write a day as 2026-11-24, or a time as 2026-11-24T14:45:11; it is UTC".to_owned();
    let matches_format = |(typed, expected): (u8, u8)| match expected {
        b'0'..=b'9' => typed.is_ascii_digit(),
        other => typed == other,
    };
    let length_fits = text.len() >= 10 && text.len() <= EARLIEST.len();
    if !length_fits || !text.bytes().zip(EARLIEST.bytes()).all(matches_format) {
        return Err(format_hint());
    }
    let suffix = EARLIEST.get(text.len()..).unwrap_or_default();
    // Without the fraction of a second, which a DER time cannot have.
    let completed = format!("{text}{suffix}");
    let seconds = completed.get(..19).unwrap_or_default();
    match format!("{seconds}Z").parse::<DateTime>() {
        Ok(_) => Ok(Time(text.to_owned())),
        Err(_) => Err(format!("there is no such time; {}", format_hint())),
    }
}

/// Refuses a range that no record can be in.
pub(super) fn check(args: &ShowArgs) -> Result<(), CommandError> {
    let refused = |message: String, hint: &str| Err(CommandError::usage(message, hint));
    let ShowArgs {
        since,
        until,
        follow,
        ..
    } = args;
    if let (Some(Time(since)), Some(Time(until))) = (since, until)
        && since > until
        && !since.starts_with(until.as_str())
    {
        let message = format!("--since {since} is after --until {until}: no record is of both");
        return refused(message, "exchange them, or leave out one of them");
    }
    let now = now();
    let in_future = |Time(time): &&Time| *time > now;
    let in_past = |Time(time): &&Time| *time < now && !now.starts_with(time.as_str());
    if let (Some(Time(since)), false) = (since.as_ref().filter(in_future), follow) {
        let message = format!("--since {since} is in the future: no record is of then");
        return refused(
            message,
            &format!("times are UTC, and it is {now} now; --follow waits for what comes"),
        );
    }
    if let (Some(Time(until)), true) = (until.as_ref().filter(in_past), follow) {
        let message = format!("--follow waits for what comes, and --until {until} is over");
        return refused(message, "leave out one of them");
    }
    Ok(())
}

fn now() -> String {
    let now = DateTime::from_system_time(SystemTime::now());
    now.map_or_else(|_| EARLIEST.to_owned(), |now| now.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_that_exist_are_parsed() {
        for valid in [
            "2026-11-24",
            "2024-02-29",
            "2026-11-24T",
            "2026-11-24T1",
            "2026-11-24T14:45",
            "2026-11-24T14:45:11",
            "2026-11-24T14:45:11.2",
            "2026-11-24T14:45:11.234567Z",
        ] {
            assert!(parse_time(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "2026",
            "2026-11",
            "24.11.2026",
            "2026-13-01",
            "2026-00-10",
            "2026-11-31",
            "2025-02-29",
            "2026-11-24T24:00",
            "2026-11-24T9",
            "2026-11-24T14:60",
            "2026-11-24T14:45:61",
            "2026-11-24 14:45",
            "2026-11-24T14:45:11+04:00",
            "2026-11-24T14:45:11.2345678Z",
            "yesterday",
            "２026-11-24",
        ] {
            assert!(parse_time(invalid).is_err(), "{invalid}");
        }
    }
}
