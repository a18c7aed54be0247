//! Prints results on standard output, errors and notes on standard error: with colour on a terminal, as plain text in a
//! pipe.

use std::io::{self, IsTerminal as _, Write};

use crate::audit::Verdict;
use crate::check_steps::{Outcome, Step, plain};
use anstyle::{AnsiColor, Style};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::standard_error;
use serde::Serialize;
use serde_json::json;
use textwrap::core::display_width;

use super::line_wrap::{columns, two_columns, wrap};
use super::status::state::State;
use super::{CommandError, json_notes};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default().bold();
const FAINT: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

/// Prints an error and the next step to standard error.
pub(crate) fn failure(error: &CommandError, as_json: bool) -> ExitCode {
    let (hint, code) = (error.hint(), error.exit_code());
    if as_json {
        let mut object =
            json!({ "schema": 0, "error": error.to_string(), "hint": hint, "exit": code as u8 });
        let notes = json_notes::take();
        if !notes.is_empty() {
            object["notes"] = notes.into();
        }
        to_stderr(&escape_json(&object.to_string()));
        return code;
    }
    // Parts of the text may come from another process.
    let error: String = error.to_string().chars().map(plain).collect();
    let hint: String = hint.chars().map(plain).collect();
    let width = columns(io::stderr());
    let error = two_columns(&format!("{BAD}error:{BAD:#} "), &error, width);
    let hint = two_columns(&format!("{STRONG}hint:{STRONG:#}  "), &hint, width);
    to_stderr(&format!("{error}\n{hint}"));
    code
}

/// The exit code of a panic. With `--json` it also prints the error object: the panic hook only added a note.
pub(crate) fn panicked(as_json: bool) -> ExitCode {
    if as_json {
        let (message, hint) = (
            "this program came to a state that it should never be in",
            "this is a fault of ours: please report it",
        );
        let (message, hint, code) = (message.to_owned(), hint.to_owned(), ExitCode::Bug);
        failure(
            &CommandError::Usage {
                message,
                hint,
                code,
            },
            true,
        );
    }
    ExitCode::Bug
}

/// Prints the buffered notes of a command that succeeded.
pub(crate) fn buffered_notes(as_json: bool) {
    if let Some(object) = json_notes::success_object().filter(|_| as_json) {
        to_stderr(&escape_json(&object.to_string()));
    }
}

/// Prints what clap returned: help or version to standard output, a usage error to standard error.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().ansi().to_string();
    let text = text.trim_end_matches('\n');
    if error.use_stderr() {
        to_stderr(text);
        return ExitCode::Configuration;
    }
    match unwrapped(text) {
        Ok(()) => ExitCode::Good,
        Err(error) => failure(&error, false),
    }
}

/// Writes a line to standard error. A line that cannot be written is dropped: the exit code still reports a failure.
fn to_stderr(text: &str) {
    let plain = anstream::AutoStream::choice(&io::stderr()) == anstream::ColorChoice::Never;
    let text = match plain {
        true => anstream::adapter::strip_str(text).to_string(),
        false => text.to_owned(),
    };
    standard_error::write(format!("{text}\n").as_bytes());
    standard_error::flush();
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value)?;
    let lines: Vec<_> = text.lines().map(escape_json).collect();
    unwrapped(&lines.join("\n"))
}

/// A line of JSON without control and direction characters: inside a string they become `\u` escapes, elsewhere they
/// are white space and become a space.
pub(crate) fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if plain(c) == c => escaped.push(c),
            '\0'..' ' => escaped.push(' '),
            c => escaped.extend(
                c.encode_utf16(&mut [0; 2])
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}")),
            ),
        }
    }
    escaped
}

/// Prints a line of the result, wrapped at the terminal's width.
pub(crate) fn line(text: &str) -> Result<(), CommandError> {
    unwrapped(&wrap(text, 2, columns(io::stdout())))
}

/// Prints a line of the result without wrapping it. Succeeds where the reader has closed the pipe (`| head`).
pub(crate) fn unwrapped(text: &str) -> Result<(), CommandError> {
    unless_closed(text).map(drop)
}

/// Whether the longest line of a text fits the terminal's width.
pub(crate) fn fits(text: &str) -> bool {
    let longest = text.lines().map(display_width).max().unwrap_or(0);
    columns(io::stdout()).is_none_or(|columns| longest <= columns)
}

/// Prints a line without wrapping it. Returns false where the reader has closed the pipe.
pub(crate) fn unless_closed(text: &str) -> Result<bool, CommandError> {
    match writeln!(anstream::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

/// Writes bytes to standard output. Succeeds where the reader has closed the pipe.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints a note on standard error, or buffers it for the JSON object.
pub(crate) fn remark(text: &str) {
    if json_notes::add(text) {
        return;
    }
    let label = format!("{NOTE}note:{NOTE:#}  ");
    to_stderr(&two_columns(&label, text, columns(io::stderr())));
}

/// Prints a heading.
pub(crate) fn heading(text: &str) -> Result<(), CommandError> {
    line(&format!("{STRONG}{text}{STRONG:#}"))
}

/// Prints names and values in two aligned columns.
pub(crate) fn fields(rows: &[(&str, String)]) -> Result<(), CommandError> {
    let longest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let width = columns(io::stdout());
    rows.iter().try_for_each(|(name, value)| {
        let name = format!("  {FAINT}{name:longest$}{FAINT:#}  ");
        unwrapped(&two_columns(&name, value, width))
    })
}

/// Prints a note within the result.
pub(crate) fn note(text: &str) -> Result<(), CommandError> {
    let name = format!("  {NOTE}note{NOTE:#}  ");
    unwrapped(&two_columns(&name, text, columns(io::stdout())))
}

/// Prints the steps of a check.
pub(crate) fn steps(steps: &[Step]) -> Result<(), CommandError> {
    let longest = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    steps.iter().try_for_each(|done| step(done, longest))
}

/// Prints a step of a check; its name takes `longest` columns.
pub(crate) fn step(step: &Step, longest: usize) -> Result<(), CommandError> {
    let width = columns(io::stdout());
    let mark = match step.outcome {
        Outcome::Good => format!("{GOOD}ok  {GOOD:#}"),
        Outcome::Note => format!("{NOTE}note{NOTE:#}"),
        Outcome::Bad => format!("{BAD}FAIL{BAD:#}"),
        Outcome::NotReached => format!("{FAINT}--  {FAINT:#}"),
    };
    let time = step
        .millis
        .map_or(String::new(), |millis| format!("{millis:.1} ms"));
    let name = format!(
        "  {mark}  {:longest$}  {FAINT}{time:>9}{FAINT:#}  ",
        step.name
    );
    unwrapped(&two_columns(&name, &step.detail, width))?;
    if let Some(hint) = &step.hint {
        let hint = format!("{STRONG}hint:{STRONG:#} {hint}");
        let indent = format!("        {:longest$}  ", "");
        unwrapped(&two_columns(&indent, &hint, width))?;
    }
    Ok(())
}

/// Writes on standard error that a step begins: on a terminal as text that [`step_ended`] takes away, unless there is a note.
pub(crate) fn step_begins(name: &str, note: Option<&str>) {
    let width = columns(io::stderr());
    let mark = format!("  {FAINT}...{FAINT:#}   ");
    match note {
        Some(note) => to_stderr(&two_columns(&mark, &format!("{name}: {note}"), width)),
        None if io::stderr().is_terminal() => {
            // Only one line is taken away.
            let width = width.map_or(usize::MAX, |columns| columns.saturating_sub(1));
            let line: String = format!("  ...   {name}").chars().take(width).collect();
            standard_error::write(format!("\r{line}").as_bytes());
            standard_error::flush();
        }
        None => to_stderr(&format!("{mark}{name}")),
    }
}

/// Takes away what [`step_begins`] wrote.
pub(crate) fn step_ended() {
    if io::stderr().is_terminal() {
        standard_error::write(b"\r\x1b[2K");
        standard_error::flush();
    }
}

/// Prints the audit's judgement of one rule.
pub(crate) fn judgement(
    is_finding: bool,
    verdict: Verdict,
    rule: &str,
    verdict_text: &str,
    evidence: &[String],
) -> Result<(), CommandError> {
    let mark = match verdict {
        _ if is_finding => format!("{BAD}FAIL{BAD:#}"),
        Verdict::Violated => format!("{NOTE}note{NOTE:#}"),
        Verdict::NotAnswerable => format!("{FAINT}--  {FAINT:#}"),
        _ => format!("{GOOD}ok  {GOOD:#}"),
    };
    let evidence = evidence.join("; ");
    let name = format!("  {mark}  {rule:24}  ");
    let text = format!("{verdict_text}: {FAINT}{evidence}{FAINT:#}");
    unwrapped(&two_columns(&name, &text, columns(io::stdout())))
}

/// Prints the first line of a status, which monitoring takes.
pub(crate) fn state_line(state: State, text: &str) -> Result<(), CommandError> {
    let (style, word) = (style_of(state), state.word());
    line(&format!("{style}hsm-mtls {word}{style:#}: {text}"))
}

/// Prints an item of a status; its name takes `longest` columns.
pub(crate) fn state_row(
    state: State,
    name: &str,
    longest: usize,
    text: &str,
) -> Result<(), CommandError> {
    let style = style_of(state);
    let mark = match state {
        State::Ok => "ok  ",
        State::Unknown => "??  ",
        State::Warning => "warn",
        State::Critical => "CRIT",
    };
    let name = format!("  {style}{mark}{style:#}  {name:longest$}  ");
    unwrapped(&two_columns(&name, text, columns(io::stdout())))
}

fn style_of(state: State) -> Style {
    match state {
        State::Ok => GOOD,
        State::Unknown => FAINT,
        State::Warning => NOTE,
        State::Critical => BAD,
    }
}

/// Prints the final line of a check: green where it passed, red otherwise.
pub(crate) fn verdict(good: bool, text: &str) -> Result<(), CommandError> {
    let style = if good { GOOD } else { BAD };
    line(&format!("{style}{text}{style:#}"))
}
