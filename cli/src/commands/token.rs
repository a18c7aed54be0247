//! `token list` and `token check`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::Error;
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
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::session::Access;
use hsm_mtls::internal::token::{Role, Token, config_obstacle, description};
use serde_json::json;

mod load_test;

use super::{CommandError, Global, output, setup, signer};
use load_test as load;
pub(super) use load_test::Load;

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

pub(super) fn role(text: &str) -> Result<Role, String> {
    match text {
        "user" => Ok(Role::User),
        "so" => Ok(Role::SecurityOfficer),
        number => match number.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => number.parse().ok(),
        }
        // CKU_VENDOR_DEFINED: what is below has a meaning of the standard's.
        .filter(|number| *number >= 0x8000_0000)
        .map(Role::Vendor)
        .ok_or_else(|| {
            "write user, so, or a number of the vendor (0x80000000 and above)".to_owned()
        }),
    }
}

pub(super) fn list(global: &Global) -> Result<ExitCode, CommandError> {
    let config = setup::config_for_module(global)?;
    let module = Module::load(&config.token).map_err(CommandError::stage)?;
    let tokens = description::list_tokens(&module).map_err(CommandError::stage)?;
    if global.json {
        let tokens: Vec<_> = tokens
            .iter()
            .map(|token| match token {
                Ok(token) => json!({
                    "uri": token.uri().to_string(),
                    "configured": token.matches(&config.token.uri, &module),
                    "firmware": format!("{}.{}", token.firmware.0, token.firmware.1),
                    "login_required": token.login_required,
                    "protected_path": token.protected_path,
                    "pin_warnings": token.pin_warnings,
                }),
                Err(fault) => json!({ "error": fault.to_string() }),
            })
            .collect();
        output::json(&json!({ "schema": 0, "module": module.path(), "tokens": tokens }))?;
        return Ok(ExitCode::Good);
    }
    output::heading(&describe(&module))?;
    if tokens.is_empty() {
        output::line("  no initialised token")?;
        if let Some((seen, advice)) = config_obstacle(&config.token) {
            output::note(&seen)?;
            output::note(&advice)?;
        }
    }
    for token in &tokens {
        match token {
            Ok(token) => {
                let mark = if token.matches(&config.token.uri, &module) {
                    "*"
                } else {
                    " "
                };
                let warnings = token.pin_warnings.join(" ");
                output::line(format!("{mark} {} {warnings}", token.uri()).trim_end())?;
            }
            Err(fault) => output::line(&format!("! a slot that cannot be read: {fault}"))?,
        }
    }
    output::line("\n* matches the `uri` of [[token]]")?;
    Ok(ExitCode::Good)
}

fn describe(module: &Module) -> String {
    let info = module.description();
    format!(
        "{} ({} {}.{}, PKCS#11 {}.{})",
        module.path().display(),
        info.description,
        info.version.0,
        info.version.1,
        info.cryptoki.0,
        info.cryptoki.1
    )
}

pub(super) fn check(
    global: &Global,
    signatures: u32,
    load: Option<Load>,
) -> Result<ExitCode, CommandError> {
    let config = setup::config_for_module(global)?;
    let mut steps = Steps::default();
    let mut measured = None;
    // Whatever stops the walk is in the steps already.
    if let Ok((signer, certified)) = walk(&config, signatures, &mut steps) {
        match load {
            // What is measured is the token.
            Some(load) => {
                steps.begin();
                measured = Some(load.put_on(&signer, &mut steps));
            }
            None => signer::check(global, &config, certified, &mut steps),
        }
    }
    let last = load.as_ref().map_or(signer::STEP, |_| load::STEP);
    let all: Vec<_> = STEPS.into_iter().chain([last]).collect();
    steps.end(&all);
    let code = steps.exit_code();
    if global.json {
        let mut report = json!({ "schema": 0, "good": code == ExitCode::Good, "steps": steps });
        if let Some(measured) = &measured {
            report["load"] = measured.report();
        }
        output::json(&report)?;
    } else {
        output::steps(steps.list())?;
        if let Some(measured) = &measured {
            measured.print()?;
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

/// A step failed, and is written down.
struct Stopped;

fn attempt<T, E: Into<Error>>(
    steps: &mut Steps,
    name: &'static str,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, Stopped> {
    steps.begin();
    step().map_err(|error| {
        let error = error.into();
        steps.bad(name, error.to_string(), error.hint(), error.exit_code());
        Stopped
    })
}

/// The key, and whether there is a certificate that fits.
fn walk(
    config: &Config,
    signatures: u32,
    steps: &mut Steps,
) -> Result<(Arc<dyn Sign>, bool), Stopped> {
    let module = attempt(steps, "module", || Module::load(&config.token))?;
    steps.good("module", describe(&module));
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
    let found = token.description();
    let warnings = found.pin_warnings.join(" ");
    steps.good("token", format!("{} {warnings}", found.uri()).trim_end());
    let logged_in = attempt(steps, "login", || token.log_in(Role::User))?;
    if logged_in {
        steps.good("login", format!("PIN from {}", config.token.pin));
    } else if config.token.login == LoginPolicy::Never {
        steps.seen("login", Outcome::Note, "not logged in: `login = \"never\"`");
    } else {
        steps.good("login", "the token wants none");
    }
    let token = Arc::new(token);
    // The certificate is read before the key: where several keys match, it decides.
    let chain = certificate(config, &token);
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
    let (outcome, said) = custody(&attributes);
    steps.seen("key attributes", outcome, said);
    let engine = attempt(steps, "mechanisms", || {
        TokenEngine::start(Arc::clone(&token), key, public_key, &config.token)
    })?;
    mechanisms(steps, &engine);
    let signer: Arc<dyn Sign> = Arc::new(engine);
    let certified = matches!(chain, Ok(Some(_)));
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
            let proved = attempt(steps, "pair", || {
                Identity::prove(chain, Arc::clone(&signer))
            })?;
            steps.good(
                "pair",
                format!(
                    "a challenge was signed and verified in {:.1} ms",
                    millis(proved.proof())
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
    let times = attempt(steps, "signatures", || {
        (0..signatures)
            .map(|_| challenge(signer.as_ref(), Purpose::SelfTest))
            .collect::<Result<Vec<_>, _>>()
    })?;
    steps.good("signatures", summary(times));
    Ok((signer, certified))
}

/// What the token claims that bears on whether the key can leave it, or has been elsewhere.
fn custody(attributes: &KeyAttributes) -> (Outcome, String) {
    let (mut outcome, said) = match (attributes.sensitive, attributes.extractable) {
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
    let mut said = vec![said];
    if let Some(elsewhere) = attributes.import_warning() {
        outcome = Outcome::Note;
        said.push(elsewhere);
    }
    (outcome, said.join("; "))
}

/// The chain that is installed, if there is one.
fn certificate(config: &Config, token: &Token) -> Result<Option<Chain>, Error> {
    let given: Vec<Certificate> = match &config.c3.certificate {
        CertificateSource::File(path) if matches!(path.try_exists(), Ok(false)) => return Ok(None),
        CertificateSource::File(path) => read_file(path)?,
        CertificateSource::Token(_) => vec![identity::certificate_in_token(config, token)?],
    };
    let anchors = Anchors::load(config)?;
    let chain = Chain::complete(&given, &anchors, config.environment)?;
    chain.check_client(SystemTime::now())?;
    Ok(Some(chain))
}

fn mechanisms(steps: &mut Steps, engine: &TokenEngine) {
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

fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share| millis(load::at(&times, share));
    format!(
        "{} verified; min {:.2} ms, median {:.2} ms, p99 {:.2} ms",
        times.len(),
        at(0.0),
        at(0.5),
        at(0.99)
    )
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
