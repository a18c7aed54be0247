//! `token check`: each step from loading the module to verified signatures, up to the first one that fails.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::error::Error;
use super::super::{CommandError, Global, output, setup, signer};
use super::load_test::{self, LoadTest};
use super::{describe, millis};
use crate::check_steps::{Outcome, Steps};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::{CertificateSource, Config, LoginPolicy};
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::engine::{Purpose, Sign, TokenEngine, challenge};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::{self, Identity};
use hsm_mtls::internal::key::attributes::KeyAttributes;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::session::Access;
use serde_json::json;

/// The steps that every `token check` has, in their order.
const STEPS: [&str; 10] = [
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

pub(in crate::commands) fn check(
    global: &Global,
    signatures: u32,
    load_test: Option<LoadTest>,
) -> Result<ExitCode, CommandError> {
    let config = setup::config_for_module(global)?;
    let mut steps = Steps::default();
    let mut load_result = None;
    // The step that failed is in `steps` already.
    if let Ok((signer, has_certificate)) = run_steps(&config, signatures, &mut steps) {
        match load_test {
            // The token is measured, without a signer process in between.
            Some(load_test) => {
                steps.begin();
                load_result = Some(load_test.run(&signer, &mut steps));
            }
            None => signer::check(global, &config, has_certificate, &mut steps),
        }
    }
    let last_step = load_test.map_or(signer::STEP, |_| load_test::STEP);
    let all_steps: Vec<_> = STEPS.into_iter().chain([last_step]).collect();
    steps.end(&all_steps);
    let code = steps.exit_code();
    if global.json {
        let mut report = json!({ "schema": 0, "good": code == ExitCode::Good, "steps": steps });
        if let Some(result) = &load_result {
            report["load"] = result.as_json();
        }
        output::json(&report)?;
    } else {
        output::steps(steps.list())?;
        if let Some(result) = &load_result {
            result.print()?;
        }
        let verdict = match code {
            ExitCode::Good => "the token signs",
            ExitCode::Interrupted => "interrupted before all was signed",
            _ => "the token is not ready: see the step that failed",
        };
        output::verdict(code == ExitCode::Good, verdict)?;
    }
    Ok(code)
}

/// A step failed. Its error is in the list of steps.
struct StepFailed;

/// Runs one step; a failure goes into the list of steps.
fn attempt<T, E: Into<Error>>(
    steps: &mut Steps,
    name: &'static str,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, StepFailed> {
    steps.begin();
    step().map_err(|error| {
        let error = error.into();
        steps.bad(name, error.to_string(), error.hint(), error.exit_code());
        StepFailed
    })
}

/// Takes the steps up to the first failure. Returns the key, and whether a valid certificate is installed.
fn run_steps(
    config: &Config,
    signatures: u32,
    steps: &mut Steps,
) -> Result<(Arc<dyn Sign>, bool), StepFailed> {
    let module = attempt(steps, "module", || Module::load(&config.token))?;
    steps.good("module", describe(&module));
    let library = module.description().identification();
    let profile = config.token.profile(Some(library));
    let outcome = match profile.is_doubtful() {
        true => Outcome::Note,
        false => Outcome::Good,
    };
    steps.seen("profile", outcome, profile.summary(&config.token));
    let recorder = attempt(steps, "ledger", || Recorder::open(config.ledger.as_ref()))?;
    match &config.ledger {
        Some(ledger) => steps.good("ledger", ledger.file.display().to_string()),
        None => steps.seen(
            "ledger",
            Outcome::Note,
            "none: uses of the key are not recorded",
        ),
    }
    let token = attempt(steps, "token", || {
        Token::select(module, &config.token, setup::attendance(), recorder)
    })?;
    let description = token.description();
    let warnings = description.pin_warnings.join(" ");
    steps.good(
        "token",
        format!("{} {warnings}", description.uri()).trim_end(),
    );
    let logged_in = attempt(steps, "login", || token.log_in(token.role()))?;
    if logged_in {
        steps.good("login", format!("PIN from {}", config.token.pin));
    } else if config.token.login == LoginPolicy::Never {
        steps.seen("login", Outcome::Note, "not logged in: `login = \"never\"`");
    } else {
        steps.good("login", "the token wants none");
    }
    let token = Arc::new(token);
    // The certificate is read before the key: where several keys match the URI, its public key decides.
    let chain = installed_chain(config, &token);
    let expected = chain
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .and_then(|chain| chain.leaf().public_key());
    let (key, public_key, attributes) = attempt(steps, "key", || -> Result<_, Error> {
        let key = identity::find_key(config, &token, expected)?;
        let session = token.session(Access::ReadOnly)?;
        let public_key = key.public_key()?.clone();
        let attributes = key.attributes(&session);
        Ok((key, public_key, attributes))
    })?;
    steps.good("key", format!("{} {}", public_key.algorithm(), key.uri()));
    let (outcome, detail) = custody_claims(&attributes);
    steps.seen("key attributes", outcome, detail);
    let engine = attempt(steps, "mechanisms", || {
        identity::engine_for_key(config, &token, key, public_key)
    })?;
    report_schemes(steps, &engine);
    let signer: Arc<dyn Sign> = Arc::new(engine);
    let has_certificate = matches!(chain, Ok(Some(_)));
    match chain {
        Ok(Some(chain)) => {
            steps.seen(
                "certificate",
                Outcome::Good,
                format!(
                    "{} until {}",
                    chain.leaf().subject(),
                    chain.leaf().not_after()
                ),
            );
            let identity = attempt(steps, "pair", || {
                Identity::prove(chain, Arc::clone(&signer))
            })?;
            steps.good(
                "pair",
                format!(
                    "a challenge was signed and verified in {:.1} ms",
                    millis(identity.proof())
                ),
            );
        }
        Ok(None) => {
            steps.seen(
                "certificate",
                Outcome::Note,
                "none installed yet: `hsm-mtls csr`, then `hsm-mtls cert install`",
            );
            steps.seen("pair", Outcome::Note, "nothing to compare with");
        }
        Err(error) => {
            steps.fault(
                "certificate",
                error.to_string(),
                error.hint(),
                error.exit_code(),
            );
            steps.seen("pair", Outcome::NotReached, "");
        }
    }
    let durations = attempt(steps, "signatures", || {
        (0..signatures)
            .map(|_| challenge(signer.as_ref(), Purpose::SelfTest))
            .collect::<Result<Vec<_>, _>>()
    })?;
    steps.good("signatures", summary(durations));
    Ok((signer, has_certificate))
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
    chain.check_client(SystemTime::now())?;
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
