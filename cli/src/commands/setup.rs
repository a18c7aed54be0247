//! What every command does first: the configuration, the module's environment, and who is there.

use std::env;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::error::Error;
use clap::builder::{OsStringValueParser, TypedValueParser};
use hsm_mtls::internal::config::{Config, ConfigError};
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::standard_error;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::guard::Attendance;
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};

use super::{CommandError, Global};

/// Loads the configuration; nothing of the module is touched.
pub(crate) fn config(global: &Global) -> Result<Config, CommandError> {
    Config::load(path(global)?).map_err(CommandError::stage)
}

/// An empty name is told as that, in the words of the configuration.
pub(super) fn file_name() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Where the configuration is.
pub(crate) fn path(global: &Global) -> Result<&Path, CommandError> {
    match global.config.as_deref() {
        None => Err(CommandError::stage(ConfigError::Unnamed)),
        // An option comes before the variable: where the variable is empty and the option is not, it is not asked.
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

/// Loads the configuration and puts the module's variables in place.
///
/// Variables of a running process cannot be set soundly, so where one differs the program executes
/// itself once more with the right ones, before anything else happens.
pub(crate) fn config_for_module(global: &Global) -> Result<Config, CommandError> {
    let config = config(global)?;
    let differs = |(name, value): (&String, &String)| {
        env::var_os(name).is_none_or(|now| now != value.as_str())
    };
    if config.token.env.iter().any(differs) {
        let mut arguments = env::args_os();
        let mut again = Command::new(env::current_exe()?);
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        standard_error::flush();
        let error = again.args(arguments).envs(&config.token.env).exec();
        return Err(CommandError::usage(
            format!("the variables of [[token]] env cannot be put in place: {error}"),
            "set them before you start the command",
        ));
    }
    Ok(config)
}

/// The configured token, logged in to, with the configured ledger.
pub(crate) fn token(config: &Config) -> Result<Arc<Token>, Error> {
    let recorder = Recorder::open(config.ledger.as_ref())?;
    Ok(Token::open(&config.token, attendance(), recorder)?)
}

/// Someone at a terminal can type a PIN, and answer for a try when few are left.
pub(crate) fn attendance() -> Attendance {
    attendance_of(io::stdin().is_terminal())
}

/// The same where standard input says nothing of it. A PIN is asked for at the terminal itself.
pub(crate) fn attendance_of(attended: bool) -> Attendance {
    if attended {
        Attendance::Attended(Box::new(|what| {
            rpassword::prompt_password(format!("{what}: ")).map(SecretString::from)
        }))
    } else {
        Attendance::Unattended
    }
}

/// A command makes one connection after the other: one thread is enough.
pub(crate) fn runtime() -> Result<Runtime, CommandError> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
