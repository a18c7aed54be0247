//! Keys that several configurations share: `config check` with several files compares the public keys in their tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use serde::{Deserialize, Serialize};

use super::super::CommandError;
use super::super::json_notes::ChildStderr;

/// The members of `key list --json` that are compared.
#[derive(Deserialize)]
struct KeyList {
    keys: Vec<ListedKey>,
}

/// A private key of a token.
#[derive(Deserialize)]
pub(super) struct ListedKey {
    pub(super) uri: String,
    /// SHA-256 of the public key; `None` where the token has no public key for it.
    pub(super) spki_sha256: Option<String>,
}

/// The private keys in the tokens of a configuration: all that it uses, whether for C3 or for Sig4.
///
/// # Errors
/// They cannot be listed.
pub(super) fn list_keys(config: &Config) -> Result<Vec<ListedKey>, CommandError> {
    let mut keys = list_keys_of(config, &[])?;
    if config.sig4_token.is_some() {
        keys.extend(list_keys_of(config, &["--sig4"])?);
    }
    Ok(keys)
}

/// The private keys in a token, listed by another process. A module is configured by environment variables, and two
/// configurations may give the same module different values.
///
/// # Errors
/// The process failed; its error, hint and exit code.
fn list_keys_of(config: &Config, options: &[&str]) -> Result<Vec<ListedKey>, CommandError> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--config")
        .arg(&config.path)
        .args(["--json", "key", "list"])
        .args(options)
        .stderr(Stdio::piped())
        .stdin(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        let path = config.path.display();
        let stderr = ChildStderr::parse(&output.stderr);
        let (error, hint) = stderr.error.unwrap_or_else(|| {
            (
                stderr.log_lines.join(" "),
                format!("make `hsm-mtls --config {path} key list` work"),
            )
        });
        return Err(CommandError::Usage {
            message: format!("the keys of {path} cannot be listed: {error}"),
            hint,
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

/// A key that configurations of different environments use.
#[derive(Serialize)]
pub(super) struct SharedKey {
    spki_sha256: String,
    #[serde(rename = "places")]
    occurrences: Vec<Occurrence>,
}

/// A configuration whose token has the key.
#[derive(Clone, Serialize)]
struct Occurrence {
    file: PathBuf,
    environment: &'static str,
    key: String,
}

impl SharedKey {
    /// The finding as text.
    pub(super) fn sentence(&self) -> String {
        let occurrences = self.occurrences.iter().map(|occurrence| {
            format!(
                "  {}: {} in {}",
                occurrence.environment,
                occurrence.key,
                occurrence.file.display()
            )
        });
        format!(
            "the key {} is in two environments; the scheme forbids it, so make one of them anew:\n{}",
            self.spki_sha256,
            occurrences.collect::<Vec<_>>().join("\n")
        )
    }
}

/// The public keys that configurations of different environments share. `listed` are the keys of each configuration.
pub(super) fn shared_keys(configs: &[Config], listed: &[Vec<ListedKey>]) -> Vec<SharedKey> {
    let mut by_spki: BTreeMap<&str, Vec<Occurrence>> = BTreeMap::new();
    for (config, keys) in configs.iter().zip(listed) {
        for key in keys {
            if let Some(spki) = &key.spki_sha256 {
                by_spki.entry(spki).or_default().push(Occurrence {
                    file: Path::to_owned(&config.path),
                    environment: config.environment.as_str(),
                    key: key.uri.clone(),
                });
            }
        }
    }
    by_spki
        .into_iter()
        .filter(|(_, occurrences)| {
            occurrences
                .iter()
                .any(|occurrence| occurrence.environment != occurrences[0].environment)
        })
        .map(|(spki, occurrences)| SharedKey {
            spki_sha256: spki.to_owned(),
            occurrences,
        })
        .collect()
}
