//! `pin check`: has the token judge the PIN of a source, once. `pin accept-count-low`: an operator accepts
//! CKF_USER_PIN_COUNT_LOW for one login of an unattended service.

mod check;

use clap::{Args, Subcommand};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::guard::{Attendance, CountLow};
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::{Role, Token};
use serde_json::json;

use super::setup::RoleOption;
use super::{CommandError, Global, output, setup, token};

#[derive(Subcommand)]
pub(super) enum PinCommand {
    /// Log in once with the PIN of a source, and say whether the token accepts it
    ///
    /// At a change of the PIN: with --pin-source and the file that has the new one, before that file takes the
    /// place of the one that the service reads. Under the PIN guard, as each login: a PIN that was refused is
    /// not sent again, by this command neither, and each try is in the ledger. Nothing is signed. Ends with 4
    /// where the token refuses the PIN or none was sent.
    Check(PinOptions),
    /// Allow one login although the token says CKF_USER_PIN_COUNT_LOW, where nobody is at a terminal
    ///
    /// Make sure first that the PIN source has the right PIN, then run this as the user of the service, and
    /// start the service within an hour. It allows one C_Login with the PIN of this source and is used up
    /// before it: by a wrong PIN, a crash and a restart too. Nothing is sent by this command. It is refused
    /// where the token says FINAL_TRY, LOCKED or TO_BE_CHANGED, and where what the source has was refused
    /// before. Ends with 0 also where the token does not warn: then none is needed.
    AcceptCountLow(AcceptArgs),
}

#[derive(Args)]
pub(super) struct AcceptArgs {
    /// For one try, which must be said
    #[arg(long, required = true)]
    once: bool,
    #[command(flatten)]
    pin: PinOptions,
}

#[derive(Args)]
pub(super) struct PinOptions {
    /// PIN source of another role, as `key generate` takes it; without it, the `pin` of [[token]]
    #[arg(long, value_name = "SOURCE")]
    pin_source: Option<PinSource>,
    /// Whose PIN: user, so, or a number of the vendor; without it, the `user` of [[token]]
    #[arg(long, value_name = "ROLE", value_parser = token::parse_role)]
    user_type: Option<Role>,
    /// Which user of that role, where the token has named ones; without it and with the role of
    /// [[token]], the `user_name` there
    #[arg(long, value_name = "NAME", value_parser = token::parse_user_name)]
    user_name: Option<String>,
    #[command(flatten)]
    of_key: RoleOption,
}

pub(super) fn run(
    global: &Global,
    config: &Config,
    command: PinCommand,
) -> Result<ExitCode, CommandError> {
    match command {
        PinCommand::Check(pin) => {
            let of_key = pin.of_key;
            of_key.run(config, |view| check::check(global, view, pin))
        }
        PinCommand::AcceptCountLow(args) => {
            let of_key = args.pin.of_key;
            of_key.run(config, |view| accept_count_low(global, view, args.pin))
        }
    }
}

/// Whose PIN it is, and where it comes from.
struct NamedPin {
    role: Role,
    user_name: Option<String>,
    source: PinSource,
}

impl PinOptions {
    /// # Errors
    /// The PIN is not that of `[[token]]`, and no source was given.
    fn named(self, config: &Config) -> Result<NamedPin, CommandError> {
        let configured = Role::from(config.token.user);
        let role = self.user_type.unwrap_or(configured);
        let user_name = setup::user_name(config, role, self.user_name);
        let is_configured = role == configured && user_name == config.token.user_name;
        if !is_configured && self.pin_source.is_none() {
            return Err(CommandError::usage(
                "this role has a PIN of its own, and no source for it was given",
                "pass --pin-source: the `pin` of [[token]] is that of its `user`",
            ));
        }
        Ok(NamedPin {
            role,
            user_name,
            source: self.pin_source.unwrap_or_else(|| config.token.pin.clone()),
        })
    }
}

impl NamedPin {
    /// The configured token, which takes this PIN.
    fn token(
        &self,
        config: &Config,
        attendance: Attendance,
        recorder: Recorder,
    ) -> Result<Token, CommandError> {
        let module = Module::load(&config.token).map_err(CommandError::stage)?;
        let selected = Token::select(module, &config.token, attendance.clone(), recorder);
        let (source, user_name) = (self.source.clone(), self.user_name.clone());
        let token = selected.map_err(CommandError::stage)?;
        Ok(token.with_pin_source(source, attendance, self.role, user_name))
    }
}

fn accept_count_low(
    global: &Global,
    config: &Config,
    pin: PinOptions,
) -> Result<ExitCode, CommandError> {
    let pin = pin.named(config)?;
    let source = &pin.source;
    if matches!(source, PinSource::Prompt | PinSource::ProtectedPath) {
        return Err(CommandError::usage(
            format!("the PIN comes from {source}: whoever types it is asked then"),
            "run `hsm-mtls token check` at a terminal and answer yes; an acceptance is for a PIN that needs no person",
        ));
    }
    // This command does not log in, and so records nothing. The login that uses the acceptance is recorded.
    let token = pin.token(config, Attendance::Unattended, Recorder::NONE)?;
    let outcome = token
        .accept_count_low(pin.role)
        .map_err(CommandError::stage)?;
    let uri = token.description().uri().to_string();
    if global.json {
        let report = match &outcome {
            CountLow::NotSet => json!({ "schema": 0, "accepted": false, "token": uri }),
            CountLow::Accepted { flag, file, until } => json!({
                "schema": 0,
                "accepted": true,
                "token": uri,
                "flag": flag,
                "pin_source": source.to_string(),
                "until": until,
                "file": file,
            }),
        };
        output::json(&report)?;
        return Ok(ExitCode::Good);
    }
    match outcome {
        CountLow::NotSet => output::line(
            "the token does not say that few tries are left: the next login needs no acceptance, and none was written",
        )?,
        CountLow::Accepted { flag, file, until } => {
            output::heading(&format!("{flag} is accepted for one login until {until}"))?;
            output::fields(&[
                ("token", uri),
                ("PIN from", source.to_string()),
                ("kept in", file.display().to_string()),
            ])?;
            if config.token.state_dir.is_none() {
                output::note(
                    "`state_dir` of [[token]] is not set: see that the service looks in the same folder",
                )?;
            }
            output::line("start the service now; a second try takes a second acceptance")?;
        }
    }
    Ok(ExitCode::Good)
}
