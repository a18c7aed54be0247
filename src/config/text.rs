//! A configuration file as it was read: for processes that must all go by the same text, whatever
//! becomes of the file meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Config, ConfigError};

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
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self {
            path: std::path::absolute(path).map_err(unreadable)?,
            text: text.into(),
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
