//! `verify`: shows the certificate to CM and HH.

use hsm_mtls::error::ExitCode;
use hsm_mtls::verify;

use super::{CommandError, Global, output, start};

pub(super) fn verify(global: &Global) -> Result<ExitCode, CommandError> {
    let config = start::config_for_module(global)?;
    let report = start::runtime()?
        .block_on(verify::verify(&config, start::attendance()))
        .map_err(CommandError::Stage)?;
    if global.json {
        output::json(&report)?;
        return Ok(report.exit_code());
    }
    let shown = &report.certificate;
    output::heading(&format!("C3 of the {} environment", report.environment))?;
    output::fields(&[
        ("subject", shown.subject.clone()),
        ("issuer", shown.issuer.clone()),
        ("valid until", shown.not_after.clone()),
        ("x5t#S256", shown.x5t_s256.clone()),
        ("key", shown.key.clone()),
        (
            "pair",
            format!(
                "proved by a signed challenge in {:.1} ms",
                shown.proof_millis
            ),
        ),
    ])?;
    for service in &report.services {
        output::heading(&format!("\n{} ({})", service.name, service.origin))?;
        output::steps(service.steps.list())?;
        if let Some(id) = &service.interaction_id {
            output::fields(&[("x-fapi-interaction-id", id.clone())])?;
        }
    }
    output::line("")?;
    for service in &report.services {
        let state = if service.established {
            "established"
        } else {
            "NOT established"
        };
        output::verdict(
            service.established,
            &format!("{}: mutual TLS {state}", service.name),
        )?;
    }
    Ok(report.exit_code())
}
