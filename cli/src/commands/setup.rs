//! What a command does first: loads the configuration, sets the module's environment variables, opens the token, finds
//! out whether a person is at a terminal.

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
use hsm_mtls::internal::token::guard::Attendance;
use hsm_mtls::internal::token::{Role, Token};
use hsm_mtls::internal::working_dir;
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};

use super::{CommandError, Global};

/// Loads the configuration. For commands that do not load the module in this process.
pub(crate) fn config(global: &Global) -> Result<Config, CommandError> {
    Config::load(config_path(global)?).map_err(CommandError::stage)
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

/// Loads the configuration, sets the module's environment variables, and changes into its working directory.
///
/// Setting a variable of a running process is not thread-safe. So where one differs, the program executes itself once
/// more with the configured variables, before anything else happens.
pub(crate) fn config_for_module(global: &Global) -> Result<Config, CommandError> {
    let config = config(global)?;
    let differs = |(name, value): (&String, &String)| {
        env::var_os(name).is_none_or(|current| current != value.as_str())
    };
    if config.token.env.iter().any(differs) {
        let mut arguments = env::args_os();
        let mut command = Command::new(env::current_exe()?);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        standard_error::flush();
        let error = command.args(arguments).envs(&config.token.env).exec();
        return Err(CommandError::usage(
            format!("the variables of [[token]] env cannot be put in place: {error}"),
            "set them before you start the command",
        ));
    }
    if let Some(folder) = &config.token.working_dir {
        // Where that fails, the check before the module is loaded says why.
        let _ = working_dir::enter(folder);
    }
    Ok(config)
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
        Attendance::Attended(Box::new(|prompt| {
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
