//! What is wrong with a configuration file, and where in it.

use std::path::PathBuf;

use thiserror::Error;

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
                "check the path and that this user may read it; `hsm-config/softhsm.toml` is one that works".to_owned()
            }
            Self::Unnamed => "pass --config FILE or set HSM_MTLS_CONFIG".to_owned(),
            Self::Field { path, .. } => format!(
                "correct the field, then run `hsm-mtls --config {} config check`",
                path.display()
            ),
        }
    }
}
