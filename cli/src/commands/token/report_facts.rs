//! What the report of `token check` says of module, token and key, section by section. The process with the module tells it
//! to the one that writes the report, as soon as it is known.

use std::sync::Arc;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::engine::{Purpose, Sign as _, TokenEngine, challenge_by};
use hsm_mtls::internal::key::attributes::KeyAttributes;
use hsm_mtls::internal::key::generation_trial::{TrialOutcome, generation_trial};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::token::mechanism_list::ListedMechanism;
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::session::Access;
use hsm_mtls::internal::token::{Token, TokenError, TokenOperation, with_timeout};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::error::Error;
use super::super::token_process::{self, Event, GENERATION_TRIES};
use super::{load_test, millis};

/// How many signatures of each scheme are measured.
const SIGNATURES: u32 = 5;

/// Tells the facts, where a report is wanted.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) are_wanted: bool,
    quirks: Vec<String>,
}

impl Facts {
    pub(super) fn new(are_wanted: bool) -> Self {
        Self {
            are_wanted,
            quirks: Vec::new(),
        }
    }

    fn tell(&self, section: &str, content: impl Serialize) {
        if self.are_wanted {
            // Serialisation of strings and numbers does not fail.
            let content = serde_json::to_value(content).unwrap_or_default();
            token_process::tell(&Event::Fact(section.to_owned(), content));
        }
    }

    /// Something that other tokens do differently.
    pub(super) fn quirk(&mut self, quirk: impl Into<String>) {
        self.quirks.push(quirk.into());
        self.tell("quirks", &self.quirks);
    }

    pub(super) fn module(&mut self, config: &Config, module: &Module) {
        let info = module.description();
        let calls = module.calls();
        self.tell(
            "module",
            json!({
                // The folder may tell who the user is.
                "file": module.path().file_name().map(|name| name.to_string_lossy()),
                "sha256": module.fingerprint().ok().map(|hash| hash.to_string()),
                "manufacturer": info.manufacturer,
                "description": info.description,
                "version": version(info.version),
                "cryptoki": version(info.cryptoki),
                "calls": calls,
            }),
        );
        if !calls.own_function_list {
            self.quirk("the module keeps a state for each function list");
        }
        let profile = config.token.profile(Some(info.identification()));
        self.tell(
            "profile",
            json!({
                "name": profile.profile.name(),
                "told_by": profile.origin.name(),
                "c_get_info_tells": profile.contradiction.map(|other| other.name()),
                "summary": profile.summary(&config.token),
            }),
        );
    }

    pub(super) fn token(&mut self, token: &Token) {
        let description = token.description();
        let [slot, slot_manufacturer] = description.slot();
        self.tell(
            "token",
            json!({
                "label": description.label,
                "manufacturer": description.manufacturer,
                "model": description.model,
                "serial": description.serial,
                "firmware": version(description.firmware),
                "flags": description.flags,
                "hardware_slot": description.hardware_slot,
                "max_sessions": description.max_sessions,
                "slot": slot,
                "slot_manufacturer": slot_manufacturer,
            }),
        );
        for flag in description
            .pin_warnings
            .iter()
            .chain(&description.so_pin_warnings)
        {
            self.quirk(format!("{flag} is set"));
        }
        if !description.login_required {
            self.quirk("CKF_LOGIN_REQUIRED is not set");
        }
        let mechanisms = token.mechanisms().listed();
        self.tell("mechanisms", &mechanisms);
        let silent = mechanisms.iter().filter(|of| of.max_key_size.is_none());
        let silent: Vec<_> = silent.map(|of| of.name.as_str()).collect();
        if !silent.is_empty() {
            let names = silent.join(", ");
            self.quirk(format!("it lists {names}, and says nothing more of it"));
        }
        self.bytes_for_bits(&mechanisms);
    }

    fn bytes_for_bits(&mut self, mechanisms: &[ListedMechanism]) {
        let rsa = mechanisms.iter().find(|of| of.name == "CKM_RSA_PKCS");
        if let Some(size) = rsa.and_then(|of| of.max_key_size)
            && size < 1024
        {
            self.quirk(format!(
                "ulMaxKeySize of CKM_RSA_PKCS is {size}: counted in bytes, or not filled in"
            ));
        }
    }

    /// What further sessions and logins have shown.
    pub(super) fn behaviour(&mut self, token: &Token) {
        let behaviour = token.observed_behaviour();
        self.tell("behaviour", behaviour);
        if behaviour.read_write_sessions {
            self.quirk("sessions are read-write: read-only ones were refused, or the configuration says so");
        }
        if behaviour.login_per_session == Some(true) {
            self.quirk("a login is for its session only");
        }
    }

    pub(super) fn key(&mut self, public_key: &PublicKey, attributes: &KeyAttributes) {
        let algorithm = public_key.algorithm().to_string();
        self.tell(
            "key",
            json!({ "algorithm": algorithm, "attributes": attributes }),
        );
        let unreported = unreported(attributes);
        if !unreported.is_empty() {
            self.quirk(format!(
                "it does not report {} of a private key",
                unreported.join(", ")
            ));
        }
    }

    /// Signs by each scheme. Returns what came of it, in words, and whether all of them sign.
    pub(super) fn signatures(&mut self, engine: &TokenEngine) -> (String, bool) {
        let mut results = Vec::new();
        for scheme in engine.schemes().iter().copied() {
            let durations = (0..SIGNATURES)
                .map(|_| challenge_by(engine, scheme, Purpose::SelfTest))
                .collect::<Result<Vec<_>, _>>();
            let mut refused = engine.signing_mechanisms(scheme);
            let used = refused.pop();
            for refused in refused {
                let used = used.as_deref().unwrap_or_default();
                self.quirk(format!("it lists {refused} and refuses it; {used} is used"));
            }
            let median = durations.as_ref().ok().map(|durations| {
                let mut durations = durations.clone();
                durations.sort_unstable();
                millis(load_test::quantile(&durations, 0.5))
            });
            results.push(SchemeResult {
                scheme: scheme.name(),
                mechanism: used,
                median_ms: median,
                error: durations.err().map(|error| error.to_string()),
            });
        }
        if !engine.schemes().iter().any(|scheme| scheme.in_tls13()) {
            self.quirk("no scheme of TLS 1.3: it lists no RSA-PSS");
        }
        self.tell("signatures", &results);
        let texts: Vec<_> = results.iter().map(SchemeResult::text).collect();
        let all = results.iter().all(|result| result.error.is_none());
        (texts.join("; "), all)
    }

    /// Tells how key pairs are made, or why that was not found out.
    pub(super) fn key_generation(&mut self, trials: &[(String, Result<TrialOutcome, Error>)]) {
        let sections: Vec<Value> = trials
            .iter()
            .map(|(algorithm, trial)| match trial {
                Ok(TrialOutcome::Made(trial)) => json!(trial),
                Ok(TrialOutcome::Refused(fault)) => json!({
                    "algorithm": algorithm,
                    "not_tried": NO_SESSION_KEYS,
                    "refusal": fault.as_ref().map(ToString::to_string),
                }),
                Err(error) => json!({ "algorithm": algorithm, "not_tried": error.to_string() }),
            })
            .collect();
        self.tell("key_generation", sections);
        let made = trials.iter().filter_map(|(_, trial)| match trial {
            Ok(TrialOutcome::Made(trial)) => Some(trial),
            _ => None,
        });
        for trial in made {
            let algorithm = &trial.algorithm;
            if !trial.refused.is_empty() {
                let refused = trial.refused.join(", ");
                self.quirk(format!("{algorithm}: C_GenerateKeyPair refuses {refused}"));
            }
            if !trial.template.is_empty() {
                let needs = trial.template.join(", ");
                self.quirk(format!("{algorithm}: C_GenerateKeyPair wants {needs}"));
            }
            if trial.makes_token_objects {
                self.quirk(format!("{algorithm}: a session key becomes a token object"));
            }
            if trial.claims.decrypt == Some(true) || trial.claims.unwrap == Some(true) {
                self.quirk(format!(
                    "{algorithm}: a new key that is to sign only says CKA_DECRYPT or CKA_UNWRAP"
                ));
            }
            if trial.claims.local == Some(false) {
                self.quirk(format!("{algorithm}: a new key says not CKA_LOCAL"));
            }
        }
    }
}

/// Why nothing is known of a kind of key.
pub(super) const NO_SESSION_KEYS: &str = "the token makes no session keys of this kind";

/// Finds out how the token makes a kind of key, with a timeout.
///
/// # Errors
/// The token failed, or keys of its family are made another way.
pub(super) fn key_generation_trial(
    token: &Arc<Token>,
    algorithm: KeyAlgorithm,
) -> Result<TrialOutcome, Error> {
    let timeout = token.start_timeout() * GENERATION_TRIES;
    let token = Arc::clone(token);
    let trial = with_timeout(TokenOperation::KeyGeneration, timeout, move || {
        let session = token.session(Access::ReadWrite)?;
        let trial = generation_trial(&token, &session, algorithm, token.role());
        Ok::<_, TokenError>(trial)
    });
    Ok(trial??)
}

/// Signatures of one scheme.
#[derive(Serialize)]
struct SchemeResult {
    scheme: &'static str,
    /// The CKM_ name.
    mechanism: Option<String>,
    /// In milliseconds.
    median_ms: Option<f64>,
    error: Option<String>,
}

impl SchemeResult {
    fn text(&self) -> String {
        let mechanism = self.mechanism.as_deref().unwrap_or("no mechanism");
        match (self.median_ms, &self.error) {
            (Some(median), _) => format!("{} by {mechanism}, {median:.2} ms", self.scheme),
            (None, error) => format!("{}: {}", self.scheme, error.as_deref().unwrap_or_default()),
        }
    }
}

fn version((major, minor): (u8, u8)) -> String {
    format!("{major}.{minor}")
}

/// The CKA_ names of attributes of a private key that the token does not report.
fn unreported(attributes: &KeyAttributes) -> Vec<String> {
    let Ok(Value::Object(all)) = serde_json::to_value(attributes) else {
        return Vec::new();
    };
    all.into_iter()
        .filter(|(_, value)| value.is_null())
        .map(|(name, _)| format!("CKA_{}", name.to_ascii_uppercase()))
        .collect()
}
