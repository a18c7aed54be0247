//! Parses the command line, and prints usage errors, as text or as JSON.

use std::env;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use hsm_mtls::internal::exit_code::ExitCode;

use super::status::UNUSABLE;
use super::{Cli, CommandError, output};

/// The least Jaro similarity of a suggestion and the word that was typed.
const MIN_SIMILARITY: f64 = 0.8;

/// Parses the command line.
///
/// # Errors
/// The exit code, after help, version or a usage error was printed.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let arguments: Vec<OsString> = env::args_os().collect();
    let mut error = match Cli::try_parse_from(&arguments) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    if !error.use_stderr() {
        return Err(output::usage(&error));
    }
    redact_secret(&mut error);
    remove_hidden_commands(&mut error);
    remove_dissimilar_suggestions(&mut error);
    remove_empty_tips(&mut error);
    let as_json = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json");
    let code = match asks_for_status(&arguments) {
        true => UNUSABLE.exit_code(),
        false => ExitCode::Configuration,
    };
    match as_json {
        true => output::failure(&as_command_error(&error, code), true),
        false => output::usage(&error),
    };
    Err(code)
}

/// Whether the command is `status`, whose exit codes are its own.
fn asks_for_status(arguments: &[OsString]) -> bool {
    let command = Cli::command().ignore_errors(true);
    let matches = command.try_get_matches_from(arguments);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("status"))
}

/// Options whose value may be a PIN, typed in place of its source.
const SECRET_OPTIONS: [&str; 1] = ["--pin-source"];

/// Replaces the value of an option that may hold a secret.
fn redact_secret(error: &mut clap::Error) {
    let is_secret = |option: &str| {
        let name = option.split([' ', '=']).next().unwrap_or_default();
        SECRET_OPTIONS.contains(&name)
    };
    let secret = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => is_secret(option),
        Some(ContextValue::Strings(options)) => options.iter().any(|option| is_secret(option)),
        _ => false,
    };
    if secret && error.get(ContextKind::InvalidValue).is_some() {
        let redacted = ContextValue::String("...".to_owned());
        error.insert(ContextKind::InvalidValue, redacted);
    }
}

/// Removes suggestions of commands that are started by other processes only.
fn remove_hidden_commands(error: &mut clap::Error) {
    let command = Cli::command();
    let hidden: Vec<_> = command
        .get_subcommands()
        .filter(|command| command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    let is_hidden = |name: &String| hidden.contains(name);
    for kind in [
        ContextKind::SuggestedSubcommand,
        ContextKind::ValidSubcommand,
    ] {
        let remaining = match error.remove(kind) {
            Some(ContextValue::String(name)) => {
                (!is_hidden(&name)).then_some(ContextValue::String(name))
            }
            Some(ContextValue::Strings(mut names)) => {
                names.retain(|name| !is_hidden(name));
                (!names.is_empty()).then_some(ContextValue::Strings(names))
            }
            other => other,
        };
        if let Some(remaining) = remaining {
            error.insert(kind, remaining);
        }
    }
}

/// Removes suggestions that are like the typed word by a few letters only: who types `delete` does not mean `generate`.
fn remove_dissimilar_suggestions(error: &mut clap::Error) {
    for (typed, suggested) in [
        (
            ContextKind::InvalidSubcommand,
            ContextKind::SuggestedSubcommand,
        ),
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
    ] {
        let Some(ContextValue::String(typed)) = error.get(typed) else {
            continue;
        };
        let typed = typed.trim_start_matches('-').to_owned();
        let is_similar = |name: &String| {
            let name = name.trim_start_matches('-');
            name.starts_with(&typed) || strsim::jaro(name, &typed) >= MIN_SIMILARITY
        };
        let remaining = match error.remove(suggested) {
            Some(ContextValue::String(name)) => {
                is_similar(&name).then_some(ContextValue::String(name))
            }
            Some(ContextValue::Strings(mut names)) => {
                names.retain(is_similar);
                (!names.is_empty()).then_some(ContextValue::Strings(names))
            }
            other => other,
        };
        if let Some(remaining) = remaining {
            error.insert(suggested, remaining);
        }
    }
}

/// Removes the tip that an option can be passed as a value, and a list of tips that is then empty: it would print an
/// empty line.
fn remove_empty_tips(error: &mut clap::Error) {
    let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) else {
        return;
    };
    tips.retain(|tip| !tip.to_string().contains("as a value"));
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
}

/// clap's error for JSON: its first paragraph is the message, all others are the hint.
fn as_command_error(error: &clap::Error, code: ExitCode) -> CommandError {
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return CommandError::Usage {
            message: "a command is missing".to_owned(),
            hint: "`--help` lists the commands".to_owned(),
            code,
        };
    }
    let text = error.to_string();
    let in_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n").map(in_one_line);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    let hints: Vec<_> = paragraphs.filter(|text| !text.is_empty()).collect();
    CommandError::Usage {
        message,
        hint: hints.join("; "),
        code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
