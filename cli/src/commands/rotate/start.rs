//! `rotate start`: a new key beside the one in use, and a request with the subject of the certificate in use.
//!
//! What the key is to be is on disk before C_GenerateKeyPair is called. Where that is interrupted, the next call finds the pair, a
//! half of it or nothing, and goes on: a rotation makes one key.

use std::fs;
use std::sync::Arc;

use aws_lc_rs::rand;
use hsm_mtls::internal::certificate::{Certificate, CertificateError, read_file};
use hsm_mtls::internal::config::{CertificateSource, Config, KeyRole};
use hsm_mtls::internal::csr;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::token::Token;
use hsm_mtls::internal::token::session::Access as SessionAccess;

use super::super::output_file::{DEFAULT_MODE, OutputFile, OutputOption};
use super::super::{CommandError, Global, key, output, setup};
use super::names::hex;
use super::new_key::{
    another_public_key, free_label, key_of_ceremony, make_key, proposed_label, refuse_taken,
};
use super::rotation::{Access, Rotation};
use super::state::{CertificateFacts, NewPair, OldPair, Stage, State};
use super::{RotationError, StartArgs, status};

/// Says what [`start`] would do.
pub(super) fn plan(
    global: &Global,
    config: &Config,
    view: &Config,
    args: &StartArgs,
) -> Result<ExitCode, CommandError> {
    let rotation = Rotation::open(config, view, Access::Read)?;
    let label = args
        .label
        .clone()
        .unwrap_or_else(|| proposed_label(view, 1));
    let plan = match (&rotation.state, &args.key) {
        (Some(state), _) => {
            refuse_other_wish(state, args)?;
            match state.stage {
                Stage::Begun => format!(
                    "go on with the key {:?}, and sign its request",
                    state.new.label
                ),
                _ => "print the request again".to_owned(),
            }
        }
        (None, Some(uri)) => format!("take the key {uri}, and sign a request with it"),
        (None, None) => format!(
            "make a key of the same kind with the label {label:?}, or another number where that is taken, and sign a request with it"
        ),
    };
    status::planned(global, &plan)
}

pub(super) fn start(
    global: &Global,
    config: &Config,
    view: &Config,
    args: &StartArgs,
) -> Result<ExitCode, CommandError> {
    let mut rotation = Rotation::open(config, view, Access::Write)?;
    if let Some(state) = &rotation.state {
        refuse_other_wish(state, args)?;
    }
    let option = OutputOption {
        content: "the request",
        path: args.output.as_deref(),
        force: args.force || holds_request(&rotation, args),
        mode: DEFAULT_MODE,
        json: global.json,
    };
    let file = OutputFile::claim(&option, &[config])?;
    let is_done = |state: &State| state.stage > Stage::Begun;
    if !rotation.state.as_ref().is_some_and(is_done) {
        make_request(&mut rotation, args)?;
    }
    let state = rotation.under_way()?;
    let request = state.new.request.clone().unwrap_or_default();
    match file {
        Some(file) => file.write(request.as_bytes())?,
        None if !global.json => {
            output::raw(request.as_bytes())?;
            status::remarks(&rotation);
            return Ok(ExitCode::Good);
        }
        None => {}
    }
    status::done(
        global,
        &rotation,
        "the new key is there, and its request is signed",
    )
}

/// Whether the file is there already because an earlier call has written it.
fn holds_request(rotation: &Rotation<'_>, args: &StartArgs) -> bool {
    let request = rotation
        .state
        .as_ref()
        .and_then(|state| state.new.request.as_ref());
    let content = args
        .output
        .as_ref()
        .and_then(|path| fs::read_to_string(path).ok());
    content.is_some() && content.as_ref() == request
}

/// Refuses a label or a key that is not that of the rotation under way.
fn refuse_other_wish(state: &State, args: &StartArgs) -> Result<(), CommandError> {
    let is_other_label = args
        .label
        .as_ref()
        .is_some_and(|label| *label != state.new.label);
    let is_other_key = args.key.is_some() && args.key != state.new.of_ceremony;
    match is_other_label || is_other_key {
        true => Err(CommandError::stage(RotationError::UnderWay {
            key: state.new.label.clone(),
        })),
        false => Ok(()),
    }
}

fn make_request(rotation: &mut Rotation<'_>, args: &StartArgs) -> Result<(), CommandError> {
    let view = rotation.view;
    let token = setup::open_token(view).map_err(CommandError::stage)?;
    let leaf = current_certificate(view, &token)?;
    let algorithm = algorithm_of(&leaf)?;
    // Held until the key is there: no other process makes one with the same label.
    let _lock = key::lock_generation(view, &token)?;
    let state = match rotation.state.clone() {
        Some(state) => state,
        None => {
            let state = intend(rotation, args, &token, &leaf)?;
            rotation.record("start", &state)?;
            rotation.save(state.clone())?;
            state
        }
    };
    let found = match &state.new.of_ceremony {
        Some(uri) => key_of_ceremony(&token, uri)?,
        None => make_key(view, &token, &state, algorithm)?,
    };
    let uri = found.uri().to_string();
    let public_key = another_public_key(&found, state.old.spki, algorithm)?;
    let session = token
        .session(SessionAccess::ReadOnly)
        .map_err(CommandError::stage)?;
    let warning = found.attributes(&session).import_warning();
    let spki = public_key.fingerprint();
    let signer =
        identity::engine_for_key(view, &token, found, public_key).map_err(CommandError::stage)?;
    if rotation.role == KeyRole::Sig4 {
        identity::check_ps256(&signer).map_err(CommandError::stage)?;
    }
    let request = csr::request(&signer, &leaf.subject()).map_err(CommandError::stage)?;
    if let Some(warning) = warning {
        output::remark(warning);
    }
    rotation.save(State {
        stage: Stage::Requested,
        new: NewPair {
            uri: Some(uri),
            spki: Some(spki),
            request: Some(request.pem),
            ..state.new
        },
        ..state
    })
}

/// The certificate in use.
fn current_certificate(view: &Config, token: &Arc<Token>) -> Result<Certificate, CommandError> {
    let found = match &view.c3.certificate {
        CertificateSource::File(path) => read_file(path)
            .map_err(CommandError::stage)?
            .into_iter()
            .next(),
        CertificateSource::Token(_) => {
            Some(identity::certificate_in_token(view, token).map_err(CommandError::stage)?)
        }
    };
    let empty = || CertificateError::Empty("the configured place".to_owned());
    found.ok_or_else(|| CommandError::stage(empty()))
}

fn algorithm_of(leaf: &Certificate) -> Result<KeyAlgorithm, CommandError> {
    let public_key = leaf.public_key();
    public_key.map(|key| key.algorithm()).ok_or_else(|| {
        CommandError::usage(
            "the certificate in use is of a kind of key that is not supported",
            "make a key with `hsm-mtls key generate`, and have it certified: a rotation keeps the kind",
        )
    })
}

/// What a new rotation is to do.
fn intend(
    rotation: &Rotation<'_>,
    args: &StartArgs,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<State, CommandError> {
    let view = rotation.view;
    // A certificate in use whose key is not there cannot be gone back to.
    let old_key =
        identity::find_key(view, token, leaf.public_key()).map_err(CommandError::stage)?;
    let spki = old_key
        .public_key()
        .map_err(CommandError::stage)?
        .fingerprint();
    let old_uri = old_key.uri().clone();
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_| {
        CommandError::usage("the system gave no random bytes", "run the command again")
    })?;
    let of_ceremony = args.key.as_ref();
    if let Some(uri) = of_ceremony {
        another_public_key(&key_of_ceremony(token, uri)?, spki, algorithm_of(leaf)?)?;
    }
    let label = match (of_ceremony, &args.label) {
        (Some(uri), _) => uri.clone(),
        (None, Some(label)) => {
            refuse_taken(token, label)?;
            label.clone()
        }
        (None, None) => free_label(view, token)?,
    };
    let text = rotation.text()?;
    Ok(State {
        schema: 0,
        role: rotation.role.section().to_owned(),
        configuration: view.path.clone(),
        begun: rfc3339::now(),
        stage: Stage::Begun,
        old: OldPair {
            written: text
                .key_and_certificate(rotation.role)
                .map_err(CommandError::stage)?,
            label: old_uri.object.clone().unwrap_or_default(),
            uri: old_uri.to_string(),
            spki,
            certificate: CertificateFacts::of(leaf),
            subject: hex(&leaf.subject().der()),
        },
        new: NewPair {
            label,
            id: hex(&id),
            of_ceremony: of_ceremony.cloned(),
            accept_claims: args.accept_claims,
            uri: None,
            spki: None,
            request: None,
            written: None,
            certificate: None,
        },
        tested: None,
        switched: None,
    })
}
