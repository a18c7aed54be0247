//! `config check` of several tokens that hold a key for the connections: each, how they share, and what a clone means.

use hsm_mtls::internal::config::{Config, FailoverToken, TokenConfig};
use hsm_mtls::internal::identity::same_client::conflict_in_files;
use serde_json::{Value, json};

use super::{
    CommandError, certificate_text, location, path_and_access, pin_text, state_folder_text,
};

/// Refuses tokens that do not go together, as far as their certificates are in files.
///
/// # Errors
/// Two certificates are of two clients, or a key is in two tokens and that is not said.
pub(super) fn refuse(config: &Config) -> Result<(), CommandError> {
    match conflict_in_files(&config.of_each_key_token()) {
        Some(conflict) => Err(CommandError::usage(conflict.message, conflict.hint)),
        None => Ok(()),
    }
}

/// The values of the further tokens, as names and values; before them, how the first shares.
pub(super) fn rows(config: &Config) -> Vec<(&'static str, String)> {
    if config.failover.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![("shares", shares(&config.token))];
    for FailoverToken { token, c3 } in &config.failover {
        rows.extend([
            ("further token", token.uri.to_string()),
            ("shares", shares(token)),
            ("its profile", token.profile(None).summary(token)),
            ("its module", path_and_access(&token.module)),
            ("its PIN from", pin_text(&token.pin)),
            ("PIN tries recorded in", state_folder_text(token)),
            (
                "sessions, timeout",
                format!("{}, {:?}", token.sessions, token.timeout),
            ),
            ("its key", c3.key.to_string()),
            (
                "certificate",
                match token.clone {
                    true => "that of [c3]: a clone of its key".to_owned(),
                    false => certificate_text(&c3.certificate),
                },
            ),
        ]);
    }
    rows
}

fn shares(token: &TokenConfig) -> String {
    let name = token.name.as_deref().unwrap_or_default();
    format!(
        "{name}: priority {}, weight {}; another is asked after {:?}",
        token.priority, token.weight, token.failover_after
    )
}

/// The notes on what several tokens mean.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let clones = config.failover.iter().filter(|further| further.token.clone);
    let names: Vec<_> = clones
        .filter_map(|further| further.token.name.as_deref())
        .collect();
    match names.is_empty() {
        true => Vec::new(),
        false => vec![format!(
            "the key of [c3] is in more than one token (clone = true: {}): whoever audits its custody has to know of each copy; \
             a key and a certificate of its own for each token leaves no copies",
            names.join(", ")
        )],
    }
}

pub(super) fn as_json(config: &Config) -> Value {
    let token = |token: &TokenConfig| {
        json!({
            "name": token.name,
            "priority": token.priority,
            "weight": token.weight,
            "failover_after_ms": token.failover_after.as_millis() as u64,
        })
    };
    if config.failover.is_empty() {
        return Value::Null;
    }
    let further = config
        .failover
        .iter()
        .map(|FailoverToken { token: it, c3 }| {
            let mut json = token(it);
            json["module"] = it.module.to_string_lossy().into();
            json["token"] = it.uri.to_string().into();
            json["pin_source"] = it.pin.to_string().into();
            json["key"] = c3.key.to_string().into();
            json["certificate"] = location(&c3.certificate).into();
            json["clone"] = it.clone.into();
            json
        });
    let first = std::iter::once(token(&config.token));
    first.chain(further).collect()
}
