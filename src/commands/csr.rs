//! `csr`: a certificate request, signed in the token.

use hsm_mtls::config::SubjectConfig;
use hsm_mtls::csr::{self, CsrError};
use hsm_mtls::error::ExitCode;
use hsm_mtls::identity;
use serde_json::json;

use super::{CommandError, CsrArgs, Global, output, start};

pub(super) fn request(global: &Global, args: CsrArgs) -> Result<ExitCode, CommandError> {
    let config = start::config_for_module(global)?;
    let output = args.output.clone();
    let subject =
        csr::subject(&subject(config.c3.subject.clone(), args)?).map_err(CommandError::stage)?;
    let token = start::token(&config).map_err(CommandError::Stage)?;
    let signer =
        identity::signer_without_certificate(&config, &token).map_err(CommandError::Stage)?;
    let pem = csr::request(&signer, &subject).map_err(CommandError::stage)?;
    match &output {
        Some(path) => output::file(path, pem.as_bytes())?,
        None if !global.json => output::raw(pem.as_bytes())?,
        None => {}
    }
    if global.json {
        output::json(&json!({ "schema": 0, "subject": subject.to_string(), "pem": pem }))?;
    } else if let Some(path) = output {
        output::line(&format!(
            "request for {subject}\nwritten to {}",
            path.display()
        ))?;
    }
    Ok(ExitCode::Good)
}

/// What the configuration says, with flags in its place where they are given.
fn subject(config: Option<SubjectConfig>, args: CsrArgs) -> Result<SubjectConfig, CommandError> {
    let missing = |field| CommandError::stage(CsrError::SubjectMissing(field));
    let configured = config.as_ref();
    let pick = |flag: Option<String>, of: fn(&SubjectConfig) -> &String, field| {
        flag.or_else(|| configured.map(|config| of(config).clone()))
            .ok_or_else(|| missing(field))
    };
    Ok(SubjectConfig {
        country: args
            .country
            .or_else(|| configured.map(|config| config.country.clone()))
            .unwrap_or_else(|| "AE".to_owned()),
        organization: pick(args.organization, |config| &config.organization, "O")?,
        organizational_unit: pick(
            args.organizational_unit,
            |config| &config.organizational_unit,
            "OU",
        )?,
        common_name: pick(args.common_name, |config| &config.common_name, "CN")?,
    })
}
