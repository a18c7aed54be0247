//! The errors of a PIN source, with advice. No error holds any part of what was read from it.

use std::fmt;
use std::io;

use crate::access_diagnosis::{AccessMode, Obstacle};
use crate::config::pin::PinSource;
use crate::owner_and_mode::PathFault;
use crate::shell_quote::shell_quoted;

/// Why a PIN source gave no PIN.
#[derive(Debug)]
pub enum PinSourceError {
    /// The environment variable is not set.
    NotSet,
    /// `$CREDENTIALS_DIRECTORY` is not set.
    NoCredentials,
    /// The file is missing or not accessible.
    Unreachable(Unreachable),
    /// The file cannot be opened or read.
    Io(io::Error),
    /// It is a folder, a pipe or a device.
    NotAFile(&'static str),
    /// Other users could change or read the file, or change the way to it.
    Exposed {
        /// The file or folder, and what they could do.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// The file was written while it was read: the bytes may be of two PINs.
    WrittenMeanwhile,
    /// The source is empty.
    Empty,
    /// The source holds blanks and nothing else.
    OnlyBlanks,
    /// It is longer than the longest PIN, which has this number of bytes.
    TooLong(usize),
    /// It is text of another encoding than UTF-8.
    Encoding(&'static str),
    /// It is not valid UTF-8.
    NotUtf8 {
        /// The first invalid byte, counted from 1.
        byte: usize,
    },
    /// It has another format than a PIN (a PEM file, JSON, a setting).
    NotAPin(&'static str),
    /// It has more than one line.
    LineBreak {
        /// All further lines are empty.
        and_nothing: bool,
    },
    /// It has a character that cannot be typed at a keyboard.
    Character {
        /// The kind of character.
        kind: &'static str,
        /// Its position, counted from 1.
        at: usize,
        /// The position of the last character.
        last: usize,
    },
    /// The PIN command failed.
    Command(String),
    /// The operator could not be asked.
    Asking(io::Error),
    /// The token has no protected authentication path (keypad).
    NoKeypad,
}

/// Why a file is missing or not accessible.
#[derive(Debug)]
pub struct Unreachable(Obstacle);

impl From<Obstacle> for PinSourceError {
    fn from(obstacle: Obstacle) -> Self {
        Self::Unreachable(Unreachable(obstacle))
    }
}

impl From<&PathFault> for PinSourceError {
    fn from(fault: &PathFault) -> Self {
        Self::Exposed {
            why: fault.to_string(),
            advice: fault.advice(),
        }
    }
}

impl fmt::Display for PinSourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSet => f.write_str("it is not set"),
            Self::NoCredentials => {
                f.write_str("$CREDENTIALS_DIRECTORY is not set: not started by systemd")
            }
            Self::Unreachable(Unreachable(obstacle)) => obstacle.fmt(f),
            Self::Io(error) | Self::Asking(error) => error.fmt(f),
            Self::NotAFile(kind) => write!(f, "it is not a file but {kind}"),
            Self::Exposed { why, .. } => write!(f, "it is not safe from other users: {why}"),
            Self::WrittenMeanwhile => f.write_str("it was written to at this moment"),
            Self::Empty => f.write_str("it is empty"),
            Self::OnlyBlanks => f.write_str("it holds blanks and nothing else"),
            Self::TooLong(most) => write!(f, "it is longer than {most} bytes"),
            Self::Encoding(name) => write!(f, "it is not UTF-8 but {name}"),
            Self::NotUtf8 { byte } => {
                write!(f, "it is not UTF-8: byte {byte} belongs to no character")
            }
            Self::NotAPin(what) => write!(f, "it is no PIN but {what}"),
            Self::LineBreak { and_nothing: false } => f.write_str(
                "it holds a line break within the PIN: several lines, where the PIN stands alone",
            ),
            Self::LineBreak { and_nothing: true } => {
                f.write_str("it holds a line break within the PIN: an empty line follows it")
            }
            Self::Character { kind, at, last } => {
                write!(f, "it has {kind} ")?;
                match at {
                    1 => f.write_str("at its start")?,
                    at if at == last => f.write_str("at its end")?,
                    at => write!(f, "as character {at}")?,
                }
                f.write_str(", which no keyboard gives")
            }
            Self::Command(why) => f.write_str(why),
            Self::NoKeypad => {
                f.write_str("the token has none: CKF_PROTECTED_AUTHENTICATION_PATH is not set")
            }
        }
    }
}

impl PinSourceError {
    /// What to do about it.
    pub fn advice(&self, source: &PinSource) -> String {
        match self {
            Self::Unreachable(Unreachable(obstacle)) => match (obstacle, source) {
                (Obstacle::Missing { .. }, PinSource::File(path)) => format!(
                    "{}; or correct `pin` of [[token]]: {} is not there",
                    setup_advice(source),
                    path.display()
                ),
                // Group permissions, which would make other files readable, are not accepted for a PIN file.
                (Obstacle::Denied { path, mode: AccessMode::Read }, PinSource::File(_)) => format!(
                    "{}: the PIN file belongs to the user that runs this, and no group may read it",
                    path.advice_for_secret()
                ),
                (Obstacle::Missing { .. } | Obstacle::Denied { .. }, PinSource::Credential(_)) => setup_advice(source),
                (Obstacle::Missing { .. }, source) => setup_advice(source),
                (obstacle, _) => format!(
                    "{}; the PIN file belongs to the user that runs this, with mode 600",
                    obstacle.advice()
                ),
            },
            Self::NotAFile("a pipe") => {
                "name a file that stays; a program that prints the PIN is named with { command = [\"/program\"] }".to_owned()
            }
            Self::NotAFile(_) => "name the file that holds the PIN".to_owned(),
            Self::Exposed { advice, .. } => match source {
                PinSource::Credential(_) => setup_advice(source),
                _ => advice.clone(),
            },
            Self::WrittenMeanwhile => "try again when it is written".to_owned(),
            Self::Empty | Self::OnlyBlanks => match source {
                PinSource::File(path) => {
                    format!("write the PIN and nothing else into {}", path.display())
                }
                source => setup_advice(source),
            },
            Self::Encoding(_) | Self::NotUtf8 { .. } | Self::Character { .. } => format!(
                "nothing was sent; write the PIN anew, typed at a keyboard: {}",
                expected_form(source)
            ),
            Self::TooLong(_) | Self::NotAPin(_) | Self::LineBreak { .. } => format!(
                "nothing was sent; the PIN stands there alone: {}",
                expected_form(source)
            ),
            Self::Io(error) => match source {
                PinSource::File(path) if error.kind() != io::ErrorKind::NotFound => format!(
                    "the system cannot read {}: see what the kernel says of its disk (`dmesg`)",
                    path.display()
                ),
                source => setup_advice(source),
            },
            Self::NotSet | Self::NoCredentials | Self::Command(_) | Self::Asking(_)
            | Self::NoKeypad => setup_advice(source),
        }
    }
}

/// The form that a PIN must have in the source.
fn expected_form(source: &PinSource) -> &'static str {
    match source {
        PinSource::File(_) | PinSource::Credential(_) => {
            "one line of plain UTF-8 without a byte order mark"
        }
        PinSource::Env(_) => "the variable's value is the PIN, without quotation marks",
        PinSource::Command(_) => "one line of UTF-8, and nothing before or after it",
        PinSource::Prompt | PinSource::ProtectedPath => {
            "what is pasted may hold more than it shows"
        }
        PinSource::Empty | PinSource::None => "nothing is read",
    }
}

/// How to set up the source.
fn setup_advice(source: &PinSource) -> String {
    match source {
        PinSource::File(path) => format!(
            "as the user that runs this, type `install -m 600 /dev/stdin {}`, the PIN, Enter and Ctrl-D",
            shell_quoted(&path.to_string_lossy())
        ),
        PinSource::Env(name) => {
            format!("set {name} for this process only, or use a file or a systemd credential")
        }
        PinSource::Credential(name) => format!(
            "start under systemd (247 or later) with `LoadCredential={name}:/path` or LoadCredentialEncrypted"
        ),
        PinSource::Command(_) => {
            "run the command by hand: it must print the PIN and exit 0".to_owned()
        }
        PinSource::Prompt => "run this at a terminal, and type the PIN when asked".to_owned(),
        PinSource::Empty | PinSource::None => {
            "name the source of the PIN in `pin` of [[token]]".to_owned()
        }
        PinSource::ProtectedPath => {
            "give [[token]] another `pin`: file, credential, command or prompt".to_owned()
        }
    }
}
