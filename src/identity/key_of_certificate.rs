//! The key of a certificate: finds both in the token, and makes the engine that signs with it.

use std::sync::Arc;

use super::IdentityError;
use crate::certificate::{Certificate, CertificateError};
use crate::config::{CertificateSource, Config};
use crate::engine::TokenEngine;
use crate::key::public::PublicKey;
use crate::key::unsupported::UnsupportedKey;
use crate::key::{Key, certificate_object};
use crate::token::session::Access;
use crate::token::{Token, TokenOperation, with_timeout};

/// The configured certificate, if it is an object in the token.
///
/// # Errors
/// None or several match, or it is malformed.
pub fn certificate_in_token(config: &Config, token: &Token) -> Result<Certificate, IdentityError> {
    let CertificateSource::Token(uri) = &config.c3.certificate else {
        return Err(CertificateError::Empty("the token".to_owned()).into());
    };
    let session = token.session(Access::ReadOnly)?;
    let found = certificate_object::find(&session, token, uri)?;
    match found.as_slice() {
        [(uri, der)] => Ok(Certificate::from_der(der, &uri.to_string())?),
        several => Err(CertificateError::NotOneInToken {
            uri: uri.to_string(),
            candidates: several.iter().map(|(uri, _)| uri.to_string()).collect(),
        }
        .into()),
    }
}

/// The engine for the configured key, found by the certificate's public key.
///
/// # Errors
/// The key is missing, ambiguous or another certificate's, or cannot sign.
pub fn engine_for_certificate(
    config: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<TokenEngine, IdentityError> {
    let (key, public_key) = find_key_of_certificate(config, token, leaf)?;
    engine_for_key(config, token, key, public_key)
}

/// The engine for a key that was found already. Signatures are verified with `public_key`.
///
/// # Errors
/// The key cannot sign.
pub fn engine_for_key(
    config: &Config,
    token: &Arc<Token>,
    key: Key,
    public_key: PublicKey,
) -> Result<TokenEngine, IdentityError> {
    let token = Arc::clone(token);
    Ok(TokenEngine::start(token, key, public_key, &config.token)?)
}

/// [`engine_for_certificate`] for a process whose supervisor kills it when a call hangs.
///
/// # Errors
/// As [`engine_for_certificate`].
pub(crate) fn engine_on_caller_threads(
    config: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<TokenEngine, IdentityError> {
    let (key, public_key) = find_key_of_certificate(config, token, leaf)?;
    let token = Arc::clone(token);
    Ok(TokenEngine::start_on_caller_threads(
        token,
        key,
        public_key,
        &config.token,
    )?)
}

fn find_key_of_certificate(
    config: &Config,
    token: &Arc<Token>,
    leaf: &Certificate,
) -> Result<(Key, PublicKey), IdentityError> {
    let public_key = match (leaf.public_key(), leaf.unsupported_key()) {
        (Some(public_key), _) => public_key,
        (None, unsupported) => {
            let unreadable = || UnsupportedKey::named("a public key that cannot be read");
            return Err(CertificateError::UnsupportedKey {
                subject: leaf.subject().to_string(),
                key_type: unsupported.cloned().unwrap_or_else(unreadable),
            }
            .into());
        }
    };
    let key = find_key(config, token, Some(public_key))?;
    Ok((key, public_key.clone()))
}

/// The engine for the configured key before there is a certificate. The public key is the one that the token reports.
///
/// # Errors
/// The key is missing or ambiguous, the token has no public key for it, or it cannot sign.
pub fn engine_without_certificate(
    config: &Config,
    token: &Arc<Token>,
) -> Result<TokenEngine, IdentityError> {
    let key = find_key(config, token, None)?;
    let public_key = key.public_key()?.clone();
    engine_for_key(config, token, key, public_key)
}

/// The configured key; if several match, the one with the `expected` public key.
///
/// # Errors
/// None or several match, or the token does not answer in time.
pub fn find_key(
    config: &Config,
    token: &Arc<Token>,
    expected: Option<&PublicKey>,
) -> Result<Key, IdentityError> {
    let (uri, expected) = (config.c3.key.clone(), expected.cloned());
    let searched = Arc::clone(token);
    with_timeout(TokenOperation::Key, token.start_timeout(), move || {
        let session = searched.session(Access::ReadOnly)?;
        Ok(Key::find(&session, &searched, &uri, expected.as_ref())?)
    })
}
