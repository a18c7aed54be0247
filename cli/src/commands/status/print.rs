//! The screen: one line that says it all, which monitoring takes, then a line for each item, and what to do next in the order of
//! its dates.

use super::super::{CommandError, output};
use super::report::{Action, EnvironmentReport, Item, Report};
use crate::check_steps::plain;

/// The length of a date, as `2026-11-30`.
const DATE_LEN: usize = 10;

/// The line that monitoring takes.
pub(super) fn first_line(report: &Report) -> Result<(), CommandError> {
    output::state_line(report.state(), &printable(&report.summary()))
}

/// The same with the figures behind it; it is not wrapped.
pub(super) fn brief(report: &Report) -> Result<(), CommandError> {
    let (word, summary) = (report.state().word(), printable(&report.summary()));
    let line = format!("hsm-mtls {word}: {summary}");
    match report.figures() {
        figures if figures.is_empty() => output::unwrapped(&line),
        figures => output::unwrapped(&format!("{line} | {figures}")),
    }
}

pub(super) fn screen(report: &Report) -> Result<(), CommandError> {
    first_line(report)?;
    report.environments.iter().try_for_each(environment)
}

fn environment(report: &EnvironmentReport) -> Result<(), CommandError> {
    output::line("")?;
    let file = &report.configuration;
    output::heading(&match &report.environment {
        Some(environment) => format!("{environment} ({file})"),
        None => file.clone(),
    })?;
    let longest = report.items.iter().map(|item| item.about.len()).max();
    for Item {
        about, state, text, ..
    } in &report.items
    {
        output::state_row(*state, about, longest.unwrap_or(0), &printable(text))?;
    }
    if report.next.is_empty() {
        return Ok(());
    }
    output::heading("next")?;
    let rows: Vec<_> = report.next.iter().map(row).collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|(when, what)| (when.as_str(), what.clone()))
        .collect();
    output::fields(&rows)
}

/// `2027-01-12 (43 days)`, and what to do.
fn row(action: &Action) -> (String, String) {
    let day = action
        .by
        .as_ref()
        .map(|by| by.get(..DATE_LEN).unwrap_or(by).to_owned());
    let when = match (day, action.days_left) {
        (Some(day), Some(days @ ..0)) => format!("{day} ({} days ago)", -days),
        (Some(day), Some(days)) => format!("{day} ({days} days)"),
        (Some(day), None) => day,
        (None, _) => "now".to_owned(),
    };
    let what = match &action.command {
        Some(command) => format!("{}: `{command}`", action.text),
        None => action.text.clone(),
    };
    (when, printable(&what))
}

/// Parts of a text may come from another process, or from a certificate.
fn printable(text: &str) -> String {
    text.chars().map(plain).collect()
}
