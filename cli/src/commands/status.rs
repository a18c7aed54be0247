//! `status`: everything that has a date or can be down, on one screen for each environment, and what to do next and by when. A
//! certificate ends on a day that nobody thinks of; so this is made to be looked at by a person and by a monitor, often, without a PIN,
//! without a use of the key, and without the network.

mod each_environment;
mod environment;
mod key_set;
mod last_uses;
mod pair;
mod print;
mod proxy_state;
mod report;
mod rotation_state;
pub(crate) mod state;
mod token_presence;
mod trust_files;

use std::path::PathBuf;

use clap::Args;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::exit_code::ExitCode;

use super::{CommandError, Global, output, setup};
use each_environment::unusable;
use report::{EnvironmentReport, Report};
use state::{State, Thresholds, parse_days};
use token_presence::Tokens;

#[derive(Args)]
pub(super) struct StatusArgs {
    /// Configurations, of several environments too; without any, the one of --config
    files: Vec<PathBuf>,
    /// A certificate with fewer days left is a WARNING
    #[arg(long, value_name = "DAYS", default_value = "60d", value_parser = parse_days)]
    warn: u32,
    /// A certificate with fewer days left is CRITICAL
    #[arg(long, value_name = "DAYS", default_value = "30d", value_parser = parse_days)]
    crit: u32,
    /// Only the line that says it all, with the days left as figures for monitoring
    #[arg(long)]
    brief: bool,
    /// Fetch the published key set, as `jwks check` does
    #[arg(long)]
    online: bool,
    /// Do not load the PKCS#11 module; whether the token is there, a running proxy says
    #[arg(long)]
    no_token: bool,
}

/// The exit code of a command line, or of a process, that cannot even begin. By the plugins' convention 2 would be an outage.
pub(super) const UNUSABLE: State = State::Unknown;

pub(super) fn status(global: &Global, args: &StatusArgs) -> Result<ExitCode, CommandError> {
    run(global, args).map_err(|error| error.with_exit_code(UNUSABLE.exit_code()))
}

fn run(global: &Global, args: &StatusArgs) -> Result<ExitCode, CommandError> {
    let thresholds = Thresholds {
        warn: args.warn,
        crit: args.crit,
    };
    if args.crit > args.warn {
        return Err(CommandError::usage(
            "--crit has more days than --warn: a certificate would be CRITICAL before it is a WARNING",
            "give --warn the larger number, as in `--warn 60d --crit 30d`",
        ));
    }
    if args.brief && global.json {
        return Err(CommandError::usage(
            "--brief is one line of text, and --json an object",
            "leave out one of them",
        ));
    }
    let environments = match args.files.as_slice() {
        [] => match of_one(global, args, thresholds)? {
            Some(report) => vec![report],
            // The process for the module has told its parent.
            None => return Ok(ExitCode::Good),
        },
        _ => each_environment::reports(global, args),
    };
    let report = Report {
        thresholds,
        environments,
    };
    match (global.json, args.brief) {
        (true, _) => output::json(&report.as_json())?,
        (false, true) => print::brief(&report)?,
        (false, false) => print::screen(&report)?,
    }
    Ok(report.state().exit_code())
}

/// The report of the configuration of `--config`. `None`: this is the process for its module.
fn of_one(
    global: &Global,
    args: &StatusArgs,
    thresholds: Thresholds,
) -> Result<Option<EnvironmentReport>, CommandError> {
    let path = setup::config_path(global)?;
    let config =
        match Config::load_to_read(path).and_then(|config| config.check_file().map(|()| config)) {
            Ok(config) => setup::of_one_token(global, config)?,
            Err(error) => return Ok(Some(unusable(path, &error.to_string(), &error.hint()))),
        };
    let tokens = match args.no_token {
        true => Some(Tokens::NotAsked("--no-token".to_owned())),
        false => token_presence::ask(&config),
    };
    Ok(tokens.map(|tokens| environment::report(&config, thresholds, args.online, &tokens)))
}
