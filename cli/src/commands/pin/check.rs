//! `pin check`: one login with the PIN of a source, so that a new PIN is known to be right before the service is given it.

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::module::Module;
use serde_json::json;

use super::super::{CommandError, Global, output, setup};
use super::{NamedPin, WhosePin};

pub(super) fn check(
    global: &Global,
    config: &Config,
    pin: WhosePin,
) -> Result<ExitCode, CommandError> {
    let NamedPin {
        role,
        user_name,
        source,
    } = pin.named(config)?;
    let module = Module::load(&config.token).map_err(CommandError::stage)?;
    let recorder = Recorder::open(config.ledger.as_ref()).map_err(CommandError::stage)?;
    let selected = Token::select(module, &config.token, setup::attendance(), recorder);
    let token = selected.map_err(CommandError::stage)?.with_pin_source(
        source.clone(),
        setup::attendance(),
        role,
        user_name,
    );
    let sent = token.log_in(role).map_err(CommandError::stage)?;
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
    if source != config.token.pin {
        output::line(&format!(
            "a service reads {}: put the PIN there, and reload",
            config.token.pin
        ))?;
    }
    Ok(ExitCode::Good)
}
