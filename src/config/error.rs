//! What is wrong with a configuration file, and where in it.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::missing::what_to_write;

/// Why a configuration was not taken.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No file was named.
    #[error("no configuration was named")]
    Unnamed,
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

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check the path and that this user may read it; `hsm-config/softhsm.toml` is an example".to_owned()
            }
            Self::Unnamed => "pass --config FILE or set HSM_MTLS_CONFIG".to_owned(),
            Self::Field { path, message, .. } => format!(
                "{}, then run `hsm-mtls --config {} config check`",
                what_to_write(message).unwrap_or_else(|| "correct the field".to_owned()),
                path.display()
            ),
        }
    }
}

/// The parser's own rendering quotes the faulty line, and that line may hold a PIN: so only the
/// line's number and the name before its `=` are shown.
pub(super) fn field_error(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    // A field that is missing at the top stands on no line; the parser then names the first.
    let start = error
        .span()
        .map(|span| span.start.min(text.len()))
        .filter(|start| *start > 0);
    let (line, field) = start.map_or((0, String::new()), |start| {
        let number = text[..start].matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or("");
        let name = line.split_once('=').map_or("", |(name, _)| name.trim());
        // A name that could be a secret written in the wrong place is not shown.
        let plain = is_field_name(name);
        (
            number,
            if plain {
                name.to_owned()
            } else {
                String::new()
            },
        )
    });
    ConfigError::Field {
        path: path.to_owned(),
        line,
        field,
        message: without_strange_names(error.message()),
    }
}

/// serde repeats the name of a field that it does not know.
fn without_strange_names(message: &str) -> String {
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
fn is_field_name(name: &str) -> bool {
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
