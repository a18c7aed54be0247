//! `cert install` and `cert show`, and how both describe a certificate.

mod atomic_replace;
mod install;
mod show;

use std::time::SystemTime;

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::certificate::name::{COMMON_NAME, ORGANIZATIONAL_UNIT};
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::environment::Environment;
use serde_json::json;

pub(super) use install::install;
pub(super) use show::show;

/// The environment of a certificate, by its issuer's name. `None` for older CAs, which have other names: for those the
/// chain decides.
fn environment_of(leaf: &Certificate) -> Option<Environment> {
    let issuer = leaf.issuer().first(COMMON_NAME)?;
    let environments = [Environment::Preprod, Environment::Production];
    environments
        .into_iter()
        .find(|environment| environment.documented_ca_names().contains(&issuer))
}

/// The URL of the JWKS of the certificate's application; `None` where its subject has no OU and CN.
fn jwks_url(config: &Config, leaf: &Certificate) -> Option<String> {
    let subject = leaf.subject();
    let environment = environment_of(leaf).unwrap_or(config.environment);
    Some(environment.jwks_url(
        &subject.first(ORGANIZATIONAL_UNIT)?,
        &subject.first(COMMON_NAME)?,
    ))
}

/// The certificate as names and values.
fn rows(config: &Config, leaf: &Certificate) -> Vec<(&'static str, String)> {
    let days = leaf.days_left(SystemTime::now());
    vec![
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
        ("x5t#S256", leaf.x5t_s256()),
        (
            "JWKS (derived)",
            jwks_url(config, leaf).unwrap_or_else(|| "the subject has no OU and CN".to_owned()),
        ),
    ]
}

/// The certificate in the command's JSON.
fn as_json(config: &Config, leaf: &Certificate) -> serde_json::Value {
    json!({
        "subject": leaf.subject().to_string(),
        "issuer": leaf.issuer().to_string(),
        "not_before": leaf.not_before(),
        "not_after": leaf.not_after(),
        "days_left": leaf.days_left(SystemTime::now()),
        "fingerprint": leaf.fingerprint().to_string(),
        "x5t_s256": leaf.x5t_s256(),
        "spki_sha256": leaf.public_key().map(|key| key.fingerprint().to_string()),
        "jwks_url": jwks_url(config, leaf),
    })
}
