//! `token list`, and what the commands of the token share.

mod check;
mod key_steps;
mod load_test;
mod redaction;
mod report;
mod report_facts;
mod step_names;
mod step_output;
mod steps;

use std::time::Duration;

use clap::Subcommand;
use hsm_mtls::internal::config::{Config, LoginRole, USER_NAME_FORM, is_user_name};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::{Role, config_obstacle, description};
use serde_json::json;

use super::setup::RoleOption;
use super::{CommandError, Global, output};
pub(super) use check::check;
pub(super) use load_test::LoadTest;
pub(super) use report::ReportArgs;

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// The tokens that the module shows
    List {
        #[command(flatten)]
        role: RoleOption,
    },
    /// Every step from loading the module to verified signatures; names the one that fails
    ///
    /// With [sig4] in the configuration its key is checked behind that of C3; with --sig4 alone.
    Check {
        /// How many signatures to measure
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        signatures: u32,
        /// Then measure the token under load: so many signatures in all
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        load: Option<u32>,
        /// How many of them are asked for at once; `sessions` of [[token]] work on them
        #[arg(long, value_name = "C", default_value_t = 8, requires = "load", value_parser = clap::value_parser!(u32).range(1..=1024))]
        concurrency: u32,
        #[command(flatten)]
        report: ReportArgs,
        #[command(flatten)]
        role: RoleOption,
    },
}

/// Parses the value of `--user-type`.
pub(super) fn parse_role(text: &str) -> Result<Role, String> {
    let role = LoginRole::parse(text).ok_or(LoginRole::FORM)?;
    Ok(role.into())
}

/// Parses the value of `--user-name`.
pub(super) fn parse_user_name(text: &str) -> Result<String, String> {
    match is_user_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("write {USER_NAME_FORM}")),
    }
}

pub(super) fn list(global: &Global, config: &Config) -> Result<ExitCode, CommandError> {
    let module = Module::load(&config.token).map_err(CommandError::stage)?;
    let tokens = description::list_tokens(&module).map_err(CommandError::stage)?;
    if global.json {
        let tokens: Vec<_> = tokens
            .iter()
            .map(|token| match token {
                Ok(token) => json!({
                    "uri": token.uri().to_string(),
                    "configured": token.matches(&config.token.uri, &module),
                    "firmware": format!("{}.{}", token.firmware.0, token.firmware.1),
                    "login_required": token.login_required,
                    "protected_path": token.protected_path,
                    "pin_warnings": token.pin_warnings,
                }),
                Err(fault) => json!({ "error": fault.to_string() }),
            })
            .collect();
        output::json(&json!({ "schema": 0, "module": module.path(), "tokens": tokens }))?;
        return Ok(ExitCode::Good);
    }
    output::heading(&describe(&module))?;
    if tokens.is_empty() {
        output::line("  no initialised token")?;
        if let Some((obstacle, advice)) = config_obstacle(&config.token) {
            output::note(&obstacle)?;
            output::note(&advice)?;
        }
    }
    for token in &tokens {
        match token {
            Ok(token) => {
                let mark = if token.matches(&config.token.uri, &module) {
                    "*"
                } else {
                    " "
                };
                let warnings = token.pin_warnings.join(" ");
                output::line(format!("{mark} {} {warnings}", token.uri()).trim_end())?;
            }
            Err(fault) => output::line(&format!("! a slot that cannot be read: {fault}"))?,
        }
    }
    output::line("\n* matches the `uri` of [[token]]")?;
    Ok(ExitCode::Good)
}

/// The module's path, and what C_GetInfo returned.
fn describe(module: &Module) -> String {
    let info = module.description();
    format!(
        "{} ({} {}.{}, PKCS#11 {}.{})",
        module.path().display(),
        info.description,
        info.version.0,
        info.version.1,
        info.cryptoki.0,
        info.cryptoki.1
    )
}

/// A duration in milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
