//! Points in time as `ledger show` takes them, and whether there can be a record between two of them: a question
//! that nothing can answer would be taken for "the key was never used".

use std::time::SystemTime;

use der::DateTime;

use super::super::CommandError;
use super::ShowArgs;

/// A point in time, or the beginning of one.
#[derive(Clone, Debug)]
pub(super) struct Time(pub(super) String);

/// How records write it, at its least.
const LEAST: &str = "0000-01-01T00:00:00.000000Z";

/// Reads a time, or as much of one as was given.
pub(super) fn time(text: &str) -> Result<Time, String> {
    let form =
        || "write a day as 2026-11-24, or a time as 2026-11-24T14:45:11; it is UTC".to_owned();
    let fits = |(given, form): (u8, u8)| match form {
        b'0'..=b'9' => given.is_ascii_digit(),
        other => given == other,
    };
    let whole = text.len() >= 10 && text.len() <= LEAST.len();
    if !whole || !text.bytes().zip(LEAST.bytes()).all(fits) {
        return Err(form());
    }
    let rest = LEAST.get(text.len()..).unwrap_or_default();
    // Without the fraction, which DER's times lack.
    let least = format!("{text}{rest}");
    let seconds = least.get(..19).unwrap_or_default();
    match format!("{seconds}Z").parse::<DateTime>() {
        Ok(_) => Ok(Time(text.to_owned())),
        Err(_) => Err(format!("there is no such time; {}", form())),
    }
}

/// Refuses what no record can be of.
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
    let ahead = |Time(time): &&Time| *time > now;
    let behind = |Time(time): &&Time| *time < now && !now.starts_with(time.as_str());
    if let (Some(Time(since)), false) = (since.as_ref().filter(ahead), follow) {
        let message = format!("--since {since} is in the future: no record is of then");
        return refused(
            message,
            &format!("times are UTC, and it is {now} now; --follow waits for what comes"),
        );
    }
    if let (Some(Time(until)), true) = (until.as_ref().filter(behind), follow) {
        let message = format!("--follow waits for what comes, and --until {until} is over");
        return refused(message, "leave out one of them");
    }
    Ok(())
}

fn now() -> String {
    let now = DateTime::from_system_time(SystemTime::now());
    now.map_or_else(|_| LEAST.to_owned(), |now| now.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_there_is_not_is_no_time() {
        for good in [
            "2026-11-24",
            "2024-02-29",
            "2026-11-24T",
            "2026-11-24T1",
            "2026-11-24T14:45",
            "2026-11-24T14:45:11",
            "2026-11-24T14:45:11.2",
            "2026-11-24T14:45:11.234567Z",
        ] {
            assert!(time(good).is_ok(), "{good}");
        }
        for wrong in [
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
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
