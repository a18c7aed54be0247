//! What a token claims about a key. Claims, not proofs: modules misreport in both directions.
//!
//! Attributes are read one by one and never decoded by position: a token that does not know one of
//! them may leave it out of the answer, or fail the whole call. No component of a private key is
//! ever asked for.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use serde::Serialize;

use super::public::PublicKey;
use super::scheme::KeyAlgorithm;
use crate::token::session::Session;

/// CKA_ values of a private key; `None` where the token does not say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KeyAttributes {
    /// CKA_PRIVATE
    pub private: Option<bool>,
    /// CKA_SENSITIVE
    pub sensitive: Option<bool>,
    /// CKA_EXTRACTABLE
    pub extractable: Option<bool>,
    /// CKA_ALWAYS_SENSITIVE
    pub always_sensitive: Option<bool>,
    /// CKA_NEVER_EXTRACTABLE
    pub never_extractable: Option<bool>,
    /// CKA_LOCAL
    pub local: Option<bool>,
    /// CKA_SIGN
    pub sign: Option<bool>,
    /// CKA_DECRYPT
    pub decrypt: Option<bool>,
    /// CKA_UNWRAP
    pub unwrap: Option<bool>,
    /// CKA_DERIVE
    pub derive: Option<bool>,
    /// CKA_MODIFIABLE
    pub modifiable: Option<bool>,
    /// CKA_COPYABLE
    pub copyable: Option<bool>,
    /// CKA_ALWAYS_AUTHENTICATE
    pub always_authenticate: Option<bool>,
}

impl KeyAttributes {
    /// What is to be known of where the key was made (PKCS#11 3.1, section 4.10: CKA_LOCAL is true only of a key
    /// that was made in the token). `None` where it was made there, as the token says.
    pub fn made_elsewhere(&self) -> Option<&'static str> {
        match self.local {
            Some(true) => None,
            Some(false) => Some(
                "the token says not CKA_LOCAL: the key was not made in it, and whoever imported it may have a copy",
            ),
            None => Some("the token does not say whether the key was made in it (CKA_LOCAL)"),
        }
    }

    pub(crate) fn read(session: &Session, key: ObjectHandle) -> Self {
        let flag = |kind| match attribute(session, key, kind)? {
            Attribute::Private(on)
            | Attribute::Sensitive(on)
            | Attribute::Extractable(on)
            | Attribute::AlwaysSensitive(on)
            | Attribute::NeverExtractable(on)
            | Attribute::Local(on)
            | Attribute::Sign(on)
            | Attribute::Decrypt(on)
            | Attribute::Unwrap(on)
            | Attribute::Derive(on)
            | Attribute::Modifiable(on)
            | Attribute::Copyable(on)
            | Attribute::AlwaysAuthenticate(on) => Some(on),
            _ => None,
        };
        Self {
            private: flag(AttributeType::Private),
            sensitive: flag(AttributeType::Sensitive),
            extractable: flag(AttributeType::Extractable),
            always_sensitive: flag(AttributeType::AlwaysSensitive),
            never_extractable: flag(AttributeType::NeverExtractable),
            local: flag(AttributeType::Local),
            sign: flag(AttributeType::Sign),
            decrypt: flag(AttributeType::Decrypt),
            unwrap: flag(AttributeType::Unwrap),
            derive: flag(AttributeType::Derive),
            modifiable: flag(AttributeType::Modifiable),
            copyable: flag(AttributeType::Copyable),
            always_authenticate: flag(AttributeType::AlwaysAuthenticate),
        }
    }
}

/// One attribute, or nothing where the token does not give it.
pub(super) fn attribute(
    session: &Session,
    object: ObjectHandle,
    kind: AttributeType,
) -> Option<Attribute> {
    session
        .pkcs11()
        .ok()?
        .get_attributes(object, &[kind])
        .ok()?
        .into_iter()
        .find(|attribute| attribute.attribute_type() == kind)
}

/// One attribute of bytes; an empty one counts as not given.
pub(super) fn bytes(
    session: &Session,
    object: ObjectHandle,
    kind: AttributeType,
) -> Option<Vec<u8>> {
    match attribute(session, object, kind)? {
        Attribute::Label(bytes)
        | Attribute::Id(bytes)
        | Attribute::Modulus(bytes)
        | Attribute::PublicExponent(bytes)
        | Attribute::EcParams(bytes)
        | Attribute::EcPoint(bytes)
        | Attribute::PublicKeyInfo(bytes)
        | Attribute::Value(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
        _ => None,
    }
}

/// CKA_ALWAYS_AUTHENTICATE; a token that does not know it does not want it.
pub(super) fn always_authenticate(session: &Session, key: ObjectHandle) -> bool {
    matches!(
        attribute(session, key, AttributeType::AlwaysAuthenticate),
        Some(Attribute::AlwaysAuthenticate(true))
    )
}

/// Whether CKA_KEY_TYPE is that of the algorithm, or is not told. A mechanism of another key type
/// crashes some modules (SoftHSM 2.6.1: RSA-PSS with an EC key).
pub(super) fn may_be_of(session: &Session, key: ObjectHandle, algorithm: KeyAlgorithm) -> bool {
    let Some(Attribute::KeyType(found)) = attribute(session, key, AttributeType::KeyType) else {
        return true;
    };
    let wanted = match algorithm {
        KeyAlgorithm::Rsa { .. } => KeyType::RSA,
        KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => KeyType::EC,
        KeyAlgorithm::Ed25519 => KeyType::EC_EDWARDS,
    };
    found == wanted
}

/// CKA_ALLOWED_MECHANISMS; an empty list means any (as tokens have it, against the letter).
pub(super) fn allowed_mechanisms(
    session: &Session,
    key: ObjectHandle,
) -> Option<Vec<MechanismType>> {
    match attribute(session, key, AttributeType::AllowedMechanisms)? {
        Attribute::AllowedMechanisms(list) => Some(list).filter(|list| !list.is_empty()),
        _ => None,
    }
}

/// Where a public key was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKeyOrigin {
    /// The private-key object itself carries it.
    PrivateKeyObject,
    /// A CKO_PUBLIC_KEY object with the same CKA_ID. Metadata: anybody may have put it there.
    PublicKeyObject,
}

/// The public half of a private key, as the token tells it.
pub(super) fn public_key(
    session: &Session,
    key: ObjectHandle,
) -> Option<(PublicKey, PublicKeyOrigin)> {
    let read = |kind| bytes(session, key, kind);
    let own = match attribute(session, key, AttributeType::KeyType)? {
        Attribute::KeyType(KeyType::RSA) => read(AttributeType::Modulus)
            .zip(read(AttributeType::PublicExponent))
            .and_then(|(modulus, exponent)| PublicKey::from_rsa(&modulus, &exponent)),
        Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS) => read(AttributeType::EcPoint)
            .zip(read(AttributeType::EcParams))
            .and_then(|(point, params)| PublicKey::from_ec(&params, &point)),
        _ => return None,
    };
    let own = own.or_else(|| PublicKey::from_spki(&read(AttributeType::PublicKeyInfo)?));
    if let Some(own) = own {
        return Some((own, PublicKeyOrigin::PrivateKeyObject));
    }
    beside(session, key).map(|key| (key, PublicKeyOrigin::PublicKeyObject))
}

/// The public-key object beside a private key. Two with one CKA_ID (a rotation leaves them) say
/// nothing, unless the label tells them apart.
fn beside(session: &Session, key: ObjectHandle) -> Option<PublicKey> {
    let id = bytes(session, key, AttributeType::Id)?;
    let mut template = vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Token(true),
        Attribute::Id(id),
    ];
    let mut found = session.pkcs11().ok()?.find_objects(&template).ok()?;
    if found.len() > 1 {
        template.push(Attribute::Label(bytes(session, key, AttributeType::Label)?));
        found = session.pkcs11().ok()?.find_objects(&template).ok()?;
    }
    let [object] = found.as_slice() else {
        return None;
    };
    let read = |kind| bytes(session, *object, kind);
    match attribute(session, *object, AttributeType::KeyType)? {
        Attribute::KeyType(KeyType::RSA) => PublicKey::from_rsa(
            &read(AttributeType::Modulus)?,
            &read(AttributeType::PublicExponent)?,
        ),
        Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS) => PublicKey::from_ec(
            &read(AttributeType::EcParams)?,
            &read(AttributeType::EcPoint)?,
        ),
        _ => None,
    }
}
