//! `signer`: the process that has module, PIN and ledger. Commands and the proxy's supervisor start it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;

use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::{Config, KeyAndCertificate, KeyRole};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{Purpose, challenge};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::signer::hardening::Measure;
use hsm_mtls::internal::signer::service::{self, SignerConfiguration};
use hsm_mtls::internal::signer::signer_supervisor::{Launch, SupervisedSigner};
use hsm_mtls::internal::signer::{self, RemoteKey, SignerError, hardening, service_user};
use hsm_mtls::internal::standard_error;

use super::{CommandError, Global, LogFormat, output, setup};

/// Key and certificate that stand in the place of the configured ones, while a rotation tries them.
#[derive(Args)]
pub(super) struct SignerArgs {
    /// Which of the tokens that hold a key for the connections, from 0 on.
    #[arg(long, default_value_t = 0)]
    token_number: u8,
    #[arg(long, requires = "certificate")]
    key: Option<String>,
    #[arg(long, requires = "key")]
    certificate: Option<String>,
    #[command(flatten)]
    role: setup::RoleOption,
}

/// Runs the signer process.
pub(super) fn serve(global: &Global, args: SignerArgs) -> Result<ExitCode, CommandError> {
    let read = SignerConfiguration::read(setup::config_path(global)?, args.token_number);
    // Once only: what is open after the exec too was opened in this process, by a preloaded library for instance.
    if env::var_os(REEXECUTED).is_none() {
        // What is wrong with the configuration is reported when it is used.
        let variables = read.config().map_or_else(BTreeMap::new, missing_variables);
        if hardening::has_stray_descriptors()? || !variables.is_empty() {
            return Err(reexecute(variables));
        }
    }
    let role = args.role.role();
    let values = args.key.zip(args.certificate);
    let replaced = values.map(|(key, certificate)| {
        let kid = None;
        (
            role,
            KeyAndCertificate {
                key,
                certificate,
                kid,
            },
        )
    });
    service::serve(read, replaced, setup::attendance_of).map_err(CommandError::stage)
}

/// The environment variables of the module and of its user that this process does not have yet. The module reads them when it is loaded,
/// and the launcher that started this process does not know them.
fn missing_variables(config: &Config) -> BTreeMap<String, String> {
    let mut variables = environment(config);
    variables.retain(|name, value| env::var_os(name).is_none_or(|set| set != **value));
    variables
}

/// The variable that is set in a signer that executed itself once more.
const REEXECUTED: &str = "HSM_MTLS_SIGNER_AGAIN";

/// Executes the program once more, which closes file descriptors that the signer inherited from an application, and sets these
/// environment variables: a running process cannot change its own safely.
fn reexecute(variables: BTreeMap<String, String>) -> CommandError {
    hardening::close_descriptors_on_exec();
    let mut arguments = env::args_os();
    let mut command = Command::new(PROGRAM);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    standard_error::flush();
    let error = command
        .args(arguments)
        .envs(variables)
        .env(REEXECUTED, "1")
        .exec();
    CommandError::usage(
        format!("the signer process cannot be executed once more: {error}"),
        "check that this user may execute the program, and how many processes it may have",
    )
}

/// The configured certificate chain, with its key in a signer process that this starts.
pub(super) fn identity(global: &Global, config: &Config) -> Result<Identity, SignerError> {
    // The process that has the PIN inherits no descriptors of the shell.
    hardening::close_descriptors_on_exec();
    hardening::harden(0);
    signer::identity(config, launch_for_command(global, config))
}

/// [`identity`] for a command that makes one request or one token: it signs once at a time.
pub(super) fn identity_of_one_caller(
    global: &Global,
    config: &Config,
) -> Result<Identity, SignerError> {
    hardening::close_descriptors_on_exec();
    hardening::harden(0);
    let mut launch = launch_for_command(global, config);
    // glibc's allocator would map a heap for each of a few short-lived threads.
    let one_heap = ("MALLOC_ARENA_MAX".to_owned(), "1".to_owned());
    launch.environment.extend([one_heap]);
    // A further channel would be a thread of the signer, for nothing.
    signer::identity_over(1, config, launch)
}

/// [`identity_of_one_caller`] with the token of `--token`, or else with the first that has its key open, by `priority`; with
/// the configuration of that token.
pub(super) fn identity_of_any_token(
    global: &Global,
    config: Config,
) -> Result<(Config, Identity), CommandError> {
    if global.token.is_some() || config.key_tokens() == 1 {
        let config = setup::of_one_token(global, config)?;
        let identity = identity_of_one_caller(global, &config).map_err(CommandError::stage)?;
        return Ok((config, identity));
    }
    let mut tokens = config.of_each_key_token();
    tokens.sort_by_key(|config| config.token.priority);
    let last = tokens.pop().unwrap_or(config);
    for config in tokens {
        match identity_of_one_caller(global, &config) {
            Ok(identity) => return Ok((config, identity)),
            Err(error) if error.is_of_one_token() => {
                let name = config.token.name.as_deref().unwrap_or_default();
                output::remark(&format!("another token than {name} is asked: {error}"));
            }
            Err(error) => return Err(CommandError::stage(error)),
        }
    }
    let identity = identity_of_one_caller(global, &last).map_err(CommandError::stage)?;
    Ok((last, identity))
}

/// [`identity`] with another key and certificate of a role than the file names. `config` has them already.
pub(super) fn identity_with(
    global: &Global,
    config: &Config,
    role: KeyRole,
    values: &KeyAndCertificate,
) -> Result<Identity, SignerError> {
    hardening::close_descriptors_on_exec();
    hardening::harden(0);
    let mut launch = launch_for_command(global, config);
    let options = [
        ("--key", &values.key),
        ("--certificate", &values.certificate),
    ];
    for (option, value) in options {
        launch
            .arguments
            .extend([format!("{option}={value}").into()]);
    }
    if role == KeyRole::Sig4 {
        launch.arguments.push("--sig4".into());
    }
    signer::identity(config, launch)
}

/// The variable that is set in the signer process of one command: its errors are that command's.
pub(super) const OF_A_COMMAND: &str = "HSM_MTLS_SIGNER_OF_A_COMMAND";

fn launch_for_command(global: &Global, config: &Config) -> Launch {
    let mut launch = launch(global, config);
    let variable = (OF_A_COMMAND.to_owned(), "1".to_owned());
    launch.environment.extend([variable]);
    launch
}

/// How a supervisor starts the signer process.
pub(super) fn launch(global: &Global, config: &Config) -> Launch {
    Launch {
        program: PROGRAM.into(),
        arguments: {
            let mut arguments = arguments(global, &config.path, "signer");
            arguments.extend(token_number(config.key_token).map(OsString::from));
            arguments
        },
        environment: environment(config),
        attended: std::io::stdin().is_terminal(),
    }
}

/// The variables of the signer process: those of `[[token]] env` come before those of its user.
fn environment(config: &Config) -> BTreeMap<String, String> {
    let mut variables = service_user::variables(config);
    variables.extend(config.module_variables());
    variables
}

/// The option of a signer process that has the key of one of several tokens.
pub(super) fn token_number(token: u8) -> Option<String> {
    (token > 0).then(|| format!("--token-number={token}"))
}

/// This program, in the same version also after an upgrade replaced its file.
pub(super) const PROGRAM: &str = "/proc/self/exe";

/// The arguments of another process of this program.
pub(super) fn arguments(global: &Global, path: &Path, command: &str) -> Vec<OsString> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut arguments: Vec<OsString> = vec!["--config".into(), path.into()];
    if global.json {
        arguments.push("--json".into());
    }
    if global.log_format() == LogFormat::Json {
        arguments.extend(["--log-format".into(), "json".into()]);
    }
    arguments.extend((0..global.verbose).map(|_| "-v".into()));
    arguments.push(command.into());
    arguments
}

/// The name of the step of `token check`.
pub(super) const STEP: &str = "signer process";

/// The step of `token check`: starts a signer process as `verify` and `request` do, lets it sign a challenge, and reports
/// its hardening measures.
pub(super) fn check(global: &Global, config: &Config, has_certificate: bool, steps: &mut Steps) {
    if !has_certificate {
        return steps.seen(
            STEP,
            Outcome::Note,
            "not tried: it takes the key that a certificate is of",
        );
    }
    let is_typed = |pin: &PinSource| matches!(pin, PinSource::Prompt | PinSource::ProtectedPath);
    if config.tokens().any(|token| is_typed(&token.pin)) {
        return steps.seen(
            STEP,
            Outcome::Note,
            "not tried: the PIN would be asked for once more",
        );
    }
    steps.begin();
    match start_and_sign(global, config) {
        Ok((key, duration)) => {
            let (in_force, missing): (Vec<_>, Vec<_>) =
                key.hardening().iter().partition(|measure| measure.in_force);
            let names = |measures: &[&Measure]| {
                let names: Vec<_> = measures
                    .iter()
                    .map(|measure| measure.name.as_str())
                    .collect();
                names.join(", ")
            };
            let mut detail = format!(
                "a challenge was signed in {:.1} ms; in force: {}",
                duration.as_micros() as f64 / 1000.0,
                names(&in_force)
            );
            if !missing.is_empty() {
                detail.push_str(&format!("; not: {}", names(&missing)));
            }
            if let Some(wall) = config.wall_between_processes() {
                detail.push_str(&format!("; `proxy`: {wall}"));
            }
            steps.good(STEP, detail);
        }
        Err(error) => steps.bad(STEP, error.to_string(), error.hint(), error.exit_code()),
    }
}

/// The hardening measures of a signer process that is started to report them.
pub(super) fn hardening(global: &Global, config: &Config) -> Result<Vec<Measure>, SignerError> {
    start_and_sign(global, config).map(|(key, _)| key.hardening().to_vec())
}

/// Starts a signer process, and lets it sign a challenge. Returns how long the signature took.
fn start_and_sign(global: &Global, config: &Config) -> Result<(RemoteKey, Duration), SignerError> {
    hardening::close_descriptors_on_exec();
    let (supervised, sockets) =
        SupervisedSigner::start(launch_for_command(global, config), signer::channels(config))?;
    let key = RemoteKey::connect(config, sockets, Some(supervised))?;
    let duration = challenge(&key, Purpose::Proof)?;
    Ok((key, duration))
}
