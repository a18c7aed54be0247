//! How results and failures look. Colour on a terminal, plain text in a pipe.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use hsm_mtls::audit::Verdict;
use hsm_mtls::error::ExitCode;
use hsm_mtls::standard_error;
use hsm_mtls::step::{Outcome, Step, plain};
use serde::Serialize;
use serde_json::json;

use super::CommandError;

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
        let object =
            json!({ "schema": 0, "error": error.to_string(), "hint": hint, "exit": code as u8 });
        aside(&tame(&object.to_string()));
        return code;
    }
    // Some of it may be another process' word.
    let error: String = error.to_string().chars().map(plain).collect();
    let hint: String = hint.chars().map(plain).collect();
    aside(&format!(
        "{BAD}error:{BAD:#} {error}\n{STRONG}hint:{STRONG:#}  {hint}"
    ));
    code
}

/// What clap has to say: help and version, which are a result, or what is wrong with the arguments.
pub(crate) fn usage(said: &clap::Error) -> ExitCode {
    let text = said.render().ansi().to_string();
    let text = text.trim_end_matches('\n');
    if said.use_stderr() {
        aside(text);
        return ExitCode::Configuration;
    }
    match line(text) {
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
    line(&lines.join("\n"))
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

/// Prints a line of the result.
pub(crate) fn line(text: &str) -> Result<(), CommandError> {
    still_read(text).map(drop)
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
    aside(&format!("{NOTE}note:{NOTE:#}  {text}"));
}

/// Opens a file that a result was asked for in; what is in it stays until there is a result.
pub(crate) fn open(path: &Path) -> Result<File, CommandError> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    file.map_err(|error| unwritable(path, &error))
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::usage(
        format!("{} cannot be written: {error}", path.display()),
        "check that the folder exists and that this user may write there; nothing was sent",
    )
}

/// Writes a result that was asked for in a file.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    std::fs::write(path, bytes).map_err(|error| unwritable(path, &error))
}

/// Prints a heading.
pub(crate) fn heading(text: &str) -> Result<(), CommandError> {
    line(&format!("{STRONG}{text}{STRONG:#}"))
}

/// Prints names and what they stand for, aligned.
pub(crate) fn fields(rows: &[(&str, String)]) -> Result<(), CommandError> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .try_for_each(|(name, value)| line(&format!("  {FAINT}{name:width$}{FAINT:#}  {value}")))
}

/// Prints what a person should look at twice.
pub(crate) fn note(text: &str) -> Result<(), CommandError> {
    line(&format!("  {NOTE}note{NOTE:#}  {text}"))
}

/// Prints the steps of a check.
pub(crate) fn steps(steps: &[Step]) -> Result<(), CommandError> {
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
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
        line(
            format!(
                "  {mark}  {:width$}  {FAINT}{time:>9}{FAINT:#}  {}",
                step.name, step.detail
            )
            .trim_end(),
        )?;
        if let Some(hint) = &step.hint {
            line(&format!(
                "        {:width$}  {STRONG}hint:{STRONG:#} {hint}",
                ""
            ))?;
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
    line(&format!(
        "  {mark}  {rule:24}  {said}: {FAINT}{evidence}{FAINT:#}"
    ))
}

/// Prints the verdict of a check.
pub(crate) fn verdict(good: bool, text: &str) -> Result<(), CommandError> {
    let style = if good { GOOD } else { BAD };
    line(&format!("{style}{text}{style:#}"))
}
