//! The command line: what is said of one that cannot be understood, to people and to programs.

use std::env;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use hsm_mtls::internal::exit_code::ExitCode;

use super::{Cli, CommandError, output};

/// How much alike two words have to be (Jaro) for one to be meant by the other.
const ALIKE: f64 = 0.8;

/// Reads the command line.
///
/// # Errors
/// It asks for help, or cannot be understood: that was said, and this is how the program ends.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let arguments: Vec<OsString> = env::args_os().collect();
    let mut error = match Cli::try_parse_from(&arguments) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    if !error.use_stderr() {
        return Err(output::usage(&error));
    }
    without_secret(&mut error);
    without_hidden(&mut error);
    without_far_fetched(&mut error);
    without_empty_tips(&mut error);
    let as_json = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json");
    if as_json {
        return Err(output::failure(&told(&error), true));
    }
    Err(output::usage(&error))
}

/// Options whose value may be a PIN that stands where its source belongs.
const SECRET_OPTIONS: [&str; 1] = ["--pin-source"];

/// The value of an option that may hold a secret is not repeated.
fn without_secret(error: &mut clap::Error) {
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
        let hidden = ContextValue::String("...".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
}

/// What is not for people is not suggested to them.
fn without_hidden(error: &mut clap::Error) {
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
        let left = match error.remove(kind) {
            Some(ContextValue::String(name)) => {
                (!is_hidden(&name)).then_some(ContextValue::String(name))
            }
            Some(ContextValue::Strings(mut names)) => {
                names.retain(|name| !is_hidden(name));
                (!names.is_empty()).then_some(ContextValue::Strings(names))
            }
            other => other,
        };
        if let Some(left) = left {
            error.insert(kind, left);
        }
    }
}

/// What is like what was typed by a few letters only is another thing: `delete` is not meant for `generate`.
fn without_far_fetched(error: &mut clap::Error) {
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
        let near = |name: &String| {
            let name = name.trim_start_matches('-');
            name.starts_with(&typed) || strsim::jaro(name, &typed) >= ALIKE
        };
        let left = match error.remove(suggested) {
            Some(ContextValue::String(name)) => near(&name).then_some(ContextValue::String(name)),
            Some(ContextValue::Strings(mut names)) => {
                names.retain(near);
                (!names.is_empty()).then_some(ContextValue::Strings(names))
            }
            other => other,
        };
        if let Some(left) = left {
            error.insert(suggested, left);
        }
    }
}

/// An empty list of tips would leave an empty line; that an option can be passed as a value is meant by nobody.
fn without_empty_tips(error: &mut clap::Error) {
    let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) else {
        return;
    };
    tips.retain(|tip| !tip.to_string().contains("as a value"));
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
}

/// The same for programs: the error without its frame, and all else as its hint.
fn told(error: &clap::Error) -> CommandError {
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return CommandError::usage("a command is missing", "`--help` lists the commands");
    }
    let text = error.to_string();
    let in_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n").map(in_one_line);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    let rest: Vec<_> = paragraphs.filter(|text| !text.is_empty()).collect();
    CommandError::usage(message, rest.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
