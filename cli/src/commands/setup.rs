//! What a command does first: loads the configuration, opens the token, finds out whether a person is at a terminal.

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use hsm_mtls::internal::config::{Config, ConfigError, KeyRole};
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::guard::Attendance;
use hsm_mtls::internal::token::{Role, Token};
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};

use super::{CommandError, Global, output, token_process};

/// Loads the configuration, as if the token of `--token`, or else the first, were the only one that holds a key for the connections.
pub(crate) fn config(global: &Global) -> Result<Config, CommandError> {
    of_one_token(global, whole_config(global)?)
}

/// Loads the configuration with all its tokens.
pub(crate) fn whole_config(global: &Global) -> Result<Config, CommandError> {
    Config::load(config_path(global)?).map_err(CommandError::stage)
}

/// The configuration of the token of `--token`, or else of the first of several; that is said.
pub(crate) fn of_one_token(global: &Global, config: Config) -> Result<Config, CommandError> {
    let names = config.key_token_names();
    let number = match &global.token {
        Some(name) => names.iter().position(|it| it == name).ok_or_else(|| {
            let which = match names.as_slice() {
                [] => "there is one token that holds a key for the connections".to_owned(),
                names => format!("it is one of {}", names.join(", ")),
            };
            CommandError::usage(
                format!("--token {name}: {which}"),
                "write the `name` of a [[token]], or leave --token out",
            )
        })?,
        None => {
            // The process for the module is told by its parent.
            if let ([first, others @ ..], false) = (names.as_slice(), token_process::is_child()) {
                let others = others.join(" or --token ");
                output::remark(&format!(
                    "this is of the token {first}; --token {others} is of another"
                ));
            }
            0
        }
    };
    Ok(config.of_key_token(number).unwrap_or(config))
}

/// Loads the configuration for a command that only reads: files that all may read, such as certificate and ledger, and runs
/// nothing. An auditor or a monitor may be another user than the service's, to whom those files belong.
pub(crate) fn config_to_read(global: &Global) -> Result<Config, CommandError> {
    of_one_token(global, whole_config_to_read(global)?)
}

/// [`config_to_read`] with all its tokens.
pub(crate) fn whole_config_to_read(global: &Global) -> Result<Config, CommandError> {
    let config = Config::load_to_read(config_path(global)?).map_err(CommandError::stage)?;
    config.check_file().map_err(CommandError::stage)?;
    Ok(config)
}

/// The option `--sig4` of the commands that make, install or check a key and its certificate.
#[derive(Clone, Copy, Args)]
pub(crate) struct RoleOption {
    /// For the key of [sig4], which signs the tokens of JWT Auth, in the place of C3's
    #[arg(long)]
    sig4: bool,
}

impl RoleOption {
    /// The role that was asked for.
    pub(crate) fn role(self) -> KeyRole {
        match self.sig4 {
            true => KeyRole::Sig4,
            false => KeyRole::C3,
        }
    }

    /// The configuration, with key, certificate and token of the role in the place of those of `[c3]`.
    ///
    /// # Errors
    /// `--sig4` was given, and there is no `[sig4]`.
    pub(crate) fn view(self, config: &Config) -> Result<Config, CommandError> {
        let view = match self.role() {
            KeyRole::C3 => Some(config.clone()),
            KeyRole::Sig4 => config.for_sig4(),
        };
        view.ok_or_else(|| {
            CommandError::usage(
                format!("there is no [sig4] in {}", config.path.display()),
                "write [sig4] with key, certificate and audience, or leave --sig4 out: then it is C3's key",
            )
        })
    }

    /// Runs a command with the whole configuration and the view of it, and words its errors for the role.
    ///
    /// # Errors
    /// The command's, or there is no `[sig4]`.
    pub(crate) fn run<T>(
        self,
        config: &Config,
        command: impl FnOnce(&Config) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let view = self.view(config)?;
        command(&view).map_err(|error| error.of_role(self.role()))
    }
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
