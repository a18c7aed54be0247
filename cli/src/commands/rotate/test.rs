//! `rotate test`: the new pair is used as the hub will see it, while the old one is in use: mutual TLS with both services, or a
//! token that is judged by the published key set.

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::jwt::Minter;
use hsm_mtls::internal::rfc3339;
use serde_json::json;

use super::super::error::Error;
use super::super::{CommandError, Global, jwks, jwt, output, setup, signer, verify};
use super::rotation::{Access, Rotation};
use super::state::{Stage, State};
use super::status;
use crate::check_steps::Steps;

/// Where a pair can be tested.
const STAGES: [Stage; 2] = [Stage::Installed, Stage::Tested];

pub(super) fn test(
    global: &Global,
    config: &Config,
    view: &Config,
    dry_run: bool,
) -> Result<ExitCode, CommandError> {
    let access = match dry_run {
        true => Access::Read,
        false => Access::Write,
    };
    let mut rotation = Rotation::open(config, view, access)?;
    let state = rotation.at(&STAGES)?.clone();
    if dry_run {
        return status::planned(
            global,
            match rotation.role {
                KeyRole::C3 => {
                    "make a connection to each of both services with the new pair, and send a request to each"
                }
                KeyRole::Sig4 => {
                    "fetch the published key set, sign a token with the new key, and judge it as a hub would"
                }
            },
        );
    }
    rotation.record("test", &state)?;
    let passed = match rotation.role {
        KeyRole::C3 => test_c3(global, &rotation, &state)?,
        KeyRole::Sig4 => test_sig4(global, &rotation, &state)?,
    };
    let (stage, tested) = match passed {
        ExitCode::Good => (Stage::Tested, Some(rfc3339::unix_now())),
        _ => (Stage::Installed, None),
    };
    rotation.save(State {
        stage,
        tested,
        ..state
    })?;
    if !global.json {
        status::remarks(&rotation);
    }
    Ok(passed)
}

/// The configuration with the new pair.
fn new_config(rotation: &Rotation<'_>, state: &State) -> Result<Config, CommandError> {
    let written = state.new.written.as_ref();
    rotation.config_with(written.ok_or_else(|| rotation.wrong_order(state))?)
}

fn open(
    global: &Global,
    rotation: &Rotation<'_>,
    config: &Config,
    state: &State,
) -> Result<Identity, Error> {
    let written = state.new.written.as_ref();
    let written = written.unwrap_or(&state.old.written);
    Ok(signer::identity_with(
        global,
        config,
        rotation.role,
        written,
    )?)
}

/// As `verify` does, with the new pair.
fn test_c3(
    global: &Global,
    rotation: &Rotation<'_>,
    state: &State,
) -> Result<ExitCode, CommandError> {
    let config = new_config(rotation, state)?.without_sig4();
    let opened = || open(global, rotation, &config, state);
    let report = setup::runtime()?.block_on(crate::verify::verify(&config, opened));
    let report = report.map_err(CommandError::stage)?;
    if global.json {
        output::json(&report)?;
    } else {
        verify::print(&report)?;
    }
    Ok(report.exit_code())
}

/// The published key set with the 10 minutes, and a token.
fn test_sig4(
    global: &Global,
    rotation: &Rotation<'_>,
    state: &State,
) -> Result<ExitCode, CommandError> {
    let config = new_config(rotation, state)?;
    let identity = open(global, rotation, &config, state).map_err(CommandError::stage)?;
    let (Some(sig4), Some(minter)) = (identity.sig4(), Minter::new(&config, &identity)) else {
        return Err(CommandError::usage(
            "the signer process has no Sig4 key",
            "run the command again: was the configuration changed meanwhile?",
        ));
    };
    let certificate: &Certificate = sig4.certificate();
    let mut steps = Steps::default();
    let (source, set) = jwks::judge_published(&config, certificate, &mut steps)?;
    let token = minter.mint().map_err(CommandError::stage)?;
    if let Some(set) = &set {
        jwt::judge_token(token.expose(), set, minter.claim_set(), &mut steps);
    }
    let passed = steps.exit_code() == ExitCode::Good;
    if global.json {
        output::json(&json!({
            "schema": 0,
            "passed": passed,
            "kid": certificate.x5t_s256(),
            "jwks": source,
            "steps": steps,
        }))?;
    } else {
        output::heading("Sig4, with the new key")?;
        output::fields(&[
            ("kid", certificate.x5t_s256()),
            ("key", sig4.signer().key_uri()),
            ("JWKS", source),
        ])?;
        output::steps(steps.list())?;
        let text = match passed {
            true => "a hub accepts tokens of the new key",
            false => "a hub does NOT surely accept tokens of the new key",
        };
        output::verdict(passed, text)?;
    }
    Ok(steps.exit_code())
}
