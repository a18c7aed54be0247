//! How results and failures look. Colour on a terminal, plain text in a pipe.

use std::io::{self, Write};

use crate::audit::Verdict;
use crate::check_steps::{Outcome, Step, plain};
use anstyle::{AnsiColor, Style};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::standard_error;
use serde::Serialize;
use serde_json::json;
use textwrap::core::display_width;

use super::line_wrap::{beside, columns, flow};
use super::{CommandError, json_notes};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default().bold();
const FAINT: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

/// Prints an error and the next step to standard error.
pub(crate) fn failure(error: &CommandError, as_json: bool) -> ExitCode {
    let (hint, code) = match error {
        CommandError::Stage(error) => (error.hint(), error.exit_code()),
        CommandError::Usage { hint, code, .. } => (hint.clone(), *code),
        CommandError::Output(_) => (
            "check the disk and the permissions of where it goes".to_owned(),
            ExitCode::Configuration,
        ),
        CommandError::Json(_) => (
            "this is a fault of ours: please report it".to_owned(),
            ExitCode::Bug,
        ),
    };
    if as_json {
        let mut object =
            json!({ "schema": 0, "error": error.to_string(), "hint": hint, "exit": code as u8 });
        let notes = json_notes::take();
        if !notes.is_empty() {
            object["notes"] = notes.into();
        }
        aside(&tame(&object.to_string()));
        return code;
    }
    // Some of it may be another process' word.
    let error: String = error.to_string().chars().map(plain).collect();
    let hint: String = hint.chars().map(plain).collect();
    let wide = columns(io::stderr());
    let error = beside(&format!("{BAD}error:{BAD:#} "), &error, wide);
    let hint = beside(&format!("{STRONG}hint:{STRONG:#}  "), &hint, wide);
    aside(&format!("{error}\n{hint}"));
    code
}

/// Says that this program panicked, where what the panic said was kept.
pub(crate) fn bug(as_json: bool) -> ExitCode {
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

/// Prints what is still to be said of a command that went well.
pub(crate) fn rest(as_json: bool) {
    if let Some(object) = json_notes::object().filter(|_| as_json) {
        aside(&tame(&object.to_string()));
    }
}

/// What clap has to say: help and version, which are a result, or what is wrong with the arguments.
pub(crate) fn usage(said: &clap::Error) -> ExitCode {
    let text = said.render().ansi().to_string();
    let text = text.trim_end_matches('\n');
    if said.use_stderr() {
        aside(text);
        return ExitCode::Configuration;
    }
    match whole(text) {
        Ok(()) => ExitCode::Good,
        Err(error) => failure(&error, false),
    }
}

/// A line on standard error. Where nobody takes it, the exit code speaks.
fn aside(text: &str) {
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
    let lines: Vec<_> = text.lines().map(tame).collect();
    whole(&lines.join("\n"))
}

/// A line of JSON, without what a terminal would obey: that may stand in a text, where it can be
/// written otherwise, or be white space.
pub(crate) fn tame(json: &str) -> String {
    let mut tame = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if plain(c) == c => tame.push(c),
            '\0'..' ' => tame.push(' '),
            c => tame.extend(
                c.encode_utf16(&mut [0; 2])
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}")),
            ),
        }
    }
    tame
}

/// Prints a line of the result, broken where the terminal ends.
pub(crate) fn line(text: &str) -> Result<(), CommandError> {
    whole(&flow(text, 2, columns(io::stdout())))
}

/// Prints a line of the result as it is.
pub(crate) fn whole(text: &str) -> Result<(), CommandError> {
    still_read(text).map(drop)
}

/// Whether lines as long as the longest of these can be shown.
pub(crate) fn fits(text: &str) -> bool {
    let longest = text.lines().map(display_width).max().unwrap_or(0);
    columns(io::stdout()).is_none_or(|columns| longest <= columns)
}

/// The same, of a result that has no end: says whether somebody still reads it.
pub(crate) fn still_read(text: &str) -> Result<bool, CommandError> {
    match writeln!(anstream::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

/// Prints bytes of the result as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    unless_gone(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Whoever reads the result may have gone (`| head`); the exit code still says how it ended.
fn unless_gone(written: io::Result<()>) -> Result<(), CommandError> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Says something beside the result, on standard error.
pub(crate) fn remark(text: &str) {
    if json_notes::add(text) {
        return;
    }
    let said = beside(
        &format!("{NOTE}note:{NOTE:#}  "),
        text,
        columns(io::stderr()),
    );
    aside(&said);
}

/// Prints a heading.
pub(crate) fn heading(text: &str) -> Result<(), CommandError> {
    line(&format!("{STRONG}{text}{STRONG:#}"))
}

/// Prints names and what they stand for, aligned.
pub(crate) fn fields(rows: &[(&str, String)]) -> Result<(), CommandError> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let wide = columns(io::stdout());
    rows.iter().try_for_each(|(name, value)| {
        let name = format!("  {FAINT}{name:width$}{FAINT:#}  ");
        whole(&beside(&name, value, wide))
    })
}

/// Prints what a person should look at twice.
pub(crate) fn note(text: &str) -> Result<(), CommandError> {
    let name = format!("  {NOTE}note{NOTE:#}  ");
    whole(&beside(&name, text, columns(io::stdout())))
}

/// Prints the steps of a check.
pub(crate) fn steps(steps: &[Step]) -> Result<(), CommandError> {
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let wide = columns(io::stdout());
    for step in steps {
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
            "  {mark}  {:width$}  {FAINT}{time:>9}{FAINT:#}  ",
            step.name
        );
        whole(&beside(&name, &step.detail, wide))?;
        if let Some(hint) = &step.hint {
            let hint = format!("{STRONG}hint:{STRONG:#} {hint}");
            whole(&beside(&format!("        {:width$}  ", ""), &hint, wide))?;
        }
    }
    Ok(())
}

/// Prints what an audit says of a rule.
pub(crate) fn judged(
    is_finding: bool,
    verdict: Verdict,
    rule: &str,
    said: &str,
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
    let said = format!("{said}: {FAINT}{evidence}{FAINT:#}");
    whole(&beside(&name, &said, columns(io::stdout())))
}

/// Prints the verdict of a check.
pub(crate) fn verdict(good: bool, text: &str) -> Result<(), CommandError> {
    let style = if good { GOOD } else { BAD };
    line(&format!("{style}{text}{style:#}"))
}
