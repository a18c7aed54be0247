//! Whether the hub can find our Sig4 key: fetches the published key set of the application, now and then and before a reload takes
//! another certificate. A hub that finds another key, or none, refuses every token.
//!
//! The way to the keystore is often closed. So a set that cannot be fetched is a note in the readiness report, and keeps nothing back.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use hsm_mtls::internal::certificate::Certificate;
use hsm_mtls::internal::client::jwks_fetch;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::jwks::JwkSet;
use hsm_mtls::internal::jwks::judgement::judge;
use hsm_mtls::internal::jwks::location::key_set_url;
use hsm_mtls::internal::poison::IgnorePoison as _;
use hsm_mtls::internal::rfc3339;

/// How often the set is fetched. Caches may keep it for as long.
pub(super) const INTERVAL: Duration = Duration::from_secs(600);

/// The result of the last check.
#[derive(Debug, Default)]
pub(super) struct KeySetMonitor(Mutex<Option<Checked>>);

#[derive(Debug)]
struct Checked {
    at: String,
    result: KeySetResult,
}

/// What the published set says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySetResult {
    /// Its key is published, and a hub finds it.
    Published,
    /// A hub refuses the tokens, for this reason.
    Fault(String),
    /// It is not known, for this reason.
    Unknown(String),
}

impl KeySetMonitor {
    /// Checks this certificate, and keeps the result for the readiness report.
    pub(super) async fn check(&self, config: &Config, certificate: &Certificate) {
        let result = check(config, certificate).await;
        match &result {
            KeySetResult::Published => {}
            KeySetResult::Fault(why) => {
                tracing::error!(
                    why,
                    hint = HINT,
                    "the published key set does not fit our Sig4 key"
                );
            }
            KeySetResult::Unknown(why) => tracing::info!(why, "the published key set is not known"),
        }
        let at = rfc3339::now();
        *self.0.lock().ignore_poison() = Some(Checked { at, result });
    }

    /// Its part of the readiness report; null before the first check.
    pub(super) fn report(&self) -> Value {
        let checked = self.0.lock().ignore_poison();
        let Some(Checked { at, result }) = &*checked else {
            return Value::Null;
        };
        let (published, detail) = match result {
            KeySetResult::Published => (Some(true), None),
            KeySetResult::Fault(why) => (Some(false), Some(why)),
            KeySetResult::Unknown(why) => (None, Some(why)),
        };
        json!({ "checked": at, "published": published, "detail": detail })
    }
}

/// What to do about a fault.
pub(super) const HINT: &str = "`hsm-mtls jwks check` says it step by step: publish the key, or install the certificate that is published";

/// Fetches the set of the application, and judges it.
pub(super) async fn check(config: &Config, certificate: &Certificate) -> KeySetResult {
    let Some(url) = key_set_url(config, certificate) else {
        let why = "no URL follows from the subject of the certificate";
        return KeySetResult::Unknown(why.to_owned());
    };
    let fetched = match jwks_fetch::fetch(config, &url).await {
        Ok(fetched) => fetched,
        Err(error) => return KeySetResult::Unknown(format!("{url}: {error}")),
    };
    let set = match JwkSet::parse(&fetched.body) {
        Ok(set) => set,
        Err(error) => return KeySetResult::Fault(format!("{url}: {error}")),
    };
    let findings = judge(&set, certificate);
    let faults: Vec<_> = findings
        .iter()
        .filter(|finding| !finding.is_note())
        .map(ToString::to_string)
        .collect();
    match faults.is_empty() {
        true => KeySetResult::Published,
        false => KeySetResult::Fault(format!("{url}: {}", faults.join("; "))),
    }
}
