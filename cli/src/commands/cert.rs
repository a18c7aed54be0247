//! `cert install` and `cert show`.

mod atomic_replace;

use std::path::Path;
use std::time::SystemTime;

use super::error::Error;
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::name::{COMMON_NAME, ORGANIZATIONAL_UNIT};
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read_file};
use hsm_mtls::internal::config::environment::Environment;
use hsm_mtls::internal::config::{CertificateSource, Config};
use hsm_mtls::internal::csr;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::{self, Identity};
use hsm_mtls::internal::key::Key;
use hsm_mtls::internal::key::certificate_object::{self, CertificateFields};
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::tls;
use hsm_mtls::internal::token::session::Access;
use serde_json::json;

use super::{CommandError, Global, output, setup};
use atomic_replace::Replacement;

pub(super) fn install(global: &Global, file: &Path) -> Result<ExitCode, CommandError> {
    let config = setup::config_for_module(global)?;
    let file_of_ours = match &config.c3.certificate {
        CertificateSource::File(path) => Some(Replacement::claim(&config, path)?),
        CertificateSource::Token(_) => None,
    };
    let chain = checked(&config, file).map_err(CommandError::stage)?;
    let token = setup::token(&config).map_err(CommandError::stage)?;
    let signer = identity::engine_for_certificate(&config, &token, chain.leaf())
        .map_err(CommandError::stage)?;
    let identity =
        Identity::prove(chain, std::sync::Arc::new(signer)).map_err(CommandError::stage)?;
    let chain = identity.chain();
    let mut notes = remarks(&config, chain);
    let mut kept = None;
    if let Some(file) = file_of_ours {
        let before = file.leaf.clone();
        kept = file.put(&chain.pem())?;
        notes.extend(before.and_then(|before| sooner(chain.leaf(), &before)));
        let told = kept
            .as_ref()
            .map(|kept| format!("the one before is kept in {}", kept.display()));
        notes.extend(told);
    }
    let place = match &config.c3.certificate {
        CertificateSource::File(path) => path.display().to_string(),
        CertificateSource::Token(uri) => {
            let session = token
                .session(Access::ReadWrite)
                .map_err(CommandError::stage)?;
            let leaf = chain.leaf();
            let public_key = leaf.public_key();
            let key = Key::find(&session, &token, &config.c3.key, public_key)
                .map_err(CommandError::stage)?;
            let parts = CertificateFields {
                der: leaf.der(),
                subject: &leaf.subject().der(),
                issuer: &leaf.issuer().der(),
                serial: &leaf.serial_der(),
            };
            certificate_object::store(&session, &token, uri, &key, &parts)
                .map_err(CommandError::stage)?;
            uri.to_string()
        }
    };
    if global.json {
        let mut report = json!({
            "schema": 0,
            "installed": place,
            "certificate": as_json(&config, chain.leaf()),
            "key": identity.signer().key_uri(),
        });
        if let Some(kept) = &kept {
            report["replaced"] = json!(kept);
        }
        output::json(&report)?;
    } else {
        output::heading(&format!("installed in {place}"))?;
        let mut rows = rows(&config, chain.leaf());
        rows.push(("key", identity.signer().key_uri()));
        rows.push(("pair", "proved by a signed challenge".to_owned()));
        output::fields(&rows)?;
    }
    notes.iter().for_each(|note| output::remark(note));
    Ok(ExitCode::Good)
}

/// Whether a certificate ends before the one that it replaces: files of two renewals are soon mixed up.
fn sooner(leaf: &Certificate, before: &Certificate) -> Option<String> {
    // RFC 3339 in UTC: as text in the order of time.
    let (ends, ended) = (leaf.not_after(), before.not_after());
    (ends < ended).then(|| {
        format!("it ends sooner ({ends}) than the one that it replaces ({ended}): is it the older of the two?")
    })
}

/// What fits, but may not be what was meant.
fn remarks(config: &Config, chain: &Chain) -> Vec<String> {
    let leaf = chain.leaf();
    let mut remarks = Vec::new();
    let wanted = config
        .c3
        .subject
        .as_ref()
        .and_then(|subject| csr::subject(subject).ok());
    if let Some(wanted) = wanted.filter(|wanted| *wanted != leaf.subject()) {
        remarks.push(format!("the subject is not that of [c3.subject]: {wanted}"));
    }
    let anchors = Anchors::load(config).ok();
    for (below, issuer) in anchors
        .iter()
        .flat_map(|anchors| chain.other_encodings(anchors))
    {
        remarks.push(format!(
            "{} names its issuer in another encoding than {} has: the same name (RFC 5280, section 7.1), which a server that \
             compares bytes may not see",
            below.subject(),
            issuer.subject()
        ));
    }
    let algorithm = leaf.public_key().map(|key| key.algorithm());
    if algorithm.is_some_and(|algorithm| algorithm != KeyAlgorithm::Rsa { bits: 2048 }) {
        remarks.push("the scheme documents RSA-2048 as the only type that it accepts".to_owned());
    }
    remarks
}

/// Everything that can be said of the file without the token.
fn checked(config: &Config, file: &Path) -> Result<Chain, Error> {
    let given = read_file(file)?;
    let anchors = Anchors::load(config)?;
    let chain = Chain::complete(&given, &anchors, config.environment)?;
    chain.check_client(SystemTime::now())?;
    tls::trust::verify_client_chain(&chain, &anchors, &tls::provider(&config.tls))?;
    Ok(chain)
}

pub(super) fn show(global: &Global, min_days: Option<i64>) -> Result<ExitCode, CommandError> {
    let config = setup::config_for_module(global)?;
    let given = installed(&config).map_err(CommandError::stage)?;
    let leaf = given.first().ok_or_else(|| {
        CommandError::stage(CertificateError::Empty("the configured place".to_owned()))
    })?;
    // Without them nothing can be said of the chain: that is no finding on the certificate.
    let anchors = Anchors::load(&config).map_err(CommandError::stage)?;
    let faults = faults(&config, &anchors, &given, leaf, min_days);
    if global.json {
        let certificate = as_json(&config, leaf);
        output::json(&json!({ "schema": 0, "certificate": certificate, "faults": faults }))?;
    } else {
        output::heading(&title(config.environment, leaf))?;
        output::fields(&rows(&config, leaf))?;
        for fault in &faults {
            output::verdict(false, fault)?;
        }
    }
    Ok(if faults.is_empty() {
        ExitCode::Good
    } else {
        ExitCode::Finding
    })
}

/// Whose a certificate is by its issuer's name. Older CAs have names of their own: of those the chain tells.
fn environment_of(leaf: &Certificate) -> Option<Environment> {
    let issuer = leaf.issuer().first(COMMON_NAME)?;
    let both = [Environment::Preprod, Environment::Production];
    both.into_iter()
        .find(|environment| environment.documented_ca_names().contains(&issuer))
}

/// What it is, whatever the configuration wants it to be.
fn title(configured: Environment, leaf: &Certificate) -> String {
    match environment_of(leaf) {
        Some(environment) if environment == configured => {
            format!("C3 of the {environment} environment")
        }
        Some(environment) => {
            format!("C3 of the {environment} environment; the configuration is of {configured}")
        }
        None => {
            let issuer = leaf.issuer();
            let name = issuer.first(COMMON_NAME);
            let name = name.unwrap_or_else(|| issuer.to_string());
            format!("certificate issued by {name}; the configuration is of {configured}")
        }
    }
}

/// What a monitor has to hear of.
fn faults(
    config: &Config,
    anchors: &Anchors,
    given: &[Certificate],
    leaf: &Certificate,
    min_days: Option<i64>,
) -> Vec<String> {
    let now = SystemTime::now();
    let mut faults = Vec::new();
    let chain = Chain::complete(given, anchors, config.environment);
    faults.extend(chain.err().map(|error| error.to_string()));
    faults.extend(leaf.check_client(now).err().map(|error| error.to_string()));
    let days = leaf.days_left(now);
    if let Some(min) = min_days.filter(|min| days < *min && days >= 0) {
        faults.push(format!(
            "fewer than {min} days are left: request a new one with `hsm-mtls csr`"
        ));
    }
    faults
}

fn installed(config: &Config) -> Result<Vec<Certificate>, Error> {
    match &config.c3.certificate {
        CertificateSource::File(path) => Ok(read_file(path)?),
        CertificateSource::Token(_) => {
            let token = setup::token(config)?;
            Ok(vec![identity::certificate_in_token(config, &token)?])
        }
    }
}

/// Where the keys of this certificate's application are published; None where its subject does not say whose it is.
fn jwks_url(config: &Config, leaf: &Certificate) -> Option<String> {
    let subject = leaf.subject();
    let environment = environment_of(leaf).unwrap_or(config.environment);
    Some(environment.jwks_url(
        &subject.first(ORGANIZATIONAL_UNIT)?,
        &subject.first(COMMON_NAME)?,
    ))
}

fn rows(config: &Config, leaf: &Certificate) -> Vec<(&'static str, String)> {
    let days = leaf.days_left(SystemTime::now());
    vec![
        ("subject", leaf.subject().to_string()),
        ("issuer", leaf.issuer().to_string()),
        (
            "valid",
            format!(
                "{} to {} ({days} days left)",
                leaf.not_before(),
                leaf.not_after()
            ),
        ),
        (
            "public key",
            match (leaf.public_key(), leaf.unsupported_key()) {
                (Some(key), _) => format!("{} {}", key.algorithm(), key.fingerprint()),
                (None, Some(kind)) => format!("{kind}, which is not supported"),
                (None, None) => "not supported".to_owned(),
            },
        ),
        ("fingerprint", leaf.fingerprint().to_string()),
        ("x5t#S256", leaf.x5t_s256()),
        (
            "JWKS (derived)",
            jwks_url(config, leaf).unwrap_or_else(|| "the subject has no OU and CN".to_owned()),
        ),
    ]
}

fn as_json(config: &Config, leaf: &Certificate) -> serde_json::Value {
    json!({
        "subject": leaf.subject().to_string(),
        "issuer": leaf.issuer().to_string(),
        "not_before": leaf.not_before(),
        "not_after": leaf.not_after(),
        "days_left": leaf.days_left(SystemTime::now()),
        "fingerprint": leaf.fingerprint().to_string(),
        "x5t_s256": leaf.x5t_s256(),
        "spki_sha256": leaf.public_key().map(|key| key.fingerprint().to_string()),
        "jwks_url": jwks_url(config, leaf),
    })
}
