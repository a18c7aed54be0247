//! `cert install` and `cert show`, and how both describe a certificate.

pub(super) mod atomic_replace;
mod install;
mod other_role;
mod show;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Subcommand;
use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::jwks::location::key_set_url;
use serde_json::json;

use super::setup::RoleOption;
use super::{CommandError, Global, token_process};
pub(super) use atomic_replace::{CertificateFile, copy_owner_and_mode};
pub(super) use install::{chain_notes, read_chain, store_in_token};
pub(super) use other_role::compare as compare_with_other_role;
pub(super) use show::installed_certificates;

#[derive(Subcommand)]
pub(super) enum CertCommand {
    /// Check a certificate against key, issuer, environment, purpose and dates, then store it
    ///
    /// It is stored where `certificate` of [c3], or with --sig4 of [sig4], says: in that file, or in the token.
    Install {
        /// PEM: the leaf first, then, if there is one, its Issuing CA
        file: PathBuf,
        #[command(flatten)]
        role: RoleOption,
    },
    /// The installed certificate, its x5t#S256 and the days that it has left
    Show {
        /// End with 1 where fewer days are left
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(0..=36_500))]
        min_days: Option<i64>,
        #[command(flatten)]
        role: RoleOption,
    },
}

pub(super) fn run(global: &Global, command: CertCommand) -> Result<ExitCode, CommandError> {
    match command {
        CertCommand::Install { file, role } => token_process::run(global, |config| {
            install::install(global, &config, role, &file)
        }),
        CertCommand::Show { min_days, role } => show::show(global, role, min_days),
    }
}

/// The certificate of a role as names and values.
fn rows(config: &Config, role: KeyRole, leaf: &Certificate) -> Vec<(&'static str, String)> {
    let days = leaf.days_left(SystemTime::now());
    let mut rows = vec![
        ("subject", leaf.subject().to_string()),
        ("issuer", leaf.issuer().to_string()),
        (
            "valid",
            format!(
                "{} to {} ({days} days left)",
                leaf.not_before(),
                leaf.not_after()
            ),
        ),
        (
            "public key",
            match (leaf.public_key(), leaf.unsupported_key()) {
                (Some(key), _) => format!("{} {}", key.algorithm(), key.fingerprint()),
                (None, Some(kind)) => format!("{kind}, which is not supported"),
                (None, None) => "not supported".to_owned(),
            },
        ),
        ("fingerprint", leaf.fingerprint().to_string()),
        (
            match role {
                KeyRole::C3 => "x5t#S256",
                KeyRole::Sig4 => "kid (x5t#S256)",
            },
            leaf.x5t_s256(),
        ),
    ];
    let is_configured = config.sig4.as_ref().is_some_and(|sig4| sig4.jwks.is_some());
    if is_configured || config.environment.regime().key_set.is_some() {
        let url = key_set_url(config, leaf);
        rows.push((
            match is_configured {
                true => "JWKS (configured)",
                false => "JWKS (derived)",
            },
            url.map_or_else(
                || "no URL follows from the subject".to_owned(),
                String::from,
            ),
        ));
    }
    rows
}

/// The certificate in the command's JSON.
fn as_json(config: &Config, role: KeyRole, leaf: &Certificate) -> serde_json::Value {
    let mut json = json!({
        "subject": leaf.subject().to_string(),
        "issuer": leaf.issuer().to_string(),
        "not_before": leaf.not_before(),
        "not_after": leaf.not_after(),
        "days_left": leaf.days_left(SystemTime::now()),
        "fingerprint": leaf.fingerprint().to_string(),
        "x5t_s256": leaf.x5t_s256(),
        "spki_sha256": leaf.public_key().map(|key| key.fingerprint().to_string()),
        "jwks_url": key_set_url(config, leaf).map(String::from),
    });
    if role == KeyRole::Sig4 {
        json["kid"] = leaf.x5t_s256().into();
    }
    json
}
