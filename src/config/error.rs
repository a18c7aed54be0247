//! What is wrong with a configuration file, and where in it.

use std::path::PathBuf;

use thiserror::Error;

use super::missing::what_to_write;
use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;

/// Why a configuration was not taken.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was seen there.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// No file was named.
    #[error("no configuration was named")]
    Unnamed,
    /// A name was given, and is empty.
    #[error("{} is empty, so no configuration is named", if *.variable { "HSM_MTLS_CONFIG" } else { "--config" })]
    EmptyName {
        /// By the variable; else by the option.
        variable: bool,
    },
    /// It is another kind of file.
    #[error("{} is not a configuration but {what}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What to do about it.
        advice: String,
    },
    /// A field is wrong, missing, or not known.
    #[error("{}{}: {message}", path.display(), at_line(*line, field))]
    Field {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1; 0 where the fault is in no line.
        line: usize,
        /// The field on that line, if it has one.
        field: String,
        /// What is wrong and what to write.
        message: String,
        /// What to write, where more than the message can be said.
        advice: Option<String>,
    },
}

fn at_line(line: usize, field: &str) -> String {
    match (line, field) {
        (0, "") => String::new(),
        (0, field) => format!(", field `{field}`"),
        (line, "") => format!(", line {line}"),
        (line, field) => format!(", line {line}, field `{field}`"),
    }
}

impl Diagnostic for ConfigError {
    fn hint(&self) -> String {
        match self {
            Self::Unreadable { advice, .. } | Self::NotToml { advice, .. } => advice.clone(),
            Self::EmptyName { variable: true } => {
                "unset HSM_MTLS_CONFIG, or let it name the file of an environment; --config FILE comes before it".to_owned()
            }
            Self::EmptyName { variable: false } => {
                "name the file of an environment: a shell variable behind --config may not be set".to_owned()
            }
            Self::Unnamed => "pass --config FILE or set HSM_MTLS_CONFIG".to_owned(),
            Self::Field {
                path,
                message,
                advice,
                ..
            } => {
                let check = format!("run `hsm-mtls --config {} config check`", path.display());
                let advice = advice.clone().or_else(|| what_to_write(message));
                match advice {
                    Some(advice) if advice.ends_with('?') => {
                        format!("{advice} Correct it, then {check}")
                    }
                    Some(advice) => format!("{advice}; then {check}"),
                    None => format!("correct the field, then {check}"),
                }
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Configuration
    }
}

/// serde repeats the name of a field that it does not know.
pub(super) fn without_strange_names(message: &str) -> String {
    let strange = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'))
        .filter(|(name, _)| !is_field_name(name));
    match strange {
        Some((_, rest)) => format!("unknown field{rest}"),
        None => message.to_owned(),
    }
}

/// Names of fields are words, with one digit at the most (`c3`, `sig4`). PINs mostly are not.
pub(super) fn is_field_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    name.len() <= 40 && digits <= 1 && name.bytes().all(word)
}

/// The first line that sets a field or opens a section of this name; 0 where there is none.
pub(super) fn line_of_field(text: &str, field: &str) -> usize {
    text.lines()
        .position(|line| {
            let line = line.trim_start_matches(['[', ' ']);
            line.strip_prefix(field)
                .is_some_and(|rest| rest.trim_start().starts_with(['=', ']']))
        })
        .map_or(0, |at| at + 1)
}
