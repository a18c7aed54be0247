//! Reads the text of a configuration file, and checks its encoding and size. The text is passed from process to process,
//! so that all use the same configuration even if the file changes meanwhile.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::front_end_text::front_end_text;
use super::{Config, ConfigError};
use crate::access_diagnosis::{self, AccessMode, Obstacle};

/// The maximum size of a configuration file, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// The text of a configuration file, and its path.
#[derive(Clone, Debug)]
pub struct ConfigText {
    /// The absolute path of the file: relative paths in the text are resolved against its folder.
    pub path: PathBuf,
    /// The text.
    pub text: Arc<str>,
}

impl ConfigText {
    /// Reads a file. Its fields are not checked yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error: io::Error| unreadable(path, &error);
        // Several processes read the file, and some twice: a pipe, which can be read once only, is refused.
        let meta = fs::metadata(path).map_err(unreadable)?;
        if let Some(kind) = access_diagnosis::other_than_file(&meta) {
            return Err(ConfigError::Unreadable {
                path: path.to_owned(),
                why: format!("it is not a file but {kind}"),
                advice: "name the TOML file of an environment; several processes read it, and some a second time"
                    .to_owned(),
            });
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        Ok(Self {
            path: std::path::absolute(path).map_err(unreadable)?,
            text: decode(bytes, path)?.into(),
        })
    }

    /// Uses the text that the parent process passed on, if there is one; else reads the file.
    ///
    /// # Errors
    /// As [`ConfigText::read`].
    pub fn inherited_or_read(inherited: Option<String>, path: &Path) -> Result<Self, ConfigError> {
        match inherited {
            // This process may no longer have access to the file.
            Some(text) => Ok(Self {
                path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
                text: text.into(),
            }),
            None => Self::read(path),
        }
    }

    /// The part of the text that the proxy's front end is given, to be parsed with the same path.
    ///
    /// # Errors
    /// The text is no TOML.
    pub fn for_front_end(&self) -> Result<String, ConfigError> {
        front_end_text(&self.text, &self.path)
    }

    /// Parses the configuration, and checks the paths that it names: that a link misleads none of them, and that no other
    /// user could change them.
    ///
    /// # Errors
    /// A field is wrong, or a path is not safe.
    pub fn check(&self) -> Result<Config, ConfigError> {
        let config = self.parse()?;
        config.check_symlink()?;
        config.check_paths()?;
        config.check_log_folder()?;
        Ok(config)
    }

    /// Parses the configuration: for a process whose parent has checked the paths.
    ///
    /// # Errors
    /// A field is wrong.
    pub fn parse(&self) -> Result<Config, ConfigError> {
        Config::parse(&self.text, &self.path)
    }
}

/// The error for a file that cannot be read: names the obstacle on its path if there is one.
fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let (why, advice) = match access_diagnosis::obstacle(path, &[AccessMode::Read]) {
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

/// Decodes the bytes, which must be UTF-8; a byte order mark at the start is removed.
fn decode(bytes: Vec<u8>, path: &Path) -> Result<String, ConfigError> {
    let not_toml = |format, advice: &str| ConfigError::NotToml {
        path: path.to_owned(),
        format,
        advice: advice.to_owned(),
    };
    if bytes.len() as u64 > MAX_SIZE {
        return Err(not_toml(
            "something longer than a mebibyte",
            "name the TOML file of an environment",
        ));
    }
    let wrong_encoding = |line: usize, message: &str, from: &str| ConfigError::Field {
        path: path.to_owned(),
        line,
        field: String::new(),
        message: message.to_owned(),
        advice: Some(format!(
            "save it as UTF-8, or convert it: `iconv -f {from} -t UTF-8 {} >NEW`",
            path.display()
        )),
    };
    let is_utf16 = match bytes.as_slice() {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => true,
        // UTF-16 without a byte order mark: the first characters are ASCII, and one byte of each is 0.
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] => *first != 0 && *second != 0,
        _ => false,
    };
    if is_utf16 {
        return Err(wrong_encoding(
            0,
            "the file is UTF-16, and TOML is UTF-8",
            "UTF-16",
        ));
    }
    if bytes.contains(&0) {
        return Err(not_toml(
            "a binary file",
            "name the TOML file of an environment",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong_encoding(
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
