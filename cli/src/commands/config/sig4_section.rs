//! `config check` of `[sig4]`: the second key, what its tokens of JWT Auth say, and the token that has it where that is another.

use hsm_mtls::internal::config::sig4::Sig4Config;
use hsm_mtls::internal::config::{Config, TokenConfig};
use hsm_mtls::internal::csr;
use hsm_mtls::internal::jwks::location::documented_url;
use serde_json::{Value, json};

use super::{certificate_text, location, path_and_access, pin_text, state_folder_text};

/// The values of the section, as names and values.
pub(super) fn rows(config: &Config) -> Vec<(&'static str, String)> {
    let Some(sig4) = &config.sig4 else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    if let Some(token) = &config.sig4_token {
        rows.extend(token_rows(token));
    }
    rows.extend([
        ("Sig4 key", sig4.key.to_string()),
        ("Sig4 certificate", certificate_text(&sig4.certificate)),
        ("audience", sig4.audience.clone()),
        ("lifetime of a JWT", format!("{:?}", sig4.lifetime)),
        ("Authorization", format!("{} TOKEN", sig4.scheme)),
        (
            "kid",
            sig4.kid
                .clone()
                .unwrap_or_else(|| "computed from the certificate, and not compared".to_owned()),
        ),
        ("JWKS", jwks_text(config, sig4)),
        (
            "clock of the hub",
            format!("may differ by {:?}", sig4.max_clock_skew),
        ),
        ("JWTs", sig4.signature_limit().to_string()),
    ]);
    if sig4.not_before {
        rows.push(("nbf", "as iat".to_owned()));
    }
    rows
}

fn token_rows(token: &TokenConfig) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Sig4 profile", token.profile(None).summary(token)),
        ("Sig4 module", path_and_access(&token.module)),
        ("Sig4 token", token.uri.to_string()),
    ];
    let user_name = token.user_name.clone();
    rows.extend(user_name.map(|name| ("Sig4 user name", name)));
    rows.extend([
        ("Sig4 PIN from", pin_text(&token.pin)),
        ("its tries recorded in", state_folder_text(token)),
        (
            "its sessions, timeout",
            format!("{}, {:?}", token.sessions, token.timeout),
        ),
    ]);
    let variables = token.env.keys();
    rows.extend(variables.map(|name| ("variable of its module", name.clone())));
    rows
}

/// Where the scheme documents the JWKS of the application; `None` where its subject is not configured.
fn derived_jwks(config: &Config) -> Option<String> {
    let subject = config.c3.subject.as_ref()?;
    let subject = csr::subject(subject, config.environment.regime()).ok()?;
    documented_url(config.environment, &subject)
}

fn jwks_text(config: &Config, sig4: &Sig4Config) -> String {
    match (&sig4.jwks, derived_jwks(config)) {
        (Some(url), _) => format!("{url} (configured)"),
        (None, Some(url)) => format!("{url} (derived)"),
        (None, None) => "derived from the certificate's subject".to_owned(),
    }
}

/// The same values in the command's JSON; null without `[sig4]`.
pub(super) fn as_json(config: &Config) -> Value {
    let Some(sig4) = &config.sig4 else {
        return Value::Null;
    };
    let configured = sig4.jwks.as_ref().map(ToString::to_string);
    json!({
        "key": sig4.key.to_string(),
        "certificate": location(&sig4.certificate),
        "audience": sig4.audience,
        "lifetime_ms": sig4.lifetime.as_millis() as u64,
        "scheme": sig4.scheme,
        "kid": sig4.kid,
        "not_before": sig4.not_before,
        "jwks": configured.clone().or_else(|| derived_jwks(config)),
        "jwks_origin": if configured.is_some() { "configured" } else { "derived" },
        "max_clock_skew_ms": sig4.max_clock_skew.as_millis() as u64,
        "rate": sig4.signature_limit().to_string(),
        "token": config.sig4_token.as_ref().map(token_json),
    })
}

fn token_json(token: &TokenConfig) -> Value {
    let profile = token.profile(None);
    json!({
        "name": token.name,
        "module": token.module,
        "profile": profile.profile.name(),
        "profile_origin": profile.origin.name(),
        "token": token.uri.to_string(),
        "pin_source": token.pin.to_string(),
        "state_dir": token.state_folder(),
        "sessions": token.sessions,
        "timeout_ms": token.timeout.as_millis() as u64,
        "start_timeout_ms": token.start_timeout.as_millis() as u64,
    })
}
