//! `rotate install`: checks the new certificate as `cert install` does, against the new key and the certificate in use, and stores
//! it beside that one, which stays for the way back.

use std::path::Path;
use std::sync::Arc;

use hsm_mtls::internal::certificate::anchors::Chain;
use hsm_mtls::internal::certificate::name::DistinguishedName;
use hsm_mtls::internal::config::uri::{ObjectType, Pkcs11Uri};
use hsm_mtls::internal::config::{CertificateSource, Config, KeyAndCertificate, KeyRole};
use hsm_mtls::internal::engine::Sign as _;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::{self, Identity};
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::working_dir;

use super::super::{CommandError, Global, cert, output, setup};
use super::names::{configured_uri, dated_path, from_hex, hex};
use super::rotation::{Access, Rotation};
use super::state::{CertificateFacts, NewPair, Stage, State};
use super::{RotationError, status};

/// How many names of files are tried.
const MAX_NAMES: u32 = 100;

/// Where a new certificate may be installed: once more, where it was issued anew before the switch.
const STAGES: [Stage; 3] = [Stage::Requested, Stage::Installed, Stage::Tested];

/// Says what [`install`] would do: all checks but those that take the key.
pub(super) fn plan(
    global: &Global,
    config: &Config,
    view: &Config,
    file: &Path,
) -> Result<ExitCode, CommandError> {
    let rotation = Rotation::open(config, view, Access::Read)?;
    let state = rotation.at(&STAGES)?;
    checked_chain(&rotation, state, file)?;
    let written = written(&rotation, state)?;
    let plan = format!(
        "prove the pair by a signed challenge, and store the certificate in {}",
        written.certificate
    );
    status::planned(global, &plan)
}

pub(super) fn install(
    global: &Global,
    config: &Config,
    view: &Config,
    file: &Path,
) -> Result<ExitCode, CommandError> {
    let mut rotation = Rotation::open(config, view, Access::Write)?;
    let state = rotation.at(&STAGES)?.clone();
    let chain = checked_chain(&rotation, &state, file)?;
    let written = written(&rotation, &state)?;
    let new_config = rotation.config_with(&written)?;
    let new_view = rotation.view_of(new_config.clone());
    let place = match &new_view.c3.certificate {
        CertificateSource::File(path) => {
            let file = cert::CertificateFile::check(&new_config, rotation.role, path)?;
            Some(match &view.c3.certificate {
                CertificateSource::File(old) => file.like(old),
                CertificateSource::Token(_) => file,
            })
        }
        CertificateSource::Token(_) => None,
    };
    let token = setup::open_token(&new_view).map_err(CommandError::stage)?;
    let signer = identity::engine_for_certificate(&new_view, &token, chain.leaf())
        .map_err(CommandError::stage)?;
    if rotation.role == KeyRole::Sig4 {
        identity::check_ps256(&signer).map_err(CommandError::stage)?;
    }
    let mut notes = cert::chain_notes(&new_view, &chain);
    let key_uri = signer.key_uri();
    notes.extend(cert::compare_with_other_role(
        config,
        view,
        &token,
        chain.leaf(),
        &key_uri,
    )?);
    let identity = Identity::prove(chain, Arc::new(signer)).map_err(CommandError::stage)?;
    let leaf = identity.chain().leaf();
    let facts = CertificateFacts::of(leaf);
    if facts.not_after <= state.old.certificate.not_after {
        // RFC 3339 in UTC sorts by time as text.
        notes.push(format!(
            "it ends no later than the one in use ({} and {}): is it the right one?",
            facts.not_after, state.old.certificate.not_after
        ));
    }
    let state = State {
        new: NewPair {
            written: Some(written),
            certificate: Some(facts),
            ..state.new
        },
        tested: None,
        stage: Stage::Requested,
        ..state
    };
    rotation.record("install", &state)?;
    // Before the file: the name is known to the next call, if this one is interrupted.
    rotation.save(state.clone())?;
    match (place, &new_view.c3.certificate) {
        (Some(file), _) => {
            file.replace(&identity.chain().pem())?;
        }
        (None, CertificateSource::Token(uri)) => {
            cert::store_in_token(&new_view, &token, uri, leaf)?;
        }
        (None, CertificateSource::File(_)) => {}
    }
    rotation.save(State {
        stage: Stage::Installed,
        ..state
    })?;
    notes.iter().for_each(|note| output::remark(note));
    status::done(
        global,
        &rotation,
        "the new certificate is stored, and the pair proved",
    )
}

/// The chain of the file, as `cert install` checks it, and the leaf as the new key's and of the same subject.
fn checked_chain(
    rotation: &Rotation<'_>,
    state: &State,
    file: &Path,
) -> Result<Chain, CommandError> {
    let file = working_dir::from_start(file);
    let chain = cert::read_chain(rotation.view, &file).map_err(CommandError::stage)?;
    let leaf = chain.leaf();
    let spki = leaf.public_key().map(|key| key.fingerprint());
    if spki == Some(state.old.spki) {
        let spki = state.old.spki.to_string();
        return Err(CommandError::stage(RotationError::OldKeysCertificate {
            spki,
        }));
    }
    if spki.is_none() || spki != state.new.spki {
        let text = |spki: Option<_>| {
            spki.map_or_else(
                || "one of a kind that is not supported".to_owned(),
                |spki: hsm_mtls::internal::config::trust::Fingerprint| spki.to_string(),
            )
        };
        return Err(CommandError::stage(RotationError::OtherKeysCertificate {
            found: text(spki),
            expected: text(state.new.spki),
        }));
    }
    if hex(&leaf.subject().der()) != state.old.subject {
        let expected = DistinguishedName::from_der(&from_hex(&state.old.subject));
        let expected = expected.filter(|expected| *expected != leaf.subject());
        let found = leaf.subject();
        // A CA may encode the strings of the same name in another way (RFC 5280, section 7.1).
        if let Some(expected) = expected {
            return Err(CommandError::stage(RotationError::OtherSubject {
                found: found.to_string(),
                expected: expected.to_string(),
            }));
        }
    }
    Ok(chain)
}

/// How the file is to name the new pair. The kid follows from the certificate at the switch.
fn written(rotation: &Rotation<'_>, state: &State) -> Result<KeyAndCertificate, CommandError> {
    if let Some(written) = &state.new.written {
        return Ok(written.clone());
    }
    let invalid = |error: &dyn std::fmt::Display| {
        CommandError::usage(
            format!("the state of the rotation holds a URI that is none: {error}"),
            "end this rotation with `hsm-mtls rotate abandon`, and begin again",
        )
    };
    let new_key: Pkcs11Uri = state
        .new
        .uri
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| invalid(&error))?;
    let old = &state.old.written;
    let key = match &state.new.of_ceremony {
        Some(uri) => uri.clone(),
        None => {
            let old: Pkcs11Uri = old.key.parse().map_err(|error| invalid(&error))?;
            configured_uri(&old, &new_key, ObjectType::Private).to_string()
        }
    };
    let certificate = match old.certificate.parse::<Pkcs11Uri>() {
        Ok(old) => configured_uri(&old, &new_key, ObjectType::Certificate).to_string(),
        Err(_) => free_file(rotation, &old.certificate)?,
    };
    Ok(KeyAndCertificate {
        key,
        certificate,
        kid: None,
    })
}

/// The name of a new file beside the old one, written as that is.
fn free_file(rotation: &Rotation<'_>, old: &str) -> Result<String, CommandError> {
    let folder = rotation.config.path.parent().unwrap_or(Path::new("/"));
    let date = rfc3339::now();
    let free = (1..MAX_NAMES)
        .map(|number| dated_path(Path::new(old), &date, number))
        .find(|path| folder.join(path).symlink_metadata().is_err());
    free.map(|path| path.to_string_lossy().into_owned())
        .ok_or_else(|| {
            CommandError::usage(
                format!("too many certificates of today lie beside {old}"),
                "move those that are not in use to another folder",
            )
        })
}
