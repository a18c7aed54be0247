//! The new key of a rotation: its label, the key that a key ceremony made, or the one that is made here, also where an earlier call
//! was interrupted while it made it.

use std::sync::Arc;

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::trust::Fingerprint;
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::key::generate::{self, Claims, KeyPairRequest};
use hsm_mtls::internal::key::public::PublicKey;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::key::{Key, KeyError, find_all, interrupted_generation};
use hsm_mtls::internal::rfc3339;
use hsm_mtls::internal::token::session::Access;
use hsm_mtls::internal::token::{Token, TokenError, TokenOperation, with_timeout};

use super::super::CommandError;
use super::super::token_process::GENERATION_TRIES;
use super::RotationError;
use super::names::{dated, from_hex};
use super::state::State;

/// How many labels are tried.
const MAX_LABELS: u32 = 100;

/// The label of the old key, as the configuration names it, with today's date.
pub(super) fn proposed_label(view: &Config, number: u32) -> String {
    let old = view
        .c3
        .key
        .object
        .as_deref()
        .unwrap_or(view.c3.role.section());
    dated(old, &rfc3339::now(), number)
}

/// The public key of a key that can take the place of the old one.
///
/// # Errors
/// It is the old one, or of another kind.
pub(super) fn another_public_key(
    key: &Key,
    old: Fingerprint,
    algorithm: KeyAlgorithm,
) -> Result<PublicKey, CommandError> {
    let public_key = key.public_key().map_err(CommandError::stage)?;
    let found = public_key.algorithm();
    let why = match () {
        () if public_key.fingerprint() == old => "it is the old key".to_owned(),
        () if found != algorithm => format!("it is {found}, and the old one {algorithm}"),
        () => return Ok(public_key.clone()),
    };
    let key = key.uri().to_string();
    Err(CommandError::stage(RotationError::NotAnotherKey {
        key,
        why,
    }))
}

fn keys_with(token: &Token, uri: &Pkcs11Uri) -> Result<Vec<Key>, CommandError> {
    let session = token
        .session(Access::ReadOnly)
        .map_err(CommandError::stage)?;
    find_all(&session, token, uri).map_err(CommandError::stage)
}

fn keys_labelled(token: &Token, label: &str) -> Result<Vec<Key>, CommandError> {
    let uri = Pkcs11Uri {
        object: Some(label.to_owned()),
        ..Pkcs11Uri::default()
    };
    keys_with(token, &uri)
}

pub(super) fn refuse_taken(token: &Token, label: &str) -> Result<(), CommandError> {
    match keys_labelled(token, label)?.first() {
        Some(taken) => Err(CommandError::stage(KeyError::LabelTaken {
            label: label.to_owned(),
            uri: taken.uri().to_string(),
        })),
        None => Ok(()),
    }
}

/// The first proposed label that no private key has.
pub(super) fn free_label(view: &Config, token: &Token) -> Result<String, CommandError> {
    for number in 1..MAX_LABELS {
        let label = proposed_label(view, number);
        if keys_labelled(token, &label)?.is_empty() {
            return Ok(label);
        }
    }
    Err(CommandError::usage(
        "too many keys of today have the label of the old one",
        "choose a --label",
    ))
}

/// The one key that this URI names.
pub(super) fn key_of_ceremony(token: &Token, uri: &str) -> Result<Key, CommandError> {
    let uri: Pkcs11Uri = uri.parse().map_err(|error| {
        CommandError::usage(
            format!("--key is no PKCS#11 URI: {error}"),
            "write it as `hsm-mtls key list` shows it",
        )
    })?;
    let session = token
        .session(Access::ReadOnly)
        .map_err(CommandError::stage)?;
    Key::find(&session, token, &uri, None).map_err(CommandError::stage)
}

/// Makes the key, or finds what an interrupted call has made of it.
pub(super) fn make_key(
    view: &Config,
    token: &Arc<Token>,
    state: &State,
    algorithm: KeyAlgorithm,
) -> Result<Key, CommandError> {
    let (label, id) = (state.new.label.clone(), from_hex(&state.new.id));
    let claims = match state.new.accept_claims {
        true => Claims::AnyUse,
        false => Claims::AsRequested,
    };
    let timeout = view.token.start_timeout * GENERATION_TRIES;
    let maker = Arc::clone(token);
    let made = with_timeout(TokenOperation::KeyGeneration, timeout, move || {
        let session = maker.session(Access::ReadWrite)?;
        let request = KeyPairRequest {
            algorithm,
            label: &label,
            id: Some(&id),
            claims,
            role: maker.role(),
        };
        let made = interrupted_generation::resume(&maker, &session, &request);
        let made = made.and_then(|found| match found {
            Some(key) => Ok(key),
            None => generate::generate(&maker, &session, &request).map(|made| made.key),
        });
        Ok::<_, TokenError>(made)
    });
    made.map_err(CommandError::stage)?
        .map_err(CommandError::stage)
}
