//! What a command does first: loads the configuration, opens the token, finds out whether a person is at a terminal.

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use clap::builder::{OsStringValueParser, TypedValueParser};
use hsm_mtls::internal::config::{Config, ConfigError};
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::guard::Attendance;
use hsm_mtls::internal::token::{Role, Token};
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};

use super::{CommandError, Global};

/// Loads the configuration.
pub(crate) fn config(global: &Global) -> Result<Config, CommandError> {
    Config::load(config_path(global)?).map_err(CommandError::stage)
}

/// Loads the configuration for a command that only reads: files that all may read, such as certificate and ledger, and runs
/// nothing. An auditor or a monitor may be another user than the service's, to whom those files belong.
pub(crate) fn config_to_read(global: &Global) -> Result<Config, CommandError> {
    let config = Config::load_to_read(config_path(global)?).map_err(CommandError::stage)?;
    config.check_file().map_err(CommandError::stage)?;
    Ok(config)
}

/// Parses `--config`. An empty path is accepted here; [`config_path`] reports it as an error of the configuration.
pub(super) fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The path of the configuration.
///
/// # Errors
/// No path was given, or an empty one.
pub(crate) fn config_path(global: &Global) -> Result<&Path, CommandError> {
    match global.config.as_deref() {
        None => Err(CommandError::stage(ConfigError::Unnamed)),
        // clap takes the variable only where the option is missing.
        Some(path) if path.as_os_str().is_empty() => {
            let variable = !env::args_os().any(|argument| {
                argument
                    .to_str()
                    .is_some_and(|text| text == "--config" || text.starts_with("--config="))
            });
            Err(CommandError::stage(ConfigError::EmptyName { variable }))
        }
        Some(path) => Ok(path),
    }
}

/// The name of the user who logs in: as given, else the configured one if the role is the configured one too.
pub(crate) fn user_name(config: &Config, role: Role, given: Option<String>) -> Option<String> {
    let is_configured = role == Role::from(config.token.user);
    given.or_else(|| config.token.user_name.clone().filter(|_| is_configured))
}

/// Opens the configured token, with the configured ledger, and logs in.
pub(crate) fn open_token(config: &Config) -> Result<Arc<Token>, Error> {
    let recorder = Recorder::open(config.ledger.as_ref())?;
    Ok(Token::open(&config.token, attendance(), recorder)?)
}

/// Attended where standard input is a terminal: a person can type the PIN, and confirm a login when few tries are left.
pub(crate) fn attendance() -> Attendance {
    attendance_of(io::stdin().is_terminal())
}

/// [`attendance`] for a signer process, whose parent knows whether a person is at the terminal. The PIN is read from the
/// terminal, not from standard input.
pub(crate) fn attendance_of(attended: bool) -> Attendance {
    if attended {
        Attendance::Attended(Arc::new(|prompt| {
            rpassword::prompt_password(format!("{prompt}: ")).map(SecretString::from)
        }))
    } else {
        Attendance::Unattended
    }
}

/// A runtime of one thread: a command opens one connection after the other.
pub(crate) fn runtime() -> Result<Runtime, CommandError> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
