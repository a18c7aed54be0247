//! Rotations that are under way: where each is, what comes next, and by when.

use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::rfc3339;
use serde_json::{Value, json};

use super::super::CommandError;
use super::super::rotate::{Progress, progress};
use super::environment::Subject;
use super::report::Found;
use super::state::{State, days_text};

const ABOUT: &str = "rotation";
/// How long after the switch the old key may be left, in seconds. A day is what `rotate retire` waits for.
const RETIRE_WITHIN: u64 = 7 * 86_400;

/// The rotation of the view's role.
pub(super) fn of(subject: &Subject<'_>, view: &Config) -> Result<Option<Progress>, CommandError> {
    let report = subject.proxy.report();
    let in_proxy = report.and_then(|report| match view.c3.role {
        KeyRole::C3 => report["certificate"]["x5t_s256"].as_str(),
        KeyRole::Sig4 => report["jwt"]["kid"].as_str(),
    });
    let recent = subject.recent.and_then(|recent| recent.as_ref().ok());
    let recent = recent.map(|recent| recent.records.as_slice());
    progress(subject.config, view, in_proxy, recent)
}

/// Adds those of all roles.
pub(super) fn add(
    found: &mut Found,
    subject: &Subject<'_>,
    rotations: &[(KeyRole, Result<Option<Progress>, CommandError>)],
) {
    let mut details = Vec::new();
    for (role, rotation) in rotations {
        match rotation {
            Ok(None) => {}
            Ok(Some(progress)) => details.push(under_way(found, subject, *role, progress)),
            Err(error) => {
                let text = format!("not known for {}: {error}", role.name());
                found.item(ABOUT, State::Unknown, text);
            }
        }
    }
    if rotations
        .iter()
        .all(|(_, rotation)| matches!(rotation, Ok(None)))
    {
        found.item(ABOUT, State::Ok, "none is under way");
    }
    found.details.insert("rotations".to_owned(), details.into());
}

fn under_way(
    found: &mut Found,
    subject: &Subject<'_>,
    role: KeyRole,
    progress: &Progress,
) -> Value {
    let left = progress.days_left.unwrap_or_default();
    // After the switch it is the new certificate that counts, and the old key that is to go.
    let is_left = progress
        .switched
        .is_some_and(|at| rfc3339::unix_now() > at + RETIRE_WITHIN);
    let (state, overdue) = match progress.is_before_switch {
        true => match subject.thresholds.judge(left) {
            State::Critical => (State::Critical, "OVERDUE, "),
            state => (state, ""),
        },
        false if is_left => (State::Warning, "NOT ENDED, "),
        false => (State::Ok, ""),
    };
    let text = format!(
        "{}: {overdue}{}, begun {}; the old certificate: {}",
        role.name(),
        progress.description,
        progress.begun,
        days_text(left)
    );
    found.item(ABOUT, state, text);
    let not_before = progress.not_before.map(rfc3339::of_unix);
    let wait = not_before
        .as_ref()
        .map_or(String::new(), |time| format!(" (not before {time})"));
    let text = format!("rotation of {}: {}{wait}", role.name(), progress.next);
    found.act_by(&progress.by, left, text, None);
    json!({
        "role": role.section(),
        "stage": progress.stage,
        "begun": progress.begun,
        "configured": progress.configured,
        "next": progress.next,
        "not_before": not_before,
        "by": progress.by,
    })
}
