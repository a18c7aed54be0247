//! The steps of `token check`, in their order: from the module to verified signatures, up to the first one that fails.

use super::super::error::Error;
use super::super::setup;
use super::load_test;
use super::report_facts::{Facts, NO_SESSION_KEYS, key_generation_trial};
use super::step_output::StepOutput;
use super::{describe, millis};
use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::config::{CertificateSource, Config, LoginPolicy};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{Purpose, Sign, TokenEngine, challenge};
use hsm_mtls::internal::identity::{self, Identity};
use hsm_mtls::internal::key::attributes::KeyAttributes;
use hsm_mtls::internal::key::generation_trial::TrialOutcome;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::session::Access;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The steps that every `token check` has, in their order.
pub(super) const STEPS: [&str; 10] = [
    "module",
    "ledger",
    "token",
    "login",
    "key",
    "key attributes",
    "mechanisms",
    "certificate",
    "pair",
    "signatures",
];

/// The steps that are for the report only.
pub(super) const REPORT_STEPS: [&str; 2] = ["signature schemes", "key generation"];

/// A step failed. Its error is in the list of steps.
pub(super) struct StepFailed;

/// A check in progress.
pub(super) struct Checked<'a> {
    pub(super) output: StepOutput,
    pub(super) steps: &'a mut Steps,
    pub(super) facts: Facts,
}

impl Checked<'_> {
    fn begins(&mut self, name: &'static str, note: Option<&str>) {
        self.output.begins(name, note);
        self.steps.begin();
    }

    /// Runs one step; a failure goes into the list of steps.
    fn attempt<T, E: Into<Error>>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, StepFailed> {
        self.begins(name, None);
        self.outcome(name, step())
    }

    fn outcome<T, E: Into<Error>>(
        &mut self,
        name: &'static str,
        result: Result<T, E>,
    ) -> Result<T, StepFailed> {
        result.map_err(|error| {
            let error = error.into();
            self.steps
                .bad(name, error.to_string(), error.hint(), error.exit_code());
            StepFailed
        })
    }

    /// Takes the steps up to the first failure. Returns the key, and whether a valid certificate is installed.
    pub(super) fn run_steps(
        &mut self,
        config: &Config,
        signatures: u32,
    ) -> Result<(Arc<dyn Sign>, bool), StepFailed> {
        let module = self.attempt("module", || Module::load(&config.token))?;
        self.steps.good("module", describe(&module));
        self.facts.module(config, &module);
        let library = module.description().identification();
        let profile = config.token.profile(Some(library));
        let outcome = match profile.is_doubtful() {
            true => Outcome::Note,
            false => Outcome::Good,
        };
        self.steps
            .seen("profile", outcome, profile.summary(&config.token));
        let recorder = self.attempt("ledger", || Recorder::open(config.ledger.as_ref()))?;
        match &config.ledger {
            Some(ledger) => self.steps.good("ledger", ledger.file.display().to_string()),
            None => self.steps.seen(
                "ledger",
                Outcome::Note,
                "none: uses of the key are not recorded",
            ),
        }
        let token = self.attempt("token", || {
            Token::select(module, &config.token, setup::attendance(), recorder)
        })?;
        self.facts.token(&token);
        let description = token.description();
        let warnings = description.pin_warnings.join(" ");
        self.steps.good(
            "token",
            format!("{} {warnings}", description.uri()).trim_end(),
        );
        self.begins("login", Some(&login_note(config)));
        let logged_in = self.outcome("login", token.log_in(token.role()))?;
        if logged_in {
            self.steps
                .good("login", format!("PIN from {}", config.token.pin));
        } else if config.token.login == LoginPolicy::Never {
            self.steps
                .seen("login", Outcome::Note, "not logged in: `login = \"never\"`");
        } else {
            self.steps.good("login", "the token wants none");
        }
        let token = Arc::new(token);
        // The certificate is read before the key: where several keys match the URI, its public key decides.
        let chain = installed_chain(config, &token);
        let expected = chain
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .and_then(|chain| chain.leaf().public_key());
        let (key, public_key, attributes) = self.attempt("key", || -> Result<_, Error> {
            let key = identity::find_key(config, &token, expected)?;
            let session = token.session(Access::ReadOnly)?;
            let public_key = key.public_key()?.clone();
            let attributes = key.attributes(&session);
            Ok((key, public_key, attributes))
        })?;
        self.facts.key(&public_key, &attributes);
        self.facts.behaviour(&token);
        self.steps
            .good("key", format!("{} {}", public_key.algorithm(), key.uri()));
        if token.logs_in_per_session() {
            let detail = "a login is for one session: each session gets a login of its own";
            self.steps.seen("logins", Outcome::Note, detail);
        }
        let (outcome, detail) = custody_claims(&attributes);
        self.steps.seen("key attributes", outcome, detail);
        let engine = self.attempt("mechanisms", || {
            identity::engine_for_key(config, &token, key, public_key)
        })?;
        report_schemes(self.steps, &engine);
        let engine = Arc::new(engine);
        let signer: Arc<dyn Sign> = Arc::clone(&engine) as _;
        let has_certificate = matches!(chain, Ok(Some(_)));
        match chain {
            Ok(Some(chain)) => {
                self.steps.seen(
                    "certificate",
                    Outcome::Good,
                    format!(
                        "{} until {}",
                        chain.leaf().subject(),
                        chain.leaf().not_after()
                    ),
                );
                let identity =
                    self.attempt("pair", || Identity::prove(chain, Arc::clone(&signer)))?;
                self.steps.good(
                    "pair",
                    format!(
                        "a challenge was signed and verified in {:.1} ms",
                        millis(identity.proof())
                    ),
                );
            }
            Ok(None) => {
                self.steps.seen(
                    "certificate",
                    Outcome::Note,
                    "none installed yet: `hsm-mtls csr`, then `hsm-mtls cert install`",
                );
                self.steps
                    .seen("pair", Outcome::Note, "nothing to compare with");
            }
            Err(error) => {
                self.steps.fault(
                    "certificate",
                    error.to_string(),
                    error.hint(),
                    error.exit_code(),
                );
                self.steps.seen("pair", Outcome::NotReached, "");
            }
        }
        let durations = self.attempt("signatures", || {
            (0..signatures)
                .map(|_| challenge(signer.as_ref(), Purpose::SelfTest))
                .collect::<Result<Vec<_>, _>>()
        })?;
        self.steps.good("signatures", summary(durations));
        if self.facts.are_wanted {
            self.try_for_the_report(&token, &engine);
        }
        Ok((signer, has_certificate))
    }
}

impl Checked<'_> {
    /// Tries what only the report tells: signatures of each scheme, and how the token makes keys.
    fn try_for_the_report(&mut self, token: &Arc<Token>, engine: &TokenEngine) {
        let [schemes, generation] = REPORT_STEPS;
        self.begins(schemes, None);
        match self.facts.signatures(engine) {
            (results, true) => self.steps.good(schemes, results),
            (results, false) => self.steps.good_but(
                schemes,
                results,
                "the hub's choice of the scheme decides whether that matters",
            ),
        }
        self.begins(generation, Some("with session keys, which are destroyed"));
        let trials: Vec<_> = [KeyAlgorithm::Rsa { bits: 2048 }, KeyAlgorithm::EcP256]
            .map(|algorithm| {
                (
                    algorithm.to_string(),
                    key_generation_trial(token, algorithm),
                )
            })
            .into();
        let texts: Vec<_> = trials
            .iter()
            .map(|(algorithm, trial)| match trial {
                Ok(TrialOutcome::Made(trial)) => format!("{algorithm} by {}", trial.mechanism),
                Ok(TrialOutcome::Refused(None)) => format!("{algorithm}: {NO_SESSION_KEYS}"),
                Ok(TrialOutcome::Refused(Some(fault))) => {
                    format!("{algorithm}: {NO_SESSION_KEYS}: {fault}")
                }
                Err(error) => format!("{algorithm}: {error}"),
            })
            .collect();
        self.facts.key_generation(&trials);
        let texts = texts.join("; ");
        match trials
            .iter()
            .all(|(_, trial)| matches!(trial, Ok(TrialOutcome::Made(_))))
        {
            true => self.steps.good(generation, texts),
            false => self.steps.seen(generation, Outcome::Note, texts),
        }
    }
}

/// What an interruption of the login costs, or that a person is asked.
fn login_note(config: &Config) -> String {
    match config.token.pin {
        PinSource::Prompt => "you are asked for the PIN".to_owned(),
        PinSource::ProtectedPath => "the PIN is typed at the token".to_owned(),
        PinSource::None => "no PIN is sent".to_owned(),
        _ => format!(
            "once C_Login is sent, Ctrl-C waits for its end, {} s at most; a second Ctrl-C would count as a refused PIN",
            config.token.start_timeout.as_secs_f64()
        ),
    }
}

/// What the token claims about extraction and import of the key.
fn custody_claims(attributes: &KeyAttributes) -> (Outcome, String) {
    let (mut outcome, claim) = match (attributes.sensitive, attributes.extractable) {
        (Some(true), Some(false)) => (
            Outcome::Good,
            "the token claims CKA_SENSITIVE and not CKA_EXTRACTABLE",
        ),
        (_, Some(true)) => (
            Outcome::Note,
            "the token says CKA_EXTRACTABLE: this key can leave it",
        ),
        (Some(false), _) => (
            Outcome::Note,
            "the token says not CKA_SENSITIVE: this key can be read",
        ),
        _ => (
            Outcome::Note,
            "the token does not say whether the key can leave it",
        ),
    };
    let mut claims = vec![claim];
    if let Some(warning) = attributes.import_warning() {
        outcome = Outcome::Note;
        claims.push(warning);
    }
    (outcome, claims.join("; "))
}

/// The chain of the installed certificate; `None` where none is installed yet.
fn installed_chain(config: &Config, token: &Token) -> Result<Option<Chain>, Error> {
    let certificates: Vec<Certificate> = match &config.c3.certificate {
        CertificateSource::File(path) if matches!(path.try_exists(), Ok(false)) => return Ok(None),
        CertificateSource::File(path) => read_file(path)?,
        CertificateSource::Token(_) => vec![identity::certificate_in_token(config, token)?],
    };
    let anchors = Anchors::load(config)?;
    let chain = Chain::complete(&certificates, &anchors, config.environment)?;
    chain.check_role(config.c3.role, SystemTime::now())?;
    Ok(Some(chain))
}

/// Writes the step of the signature schemes that key and token support.
fn report_schemes(steps: &mut Steps, engine: &TokenEngine) {
    let names: Vec<_> = engine
        .schemes()
        .iter()
        .map(|scheme| scheme.name())
        .collect();
    if engine.schemes().iter().any(|scheme| scheme.in_tls13()) {
        steps.good("mechanisms", names.join(", "));
    } else {
        let detail = format!("{}: no RSA-PSS, so TLS 1.2 only", names.join(", "));
        steps.seen("mechanisms", Outcome::Note, detail);
    }
}

fn summary(mut durations: Vec<Duration>) -> String {
    durations.sort_unstable();
    let at = |share| millis(load_test::quantile(&durations, share));
    format!(
        "{} verified; min {:.2} ms, median {:.2} ms, p99 {:.2} ms",
        durations.len(),
        at(0.0),
        at(0.5),
        at(0.99)
    )
}
