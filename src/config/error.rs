//! The errors of the configuration: what is wrong in which line, and what to write instead.

use std::path::PathBuf;

use thiserror::Error;

use crate::diagnostic::Diagnostic;
use crate::exit_code::ExitCode;

/// Why a configuration was refused. No variant holds the value of a field, which may be a PIN.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error, or which part of the path denies access.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The command was given no configuration file.
    #[error("no configuration was named")]
    Unnamed,
    /// The command was given an empty file name.
    #[error("{} is empty, so no configuration is named", if *.variable { "HSM_MTLS_CONFIG" } else { "--config" })]
    EmptyName {
        /// Whether it is that of HSM_MTLS_CONFIG; otherwise that of `--config`.
        variable: bool,
    },
    /// The file is of another format than TOML.
    #[error("{} is not a configuration but {format}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The format that was recognised.
        format: &'static str,
        /// What to do about it.
        advice: String,
    },
    /// Another user could change the file or what it names, or read what is secret.
    #[error("{}: not safe from other users: {why}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The files and folders, and what others could do with them.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The front end could change or remove something that is in the folder of its access log.
    #[error(
        "{}: the front end may write to {}, because `access_log` is there, and {role} ({}) lies in it",
        path.display(), folder.display(), named.display()
    )]
    InLogFolder {
        /// The file.
        path: PathBuf,
        /// What lies in the folder.
        role: String,
        /// Its path.
        named: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// A process cannot be the user that is named for it.
    #[error("{}: {field} is {name:?}: {why}", path.display())]
    User {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// The user's name.
        name: String,
        /// Why not.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// A user that is named for a process lacks access to what the process needs.
    #[error("{}: {why}", path.display())]
    NoAccess {
        /// The file.
        path: PathBuf,
        /// What he cannot open.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The front end would run as the user to whom the way to the PIN belongs.
    #[error(
        "{}: the front end, which parses the network, would run as user {user}, who owns {owned} and could change or replace what is there",
        path.display()
    )]
    SameUser {
        /// The file.
        path: PathBuf,
        /// The user.
        user: String,
        /// What belongs to him.
        owned: String,
        /// What to do about it.
        advice: String,
    },
    /// Root starts the proxy, and a process would stay root.
    #[error("{}: {processes} would stay root: {missing} is not set", path.display())]
    StaysRoot {
        /// The file.
        path: PathBuf,
        /// The processes.
        processes: String,
        /// The fields that name no user.
        missing: String,
    },
    /// A field is wrong, missing or unknown, or the file is not valid TOML.
    #[error("{}{}: {message}", path.display(), at_line(*line, field))]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; 0 if the error belongs to no line.
        line: usize,
        /// The name of the field on that line; empty if it has none.
        field: String,
        /// What is wrong.
        message: String,
        /// What to write instead, if that is known.
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
            Self::User { advice, .. } | Self::NoAccess { advice, .. } => advice.clone(),
            Self::SameUser { advice, .. } => format!(
                "{advice}; or, where Landlock and seccomp are wall enough, write accept_same_user = true in [proxy]"
            ),
            Self::StaysRoot { .. } => {
                "write user = \"hsm-mtls\" in [signer] and user = \"hsm-mtls-front-end\" in [proxy], or other users that have \
                 no other use (docs/deploy.md has the owners of all files); or start it as another user than root; or, where \
                 Landlock and seccomp are wall enough, write accept_same_user = true in [proxy]"
                    .to_owned()
            }
            Self::Unnamed => "pass --config FILE or set HSM_MTLS_CONFIG".to_owned(),
            Self::InLogFolder { .. } => {
                "name a file in a folder of its own in `access_log` of [proxy], or write access_log = \"stdout\"; \
                 \"off\" switches it off, and any other word is the name of a file"
                    .to_owned()
            }
            Self::Exposed { path, advice, .. } => format!(
                "{advice}; see whether somebody has changed what is there, then run `hsm-mtls --config {} config check`",
                path.display()
            ),
            Self::Field { path, advice, .. } => {
                let check = format!("run `hsm-mtls --config {} config check`", path.display());
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

/// Removes the name of an unknown field from serde's message unless it has the form of a field's name: it may be a PIN.
pub(super) fn redact_field_name(message: &str) -> String {
    let suspicious = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'))
        .filter(|(name, _)| !is_field_name(name));
    match suspicious {
        Some((_, rest)) => format!("unknown field{rest}"),
        None => message.to_owned(),
    }
}

/// Whether a name has the form of a field's name: lower case, with at most one digit (`c3`, `sig4`). Most PINs do not.
pub(super) fn is_field_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    name.len() <= 40 && digits <= 1 && name.bytes().all(allowed)
}

/// The number of the first line that sets the field, or is the header of the section, of this name; 0 if there is none.
pub(super) fn line_of_field(text: &str, field: &str) -> usize {
    text.lines()
        .position(|line| {
            let line = line.trim_start_matches(['[', ' ']);
            line.strip_prefix(field)
                .is_some_and(|rest| rest.trim_start().starts_with(['=', ']']))
        })
        .map_or(0, |at| at + 1)
}

/// The same for a field of `[sig4]`, some of whose names other sections have too: the first line below its header, else the first
/// of all.
pub(super) fn line_of_sig4_field(text: &str, field: &str) -> usize {
    let header = text.lines().position(|line| line.trim() == "[sig4]");
    let above = header.map_or(0, |at| at + 1);
    let below: Vec<_> = text.lines().skip(above).collect();
    match line_of_field(&below.join("\n"), field) {
        0 => line_of_field(text, field),
        line => above + line,
    }
}
