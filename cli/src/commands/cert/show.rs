//! `cert show`: the installed certificate, and what a monitor has to report about it.

use std::time::SystemTime;

use super::super::error::Error;
use super::super::setup::RoleOption;
use super::super::{CommandError, Global, output, setup, token_process};
use super::{as_json, rows};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::name::COMMON_NAME;
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read_file};
use hsm_mtls::internal::config::sig4::check_kid;
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity;
use hsm_mtls::internal::jwks::location::environment_of;
use serde_json::json;

pub(super) fn show(
    global: &Global,
    role: RoleOption,
    min_days: Option<i64>,
) -> Result<ExitCode, CommandError> {
    let config = setup::config_to_read(global)?;
    let show_here =
        |config: &Config| role.run(config, |view| show_here(global, config, view, min_days));
    match role.view(&config)?.c3.certificate {
        CertificateSource::File(_) => show_here(&config),
        CertificateSource::Token(_) => token_process::run(global, |config| show_here(&config)),
    }
}

/// `config` is the whole configuration, `view` that of the certificate.
fn show_here(
    global: &Global,
    config: &Config,
    view: &Config,
    min_days: Option<i64>,
) -> Result<ExitCode, CommandError> {
    let certificates = installed_certificates(view).map_err(CommandError::stage)?;
    let leaf = certificates.first().ok_or_else(|| {
        CommandError::stage(CertificateError::Empty("the configured place".to_owned()))
    })?;
    // Anchors that cannot be read are an error of the command, and no fault of the certificate.
    let anchors = Anchors::load(view).map_err(CommandError::stage)?;
    let mut faults = faults(view, &anchors, &certificates, leaf, min_days);
    if view.c3.role == KeyRole::Sig4 {
        let another = check_kid(config, &leaf.x5t_s256()).err();
        faults.extend(another.map(|error| error.to_string()));
    }
    if global.json {
        let certificate = as_json(config, view.c3.role, leaf);
        output::json(&json!({ "schema": 0, "certificate": certificate, "faults": faults }))?;
    } else {
        output::heading(&title(view, leaf))?;
        output::fields(&rows(config, view.c3.role, leaf))?;
        for fault in &faults {
            output::verdict(false, fault)?;
        }
    }
    Ok(if faults.is_empty() {
        ExitCode::Good
    } else {
        ExitCode::Finding
    })
}

/// The heading: the environment of the certificate, and that of the configuration where it is another.
fn title(config: &Config, leaf: &Certificate) -> String {
    let (configured, role) = (config.environment, config.c3.role.name());
    match environment_of(config, leaf) {
        Some(environment) if environment == configured => {
            format!("{role} of the {environment} environment")
        }
        Some(environment) => {
            format!("{role} of the {environment} environment; the configuration is of {configured}")
        }
        None => {
            let issuer = leaf.issuer();
            let name = issuer.first(COMMON_NAME);
            let name = name.unwrap_or_else(|| issuer.to_string());
            format!("certificate issued by {name}; the configuration is of {configured}")
        }
    }
}

/// What is wrong with the certificate: its chain, its dates, too few days left.
fn faults(
    config: &Config,
    anchors: &Anchors,
    certificates: &[Certificate],
    leaf: &Certificate,
    min_days: Option<i64>,
) -> Vec<String> {
    let now = SystemTime::now();
    let mut faults = Vec::new();
    let chain = Chain::complete(certificates, anchors, config.environment);
    faults.extend(chain.err().map(|error| error.to_string()));
    faults.extend(
        leaf.check_role(config.c3.role, now)
            .err()
            .map(|error| error.to_string()),
    );
    let days = leaf.days_left(now);
    if let Some(min) = min_days.filter(|min| days < *min && days >= 0) {
        faults.push(format!(
            "fewer than {min} days are left: request a new one with {}",
            config.c3.role.advice("`hsm-mtls csr`")
        ));
    }
    faults
}

/// The certificates in the configured file, or the one in the token, which is opened for it.
pub(in crate::commands) fn installed_certificates(
    config: &Config,
) -> Result<Vec<Certificate>, Error> {
    match &config.c3.certificate {
        CertificateSource::File(path) => Ok(read_file(path)?),
        CertificateSource::Token(_) => {
            let token = setup::open_token(config)?;
            Ok(vec![identity::certificate_in_token(config, &token)?])
        }
    }
}
