//! A configuration file as it was read: for processes that must all go by the same text, whatever
//! becomes of the file meanwhile.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Config, ConfigError};
use crate::path_access::{self, Obstacle, Use};

/// Longest configuration that is read, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// The text of a configuration file, and where it stood.
#[derive(Clone, Debug)]
pub struct ConfigText {
    /// Absolute: relative paths in the text are taken from its folder.
    pub path: PathBuf,
    /// What stood there. Shared: a text that is handed on is not copied.
    pub text: Arc<str>,
}

impl ConfigText {
    /// Reads a file; nothing in it is checked yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error: io::Error| unreadable(path, &error);
        // Each process reads it for itself, and some once more: what can be read once is no configuration.
        let meta = fs::metadata(path).map_err(unreadable)?;
        if let Some(kind) = path_access::other_than_file(&meta) {
            return Err(ConfigError::Unreadable {
                path: path.to_owned(),
                why: format!("it is not a file but {kind}"),
                advice: "name the TOML file of an environment; several processes read it, and some a second time"
                    .to_owned(),
            });
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(LONGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        Ok(Self {
            path: std::path::absolute(path).map_err(unreadable)?,
            text: text_of(bytes, path)?.into(),
        })
    }

    /// A text that was handed over, where there is one; else what the file has.
    ///
    /// # Errors
    /// As [`ConfigText::read`].
    pub fn given_or_read(given: Option<String>, path: &Path) -> Result<Self, ConfigError> {
        match given {
            // The file may be out of reach by now.
            Some(given) => Ok(Self {
                path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
                text: given.into(),
            }),
            None => Self::read(path),
        }
    }

    /// The configuration that it says.
    ///
    /// # Errors
    /// A field is wrong.
    pub fn check(&self) -> Result<Config, ConfigError> {
        Config::parse(&self.text, &self.path)
    }
}

/// What is in the way to the file, where that can be seen; else the system's word.
fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let (why, advice) = match path_access::obstacle(path, &[Use::Read]) {
        Some(Obstacle::Missing { is_last: true, .. }) => (
            "there is no such file".to_owned(),
            "check the path; the README has a configuration, field by field".to_owned(),
        ),
        Some(obstacle) => (obstacle.to_string(), obstacle.advice()),
        None => (
            error.to_string(),
            "check the path and that this user may read it".to_owned(),
        ),
    };
    ConfigError::Unreadable {
        path: path.to_owned(),
        why,
        advice,
    }
}

/// TOML is UTF-8. A byte order mark at its start is let pass.
fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String, ConfigError> {
    let other = |what, advice: &str| ConfigError::NotToml {
        path: path.to_owned(),
        what,
        advice: advice.to_owned(),
    };
    if bytes.len() as u64 > LONGEST {
        return Err(other(
            "something longer than a mebibyte",
            "name the TOML file of an environment",
        ));
    }
    let convert = |line: usize, message: &str, from: &str| ConfigError::Field {
        path: path.to_owned(),
        line,
        field: String::new(),
        message: message.to_owned(),
        advice: Some(format!(
            "save it as UTF-8, or convert it: `iconv -f {from} -t UTF-8 {} >NEW`",
            path.display()
        )),
    };
    let wide = match bytes.as_slice() {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => true,
        // The first sign of a configuration is ASCII, and its other half is empty.
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] => *first != 0 && *second != 0,
        _ => false,
    };
    if wide {
        return Err(convert(
            0,
            "the file is UTF-16, and TOML is UTF-8",
            "UTF-16",
        ));
    }
    if bytes.contains(&0) {
        return Err(other(
            "a binary file",
            "name the TOML file of an environment",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        convert(
            line,
            "this line is not UTF-8: the file is of another encoding (Latin-1, Windows-1252)",
            "WINDOWS-1252",
        )
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

impl Config {
    /// What of another configuration a running proxy cannot take: its sockets, where it calls and its limits
    /// are made at the start. `None` where all of it can be taken.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        let listeners = |config: &Self| config.proxy.as_ref().map(|proxy| proxy.listeners.clone());
        let operations = |config: &Self| {
            config
                .proxy
                .as_ref()
                .and_then(|proxy| proxy.operations.clone())
        };
        let parts = [
            ("`environment`", self.environment != other.environment),
            ("`lfi_code`", self.lfi_code != other.lfi_code),
            ("[hub]", self.hub != other.hub),
            ("[[proxy.listener]]", listeners(self) != listeners(other)),
            ("[proxy.operations]", operations(self) != operations(other)),
            ("[proxy]", self.proxy != other.proxy),
        ];
        let differs = parts.into_iter().find(|(_, differs)| *differs);
        differs.map(|(part, _)| part)
    }
}
