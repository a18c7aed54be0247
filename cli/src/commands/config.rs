//! `config check`: what was derived from a file, and whether two environments share a key.

mod proxy_section;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsm_mtls::internal::config::environment::Service;
use hsm_mtls::internal::config::paths::unseen;
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::csr;
use hsm_mtls::internal::exit_code::ExitCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json_notes::Said;
use super::{CommandError, Global, output, setup};

pub(super) fn check(global: &Global, files: Vec<PathBuf>) -> Result<ExitCode, CommandError> {
    let configs = if files.is_empty() {
        vec![setup::config(global)?]
    } else {
        let load = |file: &PathBuf| Config::load(file).map_err(CommandError::stage);
        files.iter().map(load).collect::<Result<_, _>>()?
    };
    for subject in configs
        .iter()
        .filter_map(|config| config.c3.subject.as_ref())
    {
        csr::subject(subject).map_err(CommandError::stage)?;
    }
    configs.iter().try_for_each(proxy_section::refuse)?;
    let mut compared = Vec::new();
    let mut shared = Vec::new();
    let mut untold: Vec<String> = Vec::new();
    if configs.len() > 1 {
        // Modules are configured by variables of the process, and two configurations may give
        // one module two values: so each is asked by a process of its own.
        let listed = configs.iter().map(keys).collect::<Result<Vec<_>, _>>()?;
        shared = shared_keys(&configs, &listed);
        let silent = listed
            .iter()
            .flatten()
            .filter(|key| key.spki_sha256.is_none());
        untold = silent.map(|key| key.uri.clone()).collect();
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
            &json!({ "schema": 0, "configurations": configs, "shared_keys": shared, "cannot_tell": untold }),
        )?;
    } else {
        for config in &configs {
            output::heading(&config.path.display().to_string())?;
            output::fields(&derived(config))?;
            if let Some(real) = config.symlink_target() {
                output::note(&format!(
                    "this is a link to {}; relative paths are taken from the folder of the link",
                    real.display()
                ))?;
            }
            for note in proxy_section::notes(config) {
                output::note(&note)?;
            }
        }
        for share in &shared {
            output::line("")?;
            output::verdict(false, &share.sentence())?;
        }
        for key in &untold {
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

fn derived(config: &Config) -> Vec<(&'static str, String)> {
    let certificate = match &config.c3.certificate {
        CertificateSource::File(path) => shown(path),
        CertificateSource::Token(uri) => uri.to_string(),
    };
    let pin = match &config.token.pin {
        PinSource::File(path) => format!("file {}", shown(path)),
        other => other.to_string(),
    };
    let environment = config.environment;
    let mut rows = vec![
        ("environment", environment.to_string()),
        ("LFI code", config.lfi_code.to_string()),
        ("Trust Framework", environment.trust_framework().to_owned()),
        (
            "its CAs (documented)",
            environment.documented_ca_names().join("; "),
        ),
        ("keystore", environment.keystore().to_owned()),
    ];
    for service in Service::ALL {
        let origin = config.hub.origin(service);
        let overridden = *origin != environment.origin(service, &config.lfi_code);
        let note = if overridden {
            " (overridden in [hub])"
        } else {
            ""
        };
        rows.push((service.name(), format!("{origin}{note}")));
    }
    rows.extend([
        ("module", shown(&config.token.module)),
        ("token", config.token.uri.to_string()),
        ("PIN from", pin),
        (
            "PIN tries recorded in",
            config.token.state_folder().map_or_else(
                || "nowhere: set `state_dir` of [[token]]".to_owned(),
                |folder| shown(&folder),
            ),
        ),
        (
            "sessions, timeout",
            format!("{}, {:?}", config.token.sessions, config.token.timeout),
        ),
        ("key", config.c3.key.to_string()),
        ("certificate", certificate),
        ("trust", config.trust.mode.as_str().to_owned()),
        ("anchors", shown(&config.trust.anchors)),
        (
            "uses of the key in",
            config.ledger.as_ref().map_or_else(
                || "no ledger: they are not recorded".to_owned(),
                |ledger| shown(&ledger.file),
            ),
        ),
    ]);
    if let Some(subject) = config
        .c3
        .subject
        .as_ref()
        .and_then(|subject| csr::subject(subject).ok())
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
    rows.extend(proxy_section::rows(config));
    rows
}

fn as_json(config: &Config) -> Value {
    let environment = config.environment;
    json!({
        "file": config.path,
        "environment": environment.as_str(),
        "lfi_code": config.lfi_code.to_string(),
        "trust_framework": environment.trust_framework(),
        "documented_cas": environment.documented_ca_names(),
        "keystore": environment.keystore(),
        "consent_manager": config.hub.consent_manager.to_string(),
        "headless_heimdall": config.hub.headless_heimdall.to_string(),
        "module": config.token.module,
        "token": config.token.uri.to_string(),
        "pin_source": config.token.pin.to_string(),
        "state_dir": config.token.state_folder(),
        "sessions": config.token.sessions,
        "timeout_ms": config.token.timeout.as_millis() as u64,
        "start_timeout_ms": config.token.start_timeout.as_millis() as u64,
        "key": config.c3.key.to_string(),
        "certificate": place(&config.c3.certificate),
        "subject": config.c3.subject.as_ref().and_then(|subject| csr::subject(subject).ok()).map(|subject| subject.to_string()),
        "trust_mode": config.trust.mode.as_str(),
        "anchors": config.trust.anchors,
        "ledger": config.ledger.as_ref().map(|ledger| &ledger.file),
        "proxy": proxy_section::as_json(config),
    })
}

fn place(certificate: &CertificateSource) -> String {
    match certificate {
        CertificateSource::File(path) => path.display().to_string(),
        CertificateSource::Token(uri) => uri.to_string(),
    }
}

/// A path, and whether something is there: a file that is checked on another machine may lack them.
fn shown(path: &Path) -> String {
    match unseen(path) {
        None => path.display().to_string(),
        Some(why) => format!("{} ({why})", path.display()),
    }
}

/// What `key list --json` prints, as far as it is wanted here.
#[derive(Deserialize)]
struct KeyList {
    keys: Vec<ListedKey>,
}

#[derive(Deserialize)]
struct ListedKey {
    uri: String,
    spki_sha256: Option<String>,
}

fn keys(config: &Config) -> Result<Vec<ListedKey>, CommandError> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--config")
        .arg(&config.path)
        .args(["--json", "key", "list"])
        .stderr(Stdio::piped())
        .stdin(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        let path = config.path.display();
        let said = Said::read(&output.stderr);
        let (why, next) = said.error.unwrap_or_else(|| {
            let lines = said.lines.join(" ");
            (
                lines,
                format!("make `hsm-mtls --config {path} key list` work"),
            )
        });
        return Err(CommandError::Usage {
            message: format!("the keys of {path} cannot be listed: {why}"),
            hint: next,
            code: match output.status.code() {
                Some(3) => ExitCode::Token,
                Some(4) => ExitCode::Pin,
                _ => ExitCode::Configuration,
            },
        });
    }
    let list: KeyList = serde_json::from_slice(&output.stdout)?;
    Ok(list.keys)
}

#[derive(serde::Serialize)]
struct SharedKey {
    spki_sha256: String,
    places: Vec<Place>,
}

#[derive(Clone, serde::Serialize)]
struct Place {
    file: PathBuf,
    environment: &'static str,
    key: String,
}

impl SharedKey {
    fn sentence(&self) -> String {
        let places = self.places.iter().map(|place| {
            format!(
                "  {}: {} in {}",
                place.environment,
                place.key,
                place.file.display()
            )
        });
        format!(
            "the key {} is in two environments; the scheme forbids it, so make one of them anew:\n{}",
            self.spki_sha256,
            places.collect::<Vec<_>>().join("\n")
        )
    }
}

/// Public keys that stand in configurations of different environments.
fn shared_keys(configs: &[Config], listed: &[Vec<ListedKey>]) -> Vec<SharedKey> {
    let mut places: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
    for (config, keys) in configs.iter().zip(listed) {
        for key in keys {
            if let Some(spki) = &key.spki_sha256 {
                places.entry(spki).or_default().push(Place {
                    file: Path::to_owned(&config.path),
                    environment: config.environment.as_str(),
                    key: key.uri.clone(),
                });
            }
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| {
            places
                .iter()
                .any(|place| place.environment != places[0].environment)
        })
        .map(|(spki, places)| SharedKey {
            spki_sha256: spki.to_owned(),
            places,
        })
        .collect()
}
