//! Exactly one private key, and its public half.
//!
//! Labels and CKA_ID are metadata that a rotation doubles; what identifies a key is its public
//! key. So where the certificate is known the key is found by it, and what stays ambiguous is
//! refused with the candidates listed.

pub mod attributes;
pub mod certificate_object;
pub mod claims;
pub mod disposable;
mod error;
pub mod generate;
pub mod public;
pub(crate) mod recipe;
pub mod scheme;
pub mod signature;
pub mod trials;
pub mod unsupported;

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::mechanism_list::MechanismList;
use crate::token::session::Session;
use attributes::{KeyAttributes, NoPublicKey, PublicKeyOrigin};
pub use error::KeyError;
use public::PublicKey;
use recipe::Recipe;
use scheme::Scheme;
use unsupported::UnsupportedKey;

/// A private key that was found: where it is and what may be done with it. No key material.
#[derive(Clone, Debug)]
pub struct Key {
    uri: Pkcs11Uri,
    public_key: Result<PublicKey, NoPublicKey>,
    origin: Option<PublicKeyOrigin>,
    allowed: Option<Vec<MechanismType>>,
    always_authenticate: bool,
    handle: ObjectHandle,
}

impl Key {
    /// Finds the one private key that `uri` names. Where several match, `expected` (the
    /// certificate's public key) decides between them.
    ///
    /// # Errors
    /// None, several, or only such keys match that are not the certificate's.
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
            return one(candidates, uri);
        };
        // A public key that the private-key object itself carries decides. One beside it is
        // metadata: where no key is known to fit, such a key may still, and the proof decides.
        let fits = |key: &Self| key.public_key.as_ref() == Ok(expected);
        let may_fit = |key: &Self| {
            key.origin != Some(PublicKeyOrigin::PrivateKeyObject)
                && key.unsupported().is_none()
                && attributes::may_be_of(session, key.handle, expected.algorithm())
        };
        let known = candidates.iter().any(fits);
        let (of_certificate, others): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|key| fits(key) || (!known && may_fit(key)));
        if of_certificate.is_empty() {
            let with_fingerprint = |key: &Self| match &key.public_key {
                Ok(public) => format!("{} ({})", key.uri, public.fingerprint()),
                Err(NoPublicKey::Unsupported(kind)) => {
                    format!("{} ({kind}, which is not supported)", key.uri)
                }
                Err(NoPublicKey::Withheld) => key.uri.to_string(),
            };
            return Err(KeyError::NotOfCertificate {
                uri: uri.to_string(),
                expected: expected.fingerprint().to_string(),
                candidates: others.iter().map(with_fingerprint).collect(),
            });
        }
        let mut key = one(of_certificate, uri)?;
        key.public_key = Ok(expected.clone());
        Ok(key)
    }

    /// The handle of this same key in another session, after handles were lost.
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
    pub fn is(&self, other: &Self) -> bool {
        self.handle == other.handle
    }

    /// Its public half: the certificate's where one was given, else what the token tells.
    ///
    /// # Errors
    /// The key is of a kind or size that is not supported, or the token tells no public key and no
    /// certificate was given.
    pub fn public_key(&self) -> Result<&PublicKey, KeyError> {
        let uri = || self.uri.to_string();
        self.public_key.as_ref().map_err(|why| match why {
            NoPublicKey::Withheld => KeyError::PublicKeyWithheld { uri: uri() },
            NoPublicKey::Unsupported(kind) => KeyError::Unsupported {
                uri: uri(),
                kind: kind.clone(),
            },
        })
    }

    /// The kind of key that it is, where that is not supported.
    pub fn unsupported(&self) -> Option<&UnsupportedKey> {
        match &self.public_key {
            Err(NoPublicKey::Unsupported(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Whether each signature wants a login of its own (CKA_ALWAYS_AUTHENTICATE).
    pub fn always_authenticate(&self) -> bool {
        self.always_authenticate
    }

    /// What the token claims about it.
    pub fn attributes(&self, session: &Session) -> KeyAttributes {
        KeyAttributes::read(session, self.handle)
    }

    /// The ways to sign that token and key both allow, by what they say; best scheme first.
    pub(crate) fn recipes(
        &self,
        mechanisms: &MechanismList,
        public_key: &PublicKey,
    ) -> Vec<(Scheme, Vec<Recipe>)> {
        let algorithm = public_key.algorithm();
        let usable = |recipe: &Recipe| {
            let kind = recipe.mechanism_type();
            mechanisms.can_sign(kind, algorithm.bits())
                && self
                    .allowed
                    .as_ref()
                    .is_none_or(|allowed| allowed.contains(&kind))
        };
        let schemes = algorithm.schemes().iter();
        schemes
            .map(|scheme| {
                let recipes = Recipe::of(*scheme).into_iter().filter(&usable).collect();
                (*scheme, recipes)
            })
            .filter(|(_, recipes): &(_, Vec<_>)| !recipes.is_empty())
            .collect()
    }

    pub(crate) fn describe(session: &Session, token: &Token, handle: ObjectHandle) -> Self {
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

fn one(mut keys: Vec<Key>, uri: &Pkcs11Uri) -> Result<Key, KeyError> {
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

/// Every private key of the token that `uri` names.
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
        .map(|handle| Key::describe(session, token, handle))
        .collect())
}

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
    session
        .pkcs11()
        .map_err(KeyError::Call)?
        .find_objects(&template)
        .map_err(|error| KeyError::Call(Fault::of(error)))
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
        token: Some(token.description().label.clone()),
        serial: Some(token.description().serial.clone()),
        object: label.and_then(|label| String::from_utf8(label).ok()),
        id: attributes::bytes(session, object, AttributeType::Id),
        object_type: Some(object_type),
        ..Pkcs11Uri::default()
    }
}
