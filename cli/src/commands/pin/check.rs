//! `pin check`: one login with the PIN of a source, so that a new PIN is known to be right before the service is given it.

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::ledger::Recorder;
use serde_json::json;

use super::super::{CommandError, Global, output, setup};
use super::PinOptions;

pub(super) fn check(
    global: &Global,
    config: &Config,
    pin: PinOptions,
) -> Result<ExitCode, CommandError> {
    let pin = pin.named(config)?;
    let source = &pin.source;
    let recorder = Recorder::open(config.ledger.as_ref()).map_err(CommandError::stage)?;
    let token = pin.token(config, setup::attendance(), recorder)?;
    let sent = token.log_in(pin.role).map_err(CommandError::stage)?;
    let uri = token.description().uri().to_string();
    if global.json {
        output::json(&json!({
            "schema": 0,
            // Null where the token takes no login.
            "accepted": sent.then_some(true),
            "token": uri,
            "pin_source": source.to_string(),
        }))?;
        return Ok(ExitCode::Good);
    }
    if !sent {
        output::line("the token takes no login, so that no PIN was sent")?;
        return Ok(ExitCode::Good);
    }
    output::heading("the token accepted the PIN")?;
    output::fields(&[("token", uri), ("PIN from", source.to_string())])?;
    if *source != config.token.pin {
        output::line(&format!(
            "a service reads {}: put the PIN there, and reload",
            config.token.pin
        ))?;
    }
    Ok(ExitCode::Good)
}
