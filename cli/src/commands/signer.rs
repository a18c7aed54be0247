//! `signer`: the process that holds module, PIN and ledger. Its supervisor starts it.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{Purpose, challenge};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::signer::hardening::Measure;
use hsm_mtls::internal::signer::supervisor::{Launch, SupervisedSigner};
use hsm_mtls::internal::signer::{self, RemoteKey, SignerError, hardening, service};
use hsm_mtls::internal::standard_error;

use super::{CommandError, Global, LogFormat, setup};

pub(super) fn serve(global: &Global) -> Result<ExitCode, CommandError> {
    // Once: what is open before we are is somebody's who is started with us.
    if hardening::has_stray_descriptors()? && env::var_os(AGAIN).is_none() {
        return Err(begin_again());
    }
    service::serve(setup::path(global)?, setup::attendance_of).map_err(CommandError::stage)
}

/// Set in a signer that was executed once more.
const AGAIN: &str = "HSM_MTLS_SIGNER_AGAIN";

/// An application may have files open that its children inherit. They are closed by an exec.
fn begin_again() -> CommandError {
    hardening::close_descriptors_on_exec();
    let mut arguments = env::args_os();
    let mut again = Command::new(PROGRAM);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    standard_error::flush();
    let error = again.args(arguments).env(AGAIN, "1").exec();
    CommandError::usage(
        format!("the signer process cannot be executed once more: {error}"),
        "check that this user may execute the program, and how many processes it may have",
    )
}

/// The configured chain, and its key in a signer process of this program's.
pub(super) fn identity(global: &Global, config: &Config) -> Result<Identity, SignerError> {
    // Whatever the shell left open is nothing for a process that has the PIN.
    hardening::close_descriptors_on_exec();
    hardening::harden(0);
    signer::identity(config, launch_for_command(global, config))
}

/// Set for a signer that works for one command: what it cannot do is that command's error.
pub(super) const OF_A_COMMAND: &str = "HSM_MTLS_SIGNER_OF_A_COMMAND";

fn launch_for_command(global: &Global, config: &Config) -> Launch {
    let mut launch = launch(global, config);
    let set = (OF_A_COMMAND.to_owned(), "1".to_owned());
    launch.environment.extend([set]);
    launch
}

pub(super) fn launch(global: &Global, config: &Config) -> Launch {
    Launch {
        // Whatever file has the name of the program by now: the same version must be started.
        program: PROGRAM.into(),
        arguments: arguments(global, config, "signer"),
        environment: config.token.env.clone(),
        attended: std::io::stdin().is_terminal(),
        configuration: None,
    }
}

/// This program, also when its file was replaced.
pub(super) const PROGRAM: &str = "/proc/self/exe";

/// What another process of this program is told.
pub(super) fn arguments(global: &Global, config: &Config, command: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--config".into(), config.path.clone().into()];
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

/// The step of `token check`.
pub(super) const STEP: &str = "signer process";

/// Starts one as `verify` and `request` do, has it sign, and says what is in force in it.
pub(super) fn check(global: &Global, config: &Config, certified: bool, steps: &mut Steps) {
    if !certified {
        return steps.seen(
            STEP,
            Outcome::Note,
            "not tried: it takes the key that a certificate is of",
        );
    }
    if matches!(
        config.token.pin,
        PinSource::Prompt | PinSource::ProtectedPath
    ) {
        return steps.seen(
            STEP,
            Outcome::Note,
            "not tried: the PIN would be asked for once more",
        );
    }
    steps.begin();
    match in_process(global, config) {
        Ok((key, took)) => {
            let (in_force, not): (Vec<_>, Vec<_>) =
                key.hardening().iter().partition(|part| part.in_force);
            let names = |parts: &[&Measure]| {
                let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
                names.join(", ")
            };
            let mut said = format!(
                "a challenge was signed in {:.1} ms; in force: {}",
                took.as_micros() as f64 / 1000.0,
                names(&in_force)
            );
            if !not.is_empty() {
                said.push_str(&format!("; not: {}", names(&not)));
            }
            steps.good(STEP, said);
        }
        Err(error) => steps.bad(STEP, error.to_string(), error.hint(), error.exit_code()),
    }
}

/// What is in force in a signer process that is started for this.
pub(super) fn hardening(global: &Global, config: &Config) -> Result<Vec<Measure>, SignerError> {
    in_process(global, config).map(|(key, _)| key.hardening().to_vec())
}

fn in_process(global: &Global, config: &Config) -> Result<(RemoteKey, Duration), SignerError> {
    hardening::close_descriptors_on_exec();
    let (supervised, sockets) =
        SupervisedSigner::start(launch_for_command(global, config), signer::channels(config))?;
    let key = RemoteKey::connect(config, sockets, Some(supervised))?;
    let took = challenge(&key, Purpose::Proof)?;
    Ok((key, took))
}
