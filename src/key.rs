//! Finds exactly one private key in the token, and its public key.
//!
//! Two keys may have the same label or CKA_ID, as after a key rollover; only the public key identifies a key. So if there is
//! a certificate, its public key decides between several keys. A search that stays ambiguous fails and lists the candidates.

pub mod attributes;
pub mod certificate_object;
pub mod custody_attributes;
pub mod destruction;
pub mod ecdsa_signature;
mod error;
pub mod extraction_probes;
pub mod generate;
mod generation_mechanism;
pub mod generation_trial;
pub mod interrupted_generation;
mod key_pair_generator;
mod key_pair_template;
mod known_claims;
mod new_key_pair;
pub mod probe_keys;
pub mod public;
pub mod scheme;
pub(crate) mod signing_mechanism;
mod template_search;
pub mod unsupported;
mod vendor_tool;

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::token::Token;
use crate::token::mechanism_list::MechanismList;
use crate::token::operation::{self, TokenOperation};
use crate::token::session::Session;
use attributes::{KeyAttributes, MissingPublicKey, PublicKeyOrigin};
pub use error::KeyError;
use public::PublicKey;
use scheme::Scheme;
use signing_mechanism::SigningMechanism;
use unsupported::UnsupportedKey;

/// A private key in the token: its handle, its URI and its permitted uses. It holds no key material.
#[derive(Clone, Debug)]
pub struct Key {
    uri: Pkcs11Uri,
    public_key: Result<PublicKey, MissingPublicKey>,
    origin: Option<PublicKeyOrigin>,
    allowed: Option<Vec<MechanismType>>,
    always_authenticate: bool,
    handle: ObjectHandle,
}

impl Key {
    /// Finds the one private key that `uri` names. If several match, `expected` (the certificate's public key) decides
    /// between them.
    ///
    /// # Errors
    /// No key matches, several do, or none that matches has the certificate's public key.
    pub fn find(
        session: &Session,
        token: &Token,
        uri: &Pkcs11Uri,
        expected: Option<&PublicKey>,
    ) -> Result<Self, KeyError> {
        let candidates = find_all(session, token, uri)?;
        if candidates.is_empty() {
            let all = find_all(session, token, &Pkcs11Uri::default())?;
            if all.is_empty() {
                return Err(KeyError::NoneShown {
                    uri: uri.to_string(),
                    logged_in: session.logged_in(),
                });
            }
            return Err(KeyError::NoMatch {
                uri: uri.to_string(),
                candidates: all.iter().map(|key| key.uri.to_string()).collect(),
            });
        }
        let Some(expected) = expected else {
            return exactly_one(candidates, uri);
        };
        // A public key in the private-key object is decisive, one in a separate object is not: if no key has the expected
        // public key, a key with a separate public key is a candidate too, and the proof signature decides.
        let fits = |key: &Self| key.public_key.as_ref() == Ok(expected);
        let may_fit = |key: &Self| {
            key.origin != Some(PublicKeyOrigin::PrivateKeyObject)
                && key.unsupported().is_none()
                && attributes::may_fit_algorithm(session, key.handle, expected.algorithm())
        };
        let is_found = candidates.iter().any(fits);
        let (of_certificate, others): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|key| fits(key) || (!is_found && may_fit(key)));
        if of_certificate.is_empty() {
            let with_fingerprint = |key: &Self| match &key.public_key {
                Ok(public) => format!("{} ({})", key.uri, public.fingerprint()),
                Err(MissingPublicKey::Unsupported(name)) => {
                    format!("{} ({name}, which is not supported)", key.uri)
                }
                Err(MissingPublicKey::Withheld) => key.uri.to_string(),
            };
            return Err(KeyError::NotOfCertificate {
                uri: uri.to_string(),
                expected: expected.fingerprint().to_string(),
                candidates: others.iter().map(with_fingerprint).collect(),
            });
        }
        let mut key = exactly_one(of_certificate, uri)?;
        key.public_key = Ok(expected.clone());
        Ok(key)
    }

    /// Finds this key's handle in another session, for example after a reinitialisation, which makes old handles invalid.
    pub(crate) fn find_again(
        &self,
        session: &Session,
        token: &Token,
    ) -> Result<ObjectHandle, KeyError> {
        let expected = self.public_key.as_ref().ok();
        Self::find(session, token, &self.uri, expected).map(|key| key.handle)
    }

    /// The URI that names this key.
    pub fn uri(&self) -> &Pkcs11Uri {
        &self.uri
    }

    /// Whether both are the same object of a token.
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.handle == other.handle
    }

    /// Its public key: the certificate's if one was given, or else the one that the token reports.
    ///
    /// # Errors
    /// The key is of a kind or size that is not supported, or the token reports no public key and no certificate was
    /// given.
    pub fn public_key(&self) -> Result<&PublicKey, KeyError> {
        let uri = || self.uri.to_string();
        self.public_key.as_ref().map_err(|why| match why {
            MissingPublicKey::Withheld => KeyError::PublicKeyWithheld { uri: uri() },
            MissingPublicKey::Unsupported(kind) => KeyError::Unsupported {
                uri: uri(),
                kind: kind.clone(),
            },
        })
    }

    /// The key's kind, if that is not supported.
    pub fn unsupported(&self) -> Option<&UnsupportedKey> {
        match &self.public_key {
            Err(MissingPublicKey::Unsupported(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Whether each signature needs a login of its own (CKA_ALWAYS_AUTHENTICATE).
    pub fn always_authenticate(&self) -> bool {
        self.always_authenticate
    }

    /// Its attributes, as the token reports them.
    pub fn attributes(&self, session: &Session) -> KeyAttributes {
        KeyAttributes::read(session, self.handle)
    }

    /// The schemes, preferred first, with those of their mechanisms that the token lists and the key allows.
    pub(crate) fn signing_mechanisms(
        &self,
        mechanisms: &MechanismList,
        public_key: &PublicKey,
    ) -> Vec<(Scheme, Vec<SigningMechanism>)> {
        let algorithm = public_key.algorithm();
        let usable = |candidate: &SigningMechanism| {
            let mechanism = candidate.mechanism_type();
            mechanisms.can_sign(mechanism, algorithm.bits())
                && self
                    .allowed
                    .as_ref()
                    .is_none_or(|allowed| allowed.contains(&mechanism))
        };
        let schemes = algorithm.schemes().iter();
        schemes
            .map(|scheme| {
                let candidates = SigningMechanism::candidates(*scheme).into_iter();
                (*scheme, candidates.filter(&usable).collect())
            })
            .filter(|(_, mechanisms): &(_, Vec<_>)| !mechanisms.is_empty())
            .collect()
    }

    /// Reads the attributes of a private-key object.
    pub(crate) fn read(session: &Session, token: &Token, handle: ObjectHandle) -> Self {
        let read = attributes::public_key(session, handle);
        let origin = read.as_ref().ok().map(|(_, origin)| *origin);
        let public_key = read.map(|(public_key, _)| public_key);
        Self {
            uri: object_uri(session, token, handle, ObjectType::Private),
            public_key,
            origin,
            allowed: attributes::allowed_mechanisms(session, handle),
            always_authenticate: attributes::always_authenticate(session, handle),
            handle,
        }
    }
}

fn exactly_one(mut keys: Vec<Key>, uri: &Pkcs11Uri) -> Result<Key, KeyError> {
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (last, _) => Err(KeyError::Ambiguous {
            uri: uri.to_string(),
            candidates: keys
                .iter()
                .chain(&last)
                .map(|key| key.uri.to_string())
                .collect(),
        }),
    }
}

/// Finds every private key of the token that `uri` names.
///
/// # Errors
/// The search failed.
pub fn find_all(session: &Session, token: &Token, uri: &Pkcs11Uri) -> Result<Vec<Key>, KeyError> {
    if !token.matches_uri(uri) {
        return Ok(Vec::new());
    }
    let handles = find_objects(session, uri, ObjectClass::PRIVATE_KEY)?;
    Ok(handles
        .into_iter()
        .map(|handle| Key::read(session, token, handle))
        .collect())
}

/// Finds the token objects of a class that `uri` names by label and CKA_ID.
pub(crate) fn find_objects(
    session: &Session,
    uri: &Pkcs11Uri,
    class: ObjectClass,
) -> Result<Vec<ObjectHandle>, KeyError> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend(
        uri.object
            .iter()
            .map(|label| Attribute::Label(label.clone().into_bytes())),
    );
    template.extend(uri.id.iter().map(|id| Attribute::Id(id.clone())));
    let _step = operation::begin(TokenOperation::Key);
    session
        .pkcs11()
        .map_err(KeyError::Call)?
        .find_objects(&template)
        .map_err(|error| KeyError::Call(session.fault(error)))
}

/// The URI of an object: its token, its label and its CKA_ID.
pub(crate) fn object_uri(
    session: &Session,
    token: &Token,
    object: ObjectHandle,
    object_type: ObjectType,
) -> Pkcs11Uri {
    let label = attributes::bytes(session, object, AttributeType::Label);
    Pkcs11Uri {
        object: label.and_then(|label| String::from_utf8(label).ok()),
        id: attributes::bytes(session, object, AttributeType::Id),
        object_type: Some(object_type),
        ..token.description().short_uri()
    }
}
