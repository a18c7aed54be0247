//! How long our key has been published: the scheme asks to wait 10 minutes before a new key signs, and caches may have the set from
//! before for as long as they were told to keep it.

use std::time::{Duration, SystemTime};

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::client::jwks_fetch::FetchedSet;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::jwks::publication::{PublicationRecord, RecordError, WAIT};
use hsm_mtls::internal::rfc3339;
use url::Url;

use super::{CACHES, PUBLISHED};
use crate::check_steps::{Outcome, Steps};

/// Since when the key is published.
pub(super) struct Age {
    first_seen: u64,
    /// Until now.
    pub(super) seconds: u64,
}

impl Age {
    /// In RFC 3339.
    pub(super) fn first_seen(&self) -> String {
        rfc3339::of_unix(self.first_seen)
    }
}

/// Remembers that the key is published, or is not, and says since when.
pub(super) fn check(
    config: &Config,
    sig4: &Certificate,
    url: &Url,
    fetched: &FetchedSet,
    is_published: bool,
    steps: &mut Steps,
) -> Option<Age> {
    let now = rfc3339::unix_now();
    let of_token = config.token_of_sig4();
    let record = of_token
        .state_folder()
        .map(|folder| PublicationRecord::new(&folder, &sig4.x5t_s256(), url.as_str()));
    let hint = "let `state_dir` of [[token]] name a folder that this user can write to";
    let unknown = |error: &RecordError, steps: &mut Steps| {
        steps.fault(PUBLISHED, error.to_string(), hint, ExitCode::Finding);
    };
    let Some(record) = record else {
        let detail = "nowhere to remember since when: there is no `state_dir`";
        steps.fault(PUBLISHED, detail, hint, ExitCode::Finding);
        return None;
    };
    if !is_published {
        match record.not_seen(now) {
            Ok(()) => steps.seen(PUBLISHED, Outcome::NotReached, ""),
            Err(error) => unknown(&error, steps),
        }
        steps.seen(CACHES, Outcome::NotReached, "");
        return None;
    }
    // No key was published before its certificate began.
    let since = sig4
        .not_before_time()
        .duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default().as_secs();
    let earlier = unchanged_since(fetched, now).map(|earlier| earlier.max(since));
    let first_seen = match record.seen(now, earlier) {
        Ok(first_seen) => first_seen,
        Err(error) => {
            unknown(&error, steps);
            return None;
        }
    };
    let age = Age {
        first_seen,
        seconds: now - first_seen,
    };
    show_wait(&age, steps);
    show_caches(&age, fetched, steps);
    Some(age)
}

fn show_wait(age: &Age, steps: &mut Steps) {
    let (since, seconds) = (age.first_seen(), age.seconds);
    let until = rfc3339::of_unix(age.first_seen + WAIT.as_secs());
    match seconds < WAIT.as_secs() {
        true => steps.fault(
            PUBLISHED,
            format!("known to be published since {since}, {seconds} s ago: no signatures with it before {until}"),
            "the scheme asks to wait 10 minutes after the publication of a key, because verifiers cache the set: check again then",
            ExitCode::Finding,
        ),
        false => {
            let detail = format!("at least since {since}, {} min ago", seconds / 60);
            steps.seen(PUBLISHED, Outcome::Good, detail);
        }
    }
}

fn show_caches(age: &Age, fetched: &FetchedSet, steps: &mut Steps) {
    let on_the_way = match fetched.age {
        Some(seconds) => format!("; this answer came from a cache that has had it for {seconds} s"),
        None => String::new(),
    };
    let (outcome, detail) = match fetched.max_age {
        None => (
            Outcome::Note,
            "the server does not say how long the set may be cached (max-age)".to_owned(),
        ),
        Some(max_age) if age.seconds < max_age => {
            let until = rfc3339::of_unix(age.first_seen.saturating_add(max_age));
            let detail =
                format!("until {until} caches may serve the set from before (max-age {max_age} s)");
            (Outcome::Note, detail)
        }
        Some(max_age) => (
            Outcome::Good,
            format!("none may still have the set from before (max-age {max_age} s)"),
        ),
    };
    steps.seen(CACHES, outcome, detail + &on_the_way);
}

/// Since when the set is as it is, by `Last-Modified` (RFC 9110, section 8.8.2) and the server's own clock, in seconds after the Unix
/// epoch by ours.
fn unchanged_since(fetched: &FetchedSet, now: u64) -> Option<u64> {
    let time = |text: &Option<String>| httpdate::parse_http_date(text.as_deref()?).ok();
    let in_cache = Duration::from_secs(fetched.age.unwrap_or(0).min(now));
    let clock = time(&fetched.date).map_or_else(SystemTime::now, |date| date + in_cache);
    let unchanged_for = clock.duration_since(time(&fetched.last_modified)?).ok()?;
    now.checked_sub(unchanged_for.as_secs())
}
