//! The steps of `token check` that concern one key: its attributes, mechanisms and certificate, and signatures.

use super::super::error::Error;
use super::load_test;
use super::millis;
use super::report_facts::{NO_SESSION_KEYS, key_generation_trial};
use super::step_names::{REPORT_STEPS, StepNames};
use super::steps::{Checked, StepFailed};
use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::sig4::check_kid;
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{
    EngineError, Purpose, Sign, TokenEngine, challenge, challenge_by,
};
use hsm_mtls::internal::identity::{self, Identity, SIG4_SCHEME};
use hsm_mtls::internal::key::attributes::KeyAttributes;
use hsm_mtls::internal::key::generation_trial::TrialOutcome;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::session::Access;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What is checked of one key.
#[derive(Clone, Copy)]
pub(super) struct CheckedKey<'a> {
    /// The whole configuration.
    pub(super) config: &'a Config,
    /// That of the key.
    pub(super) view: &'a Config,
    pub(super) names: &'a StepNames,
    pub(super) signatures: u32,
}

impl Checked<'_> {
    /// Takes the steps of the key. Returns it, and whether a valid certificate is installed.
    pub(super) fn check_key(
        &mut self,
        of_key: &CheckedKey<'_>,
        token: &Arc<Token>,
    ) -> Result<(Arc<dyn Sign>, bool), StepFailed> {
        let CheckedKey {
            config: whole,
            view: config,
            names,
            signatures,
        } = *of_key;
        // The certificate is read before the key: where several keys match the URI, its public key decides.
        let chain = installed_chain(whole, config, token);
        let expected = chain
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .and_then(|chain| chain.leaf().public_key());
        let (key, public_key, attributes) = self.attempt(names.key, || -> Result<_, Error> {
            let key = identity::find_key(config, token, expected)?;
            let session = token.session(Access::ReadOnly)?;
            let public_key = key.public_key()?.clone();
            let attributes = key.attributes(&session);
            Ok((key, public_key, attributes))
        })?;
        self.facts.key(&public_key, &attributes);
        self.facts.behaviour(token);
        self.steps.good(
            names.key,
            format!("{} {}", public_key.algorithm(), key.uri()),
        );
        if token.logs_in_per_session() {
            let detail = "a login is for one session: each session gets a login of its own";
            self.steps.seen(names.logins, Outcome::Note, detail);
        }
        let (outcome, detail) = custody_claims(&attributes);
        self.steps.seen(names.attributes, outcome, detail);
        let engine = self.attempt(names.mechanisms, || {
            identity::engine_for_key(config, token, key, public_key)
        })?;
        match self.role {
            KeyRole::C3 => report_schemes(self.steps, names.mechanisms, &engine),
            KeyRole::Sig4 => {
                self.outcome(names.mechanisms, identity::check_ps256(&engine))?;
                self.steps.good(names.mechanisms, scheme_names(&engine));
            }
        }
        let engine = Arc::new(engine);
        let signer: Arc<dyn Sign> = Arc::clone(&engine) as _;
        let has_certificate = matches!(chain, Ok(Some(_)));
        match chain {
            Ok(Some(chain)) => {
                self.steps.seen(
                    names.certificate,
                    Outcome::Good,
                    certificate_text(self.role, chain.leaf()),
                );
                let identity =
                    self.attempt(names.pair, || Identity::prove(chain, Arc::clone(&signer)))?;
                self.steps.good(
                    names.pair,
                    format!(
                        "a challenge was signed and verified in {:.1} ms",
                        millis(identity.proof())
                    ),
                );
            }
            Ok(None) => {
                self.steps.seen(
                    names.certificate,
                    Outcome::Note,
                    self.role
                        .advice("none installed yet: `hsm-mtls csr`, then `hsm-mtls cert install`"),
                );
                self.steps
                    .seen(names.pair, Outcome::Note, "nothing to compare with");
            }
            Err(error) => {
                self.steps.fault(
                    names.certificate,
                    error.to_string(),
                    self.role.advice(&error.hint()),
                    error.exit_code(),
                );
                self.steps.seen(names.pair, Outcome::NotReached, "");
            }
        }
        let role = self.role;
        let durations = self.attempt(names.signatures, || {
            (0..signatures)
                .map(|_| sign(role, signer.as_ref()))
                .collect::<Result<Vec<_>, _>>()
        })?;
        self.steps.good(names.signatures, summary(durations));
        if self.facts.are_wanted {
            self.try_for_the_report(token, &engine);
        }
        Ok((signer, has_certificate))
    }

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
fn installed_chain(whole: &Config, config: &Config, token: &Token) -> Result<Option<Chain>, Error> {
    let certificates: Vec<Certificate> = match &config.c3.certificate {
        CertificateSource::File(path) if matches!(path.try_exists(), Ok(false)) => return Ok(None),
        CertificateSource::File(path) => read_file(path)?,
        CertificateSource::Token(_) => vec![identity::certificate_in_token(config, token)?],
    };
    let anchors = Anchors::load(config)?;
    let chain = Chain::complete(&certificates, &anchors, config.environment)?;
    chain.check_role(config.c3.role, SystemTime::now())?;
    if config.c3.role == KeyRole::Sig4 {
        check_kid(whole, &chain.leaf().x5t_s256())?;
    }
    Ok(Some(chain))
}

/// The certificate in words; of Sig4 with the `kid` of its tokens.
fn certificate_text(role: KeyRole, leaf: &Certificate) -> String {
    let text = format!("{} until {}", leaf.subject(), leaf.not_after());
    match role {
        KeyRole::C3 => text,
        KeyRole::Sig4 => format!("{text}; kid {}", leaf.x5t_s256()),
    }
}

/// Signs a challenge: by the preferred scheme for C3, by that of JWT Auth for Sig4.
fn sign(role: KeyRole, signer: &dyn Sign) -> Result<Duration, EngineError> {
    match role {
        KeyRole::C3 => challenge(signer, Purpose::SelfTest),
        KeyRole::Sig4 => challenge_by(signer, SIG4_SCHEME, Purpose::SelfTest),
    }
}

/// The signature schemes that key and token support.
fn scheme_names(engine: &TokenEngine) -> String {
    let names = engine.schemes().iter().map(|scheme| scheme.name());
    names.collect::<Vec<_>>().join(", ")
}

/// Writes the step of the signature schemes that the C3 key and its token support.
fn report_schemes(steps: &mut Steps, name: &'static str, engine: &TokenEngine) {
    let names = scheme_names(engine);
    if engine.schemes().iter().any(|scheme| scheme.in_tls13()) {
        steps.good(name, names);
    } else {
        let detail = format!("{names}: no RSA-PSS, so TLS 1.2 only");
        steps.seen(name, Outcome::Note, detail);
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
