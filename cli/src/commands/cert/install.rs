//! `cert install`: checks a certificate against key, issuer, environment, purpose and dates, and stores it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::error::Error;
use super::super::setup::RoleOption;
use super::super::{CommandError, Global, output, setup};
use super::atomic_replace::CertificateFile;
use super::{as_json, other_role, rows};
use hsm_mtls::internal::certificate::anchors::{Anchors, Chain};
use hsm_mtls::internal::certificate::{Certificate, read_file};
use hsm_mtls::internal::config::sig4::check_kid;
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::csr;
use hsm_mtls::internal::engine::Sign as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::{self, Identity};
use hsm_mtls::internal::key::Key;
use hsm_mtls::internal::key::certificate_object::{self, CertificateFields};
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::tls;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::session::Access;
use hsm_mtls::internal::working_dir;
use serde_json::json;

pub(super) fn install(
    global: &Global,
    config: &Config,
    role: RoleOption,
    file: &Path,
) -> Result<ExitCode, CommandError> {
    role.run(config, |view| install_for(global, config, view, file))
}

/// `config` is the whole configuration, `view` that of the certificate.
fn install_for(
    global: &Global,
    config: &Config,
    view: &Config,
    file: &Path,
) -> Result<ExitCode, CommandError> {
    let role = view.c3.role;
    let certificate_file = match &view.c3.certificate {
        CertificateSource::File(path) => Some(CertificateFile::check(config, role, path)?),
        CertificateSource::Token(_) => None,
    };
    let file = &working_dir::from_start(file);
    let chain = read_chain(view, file).map_err(CommandError::stage)?;
    if role == KeyRole::Sig4 {
        check_kid(config, &chain.leaf().x5t_s256()).map_err(CommandError::stage)?;
    }
    let token = setup::open_token(view).map_err(CommandError::stage)?;
    let signer = identity::engine_for_certificate(view, &token, chain.leaf())
        .map_err(CommandError::stage)?;
    if role == KeyRole::Sig4 {
        identity::check_ps256(&signer).map_err(CommandError::stage)?;
    }
    let key_uri = signer.key_uri();
    let of_both = other_role::compare(config, view, &token, chain.leaf(), &key_uri)?;
    let identity = Identity::prove(chain, Arc::new(signer)).map_err(CommandError::stage)?;
    let chain = identity.chain();
    let mut notes = chain_notes(view, chain);
    notes.extend(of_both);
    let mut backup = None;
    if let Some(file) = certificate_file {
        let replaced = file.leaf.clone();
        backup = file.replace(&chain.pem())?;
        notes.extend(replaced.and_then(|replaced| earlier_end_note(chain.leaf(), &replaced)));
        let backup_note = backup
            .as_ref()
            .map(|backup| format!("the one before is kept in {}", backup.display()));
        notes.extend(backup_note);
    }
    let location = match &view.c3.certificate {
        CertificateSource::File(path) => path.display().to_string(),
        CertificateSource::Token(uri) => {
            store_in_token(view, &token, uri, chain.leaf())?;
            uri.to_string()
        }
    };
    if global.json {
        let mut report = json!({
            "schema": 0,
            "installed": location,
            "certificate": as_json(config, role, chain.leaf()),
            "key": identity.signer().key_uri(),
        });
        if let Some(backup) = &backup {
            report["replaced"] = json!(backup);
        }
        output::json(&report)?;
    } else {
        output::heading(&format!("installed in {location}"))?;
        let mut rows = rows(config, role, chain.leaf());
        rows.push(("key", identity.signer().key_uri()));
        rows.push(("pair", "proved by a signed challenge".to_owned()));
        output::fields(&rows)?;
    }
    notes.iter().for_each(|note| output::remark(note));
    Ok(ExitCode::Good)
}

/// Stores the certificate of the configured key as an object of the token.
///
/// # Errors
/// Another certificate is there, or the token did not take it.
pub(in crate::commands) fn store_in_token(
    view: &Config,
    token: &Token,
    uri: &Pkcs11Uri,
    leaf: &Certificate,
) -> Result<(), CommandError> {
    let session = token
        .session(Access::ReadWrite)
        .map_err(CommandError::stage)?;
    let public_key = leaf.public_key();
    let key = Key::find(&session, token, &view.c3.key, public_key).map_err(CommandError::stage)?;
    let fields = CertificateFields {
        der: leaf.der(),
        subject: &leaf.subject().der(),
        issuer: &leaf.issuer().der(),
        serial: &leaf.serial_der(),
    };
    certificate_object::store(&session, token, uri, &key, &fields).map_err(CommandError::stage)
}

/// A note where the certificate ends before the one that it replaces: the files of two renewals are easily confused.
fn earlier_end_note(leaf: &Certificate, replaced: &Certificate) -> Option<String> {
    // RFC 3339 in UTC sorts by time as text.
    let (ends, ended) = (leaf.not_after(), replaced.not_after());
    (ends < ended).then(|| {
        format!("it ends sooner ({ends}) than the one that it replaces ({ended}): is it the older of the two?")
    })
}

/// Notes on a certificate that is valid, but perhaps not the intended one.
pub(in crate::commands) fn chain_notes(config: &Config, chain: &Chain) -> Vec<String> {
    let leaf = chain.leaf();
    let mut notes = Vec::new();
    let configured = config
        .c3
        .subject
        .as_ref()
        .and_then(|subject| csr::subject(subject, config.environment.regime()).ok());
    if let Some(configured) = configured.filter(|configured| *configured != leaf.subject()) {
        notes.push(format!(
            "the subject is not that of [c3.subject]: {configured}"
        ));
    }
    let anchors = Anchors::load(config).ok();
    for (subordinate, issuer) in anchors
        .iter()
        .flat_map(|anchors| chain.differing_encodings(anchors))
    {
        notes.push(format!(
            "{} names its issuer in another encoding than {} has: the same name (RFC 5280, section 7.1), which a server that \
             compares bytes may not see",
            subordinate.subject(),
            issuer.subject()
        ));
    }
    let algorithm = leaf.public_key().map(|key| key.algorithm());
    if algorithm.is_some_and(|algorithm| algorithm != KeyAlgorithm::Rsa { bits: 2048 }) {
        notes.push("the scheme documents RSA-2048 as the only type that it accepts".to_owned());
    }
    notes
}

/// Reads the file, and checks its chain, purpose and dates: all that needs no token.
pub(in crate::commands) fn read_chain(config: &Config, file: &Path) -> Result<Chain, Error> {
    let certificates = read_file(file)?;
    let anchors = Anchors::load(config)?;
    let chain = Chain::complete(&certificates, &anchors, config.environment)?;
    chain.check_role(config.c3.role, SystemTime::now())?;
    match config.c3.role {
        KeyRole::C3 => {
            tls::trust::verify_client_chain(&chain, &anchors, &tls::provider(&config.tls))?;
        }
        // No server sees it in a handshake, so none asks it for clientAuth. The signatures were verified with the chain.
        KeyRole::Sig4 => chain.check_path(&anchors, SystemTime::now())?,
    }
    Ok(chain)
}
