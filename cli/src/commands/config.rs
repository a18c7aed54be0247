//! `config check`: the values that a configuration results in, and whether two environments share a key.

mod failover_section;
mod network_section;
mod proxy_section;
mod shared_keys;
mod sig4_section;

use std::path::{Path, PathBuf};

use hsm_mtls::internal::config::paths::inaccessible;
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::{CertificateSource, Config, HubService, TokenConfig};
use hsm_mtls::internal::csr;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::regime;
use serde_json::{Value, json};

use super::{CommandError, Global, output, setup};
use shared_keys::{list_keys, shared_keys};

/// The note where a variable of the environment names a forward proxy that is not used.
pub(super) fn ignored_variable(config: &Config) -> Vec<String> {
    network_section::notes(config)
}

pub(super) fn check(global: &Global, files: Vec<PathBuf>) -> Result<ExitCode, CommandError> {
    let configs = if files.is_empty() {
        vec![setup::whole_config(global)?]
    } else {
        let load = |file: &PathBuf| Config::load(file).map_err(CommandError::stage);
        files.iter().map(load).collect::<Result<_, _>>()?
    };
    for config in &configs {
        if let Some(subject) = &config.c3.subject {
            csr::subject(subject, config.environment.regime()).map_err(CommandError::stage)?;
        }
    }
    configs.iter().try_for_each(proxy_section::refuse)?;
    configs.iter().try_for_each(failover_section::refuse)?;
    let mut compared = Vec::new();
    let mut shared = Vec::new();
    let mut not_comparable: Vec<String> = Vec::new();
    if configs.len() > 1 {
        let listed = configs
            .iter()
            .map(list_keys)
            .collect::<Result<Vec<_>, _>>()?;
        shared = shared_keys(&configs, &listed);
        let without_public_key = listed
            .iter()
            .flatten()
            .filter(|key| key.spki_sha256.is_none());
        not_comparable = without_public_key.map(|key| key.uri.clone()).collect();
        compared = configs
            .iter()
            .zip(&listed)
            .map(|(config, keys)| {
                let count = keys.iter().filter(|key| key.spki_sha256.is_some()).count();
                format!(
                    "{count} in {} ({})",
                    config.path.display(),
                    config.environment
                )
            })
            .collect();
    }
    if global.json {
        let configs: Vec<_> = configs.iter().map(as_json).collect();
        output::json(
            &json!({ "schema": 0, "configurations": configs, "shared_keys": shared, "cannot_tell": not_comparable }),
        )?;
    } else {
        for config in &configs {
            output::heading(&config.path.display().to_string())?;
            output::fields(&rows(config))?;
            if let Some(target) = config.symlink_target() {
                output::note(&format!(
                    "this is a link to {}; relative paths are taken from the folder of the link",
                    target.display()
                ))?;
            }
            let notes = network_section::notes(config).into_iter();
            let notes = notes.chain(failover_section::notes(config));
            for note in notes.chain(proxy_section::notes(config)) {
                output::note(&note)?;
            }
        }
        for key in &shared {
            output::line("")?;
            output::verdict(false, &key.sentence())?;
        }
        for key in &not_comparable {
            output::line(&format!(
                "cannot tell for {key}: the token shows no public key for it"
            ))?;
        }
        if configs.len() > 1 {
            output::line(&format!("\nkeys compared: {}", compared.join(", ")))?;
            let first = configs.first().map(|config| config.environment);
            if configs
                .iter()
                .all(|config| Some(config.environment) == first)
            {
                output::line("all files are of one environment: a key may be in several of them")?;
            } else if shared.is_empty() {
                output::verdict(true, "no key is shared between environments")?;
            }
        }
    }
    Ok(if shared.is_empty() {
        ExitCode::Good
    } else {
        ExitCode::Configuration
    })
}

/// The configuration's values, as names and values.
fn rows(config: &Config) -> Vec<(&'static str, String)> {
    let environment = config.environment;
    let regime = environment.regime();
    let mut rows = vec![("environment", environment.to_string())];
    if regime.name != regime::DEFAULT || regime.from_documents {
        let untried = match regime.from_documents {
            true => ", from documents only: nobody has tried it against the scheme's servers",
            false => "",
        };
        rows.push((
            "regime",
            format!("{} ({}{untried})", regime.name, regime.title),
        ));
    }
    let code = config.lfi_code.as_ref();
    rows.extend(code.map(|code| ("LFI code", code.to_string())));
    let names = environment.documented_ca_names();
    if !names.is_empty() {
        rows.push(("issued by", environment.pki()));
        rows.push(("its CAs (documented)", names.join("; ")));
    }
    let keystore = environment.keystore();
    rows.extend(keystore.map(|keystore| ("keystore", keystore.to_owned())));
    for HubService {
        service, origin, ..
    } in &config.hub.services
    {
        let documented = environment.origin(*service, code);
        let note = match documented.is_some_and(|documented| documented != *origin) {
            true => " (overridden in [hub])",
            false => "",
        };
        rows.push((service.name(), format!("{origin}{note}")));
    }
    rows.extend(network_section::rows(config));
    let profile = config.token.profile(None);
    rows.push(("profile", profile.summary(&config.token)));
    rows.push(("module", path_and_access(&config.token.module)));
    let working_dir = config.token.working_dir.as_deref().map(path_and_access);
    rows.extend(working_dir.map(|folder| ("its working directory", folder)));
    rows.push(("token", config.token.uri.to_string()));
    let user_name = config.token.user_name.clone();
    rows.extend(user_name.map(|name| ("user name", name)));
    rows.extend([
        ("PIN from", pin_text(&config.token.pin)),
        ("PIN tries recorded in", state_folder_text(&config.token)),
        (
            "sessions, timeout",
            format!("{}, {:?}", config.token.sessions, config.token.timeout),
        ),
        ("key", config.c3.key.to_string()),
        ("certificate", certificate_text(&config.c3.certificate)),
        ("trust", config.trust.mode.as_str().to_owned()),
        ("anchors", path_and_access(&config.trust.anchors)),
        (
            "uses of the key in",
            config.ledger.as_ref().map_or_else(
                || "no ledger: they are not recorded".to_owned(),
                |ledger| path_and_access(&ledger.file),
            ),
        ),
    ]);
    if let Some(subject) = config
        .c3
        .subject
        .as_ref()
        .and_then(|subject| csr::subject(subject, config.environment.regime()).ok())
    {
        rows.push(("subject of a request", subject.to_string()));
    }
    rows.extend(
        config
            .token
            .env
            .keys()
            .map(|name| ("variable of the module", name.clone())),
    );
    let resumption = config.tls.resumption;
    rows.extend(resumption.map(|time| {
        (
            "TLS sessions",
            format!("resumed for {time:?} after a handshake, without a signature"),
        )
    }));
    rows.extend(failover_section::rows(config));
    rows.extend(sig4_section::rows(config));
    rows.extend(proxy_section::rows(config));
    rows
}

fn certificate_text(certificate: &CertificateSource) -> String {
    match certificate {
        CertificateSource::File(path) => path_and_access(path),
        CertificateSource::Token(uri) => uri.to_string(),
    }
}

fn pin_text(pin: &PinSource) -> String {
    match pin {
        PinSource::File(path) => format!("file {}", path_and_access(path)),
        other => other.to_string(),
    }
}

fn state_folder_text(token: &TokenConfig) -> String {
    token.state_folder().map_or_else(
        || "nowhere: set `state_dir` of [[token]]".to_owned(),
        |folder| path_and_access(&folder),
    )
}

/// The same values in the command's JSON.
fn as_json(config: &Config) -> Value {
    let environment = config.environment;
    let mut services = serde_json::Map::new();
    for HubService {
        service, origin, ..
    } in &config.hub.services
    {
        services.insert(service.label().to_owned(), json!(origin.to_string()));
    }
    json!({
        "file": config.path,
        "regime": environment.regime().name,
        "environment": environment.as_str(),
        "lfi_code": config.lfi_code.as_ref().map(ToString::to_string),
        "pki": environment.pki(),
        "documented_cas": environment.documented_ca_names(),
        "keystore": environment.keystore(),
        "services": services,
        "module": config.token.module,
        "profile": config.token.profile(None).profile.name(),
        "profile_origin": config.token.profile(None).origin.name(),
        "token": config.token.uri.to_string(),
        "pin_source": config.token.pin.to_string(),
        "state_dir": config.token.state_folder(),
        "sessions": config.token.sessions,
        "timeout_ms": config.token.timeout.as_millis() as u64,
        "start_timeout_ms": config.token.start_timeout.as_millis() as u64,
        "key": config.c3.key.to_string(),
        "certificate": location(&config.c3.certificate),
        "subject": config.c3.subject.as_ref().and_then(|subject| csr::subject(subject, config.environment.regime()).ok()).map(|subject| subject.to_string()),
        "trust_mode": config.trust.mode.as_str(),
        "anchors": config.trust.anchors,
        "resumption_ms": config.tls.resumption.map(|time| time.as_millis() as u64),
        "network": network_section::as_json(config),
        "ledger": config.ledger.as_ref().map(|ledger| &ledger.file),
        "tokens": failover_section::as_json(config),
        "sig4": sig4_section::as_json(config),
        "proxy": proxy_section::as_json(config),
    })
}

/// The path or the URI of the certificate.
fn location(certificate: &CertificateSource) -> String {
    match certificate {
        CertificateSource::File(path) => path.display().to_string(),
        CertificateSource::Token(uri) => uri.to_string(),
    }
}

/// A path, and why it is not accessible: the configuration may be checked on another machine than its own.
fn path_and_access(path: &Path) -> String {
    match inaccessible(path) {
        None => path.display().to_string(),
        Some(reason) => format!("{} ({reason})", path.display()),
    }
}
