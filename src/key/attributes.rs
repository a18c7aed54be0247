//! Reads a key's attributes and its public half from the token. They are claims, not proofs: modules misreport in
//! both directions.
//!
//! Attributes are read one by one and never decoded by position: a token that does not know one of them may leave it
//! out of its answer, or fail the whole call. No component of a private key is ever read.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use serde::Serialize;

use super::public::{PublicKey, ec_algorithm};
use super::scheme::KeyAlgorithm;
use super::unsupported::UnsupportedKey;
use crate::token::session::Session;

/// CKA_ values of a private key; `None` where the token does not report the attribute.
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
    /// A warning unless CKA_LOCAL is true: only then was the key generated in the token (PKCS#11 3.1, section 4.10).
    pub fn import_warning(&self) -> Option<&'static str> {
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

/// One attribute; `None` if the token does not return it.
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

/// Whether the token reports this attribute as false.
pub(super) fn reads_false(session: &Session, object: ObjectHandle, kind: AttributeType) -> bool {
    let value = match attribute(session, object, kind) {
        Some(
            Attribute::Derive(value)
            | Attribute::Unwrap(value)
            | Attribute::Wrap(value)
            | Attribute::Modifiable(value)
            | Attribute::SignRecover(value)
            | Attribute::Private(value)
            | Attribute::Decrypt(value)
            | Attribute::Encrypt(value)
            | Attribute::Copyable(value),
        ) => Some(value),
        _ => None,
    };
    value == Some(false)
}

/// One attribute of bytes; `None` also if it is empty.
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

/// CKA_ALWAYS_AUTHENTICATE; false if the token does not know the attribute.
pub(super) fn always_authenticate(session: &Session, key: ObjectHandle) -> bool {
    matches!(
        attribute(session, key, AttributeType::AlwaysAuthenticate),
        Some(Attribute::AlwaysAuthenticate(true))
    )
}

/// Whether CKA_KEY_TYPE fits the algorithm, or is not reported. A mechanism of another key type crashes some modules
/// (SoftHSM 2.6.1: RSA-PSS with an EC key).
pub(super) fn may_fit_algorithm(
    session: &Session,
    key: ObjectHandle,
    algorithm: KeyAlgorithm,
) -> bool {
    let Some(Attribute::KeyType(found)) = attribute(session, key, AttributeType::KeyType) else {
        return true;
    };
    // Tokens report the curve of a private key even if they report no public key for it.
    if found == KeyType::EC
        && let Some(params) = bytes(session, key, AttributeType::EcParams)
    {
        return has_explicit_parameters(&params) || ec_algorithm(&params) == Ok(algorithm);
    }
    let wanted = match algorithm {
        KeyAlgorithm::Rsa { .. } => KeyType::RSA,
        KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => KeyType::EC,
        KeyAlgorithm::Ed25519 => KeyType::EC_EDWARDS,
    };
    found == wanted
}

/// CKA_ALLOWED_MECHANISMS; an empty list means any mechanism, as tokens have it, although the standard says none.
pub(super) fn allowed_mechanisms(
    session: &Session,
    key: ObjectHandle,
) -> Option<Vec<MechanismType>> {
    match attribute(session, key, AttributeType::AllowedMechanisms)? {
        Attribute::AllowedMechanisms(list) => Some(list).filter(|list| !list.is_empty()),
        _ => None,
    }
}

/// Which object a public key was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKeyOrigin {
    /// The private-key object itself.
    PrivateKeyObject,
    /// A CKO_PUBLIC_KEY object with the same CKA_ID. It proves nothing: anybody may have created it.
    PublicKeyObject,
}

/// Why the public half of a private key is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MissingPublicKey {
    /// The token does not report it.
    Withheld,
    /// It is of a kind or size that is not supported.
    Unsupported(UnsupportedKey),
}

/// The public half of a private key, as the token reports it.
pub(super) fn public_key(
    session: &Session,
    key: ObjectHandle,
) -> Result<(PublicKey, PublicKeyOrigin), MissingPublicKey> {
    let own = public_key_in_object(session, key).or_else(|| {
        let info = bytes(session, key, AttributeType::PublicKeyInfo)?;
        Some(PublicKey::from_spki(&info))
    });
    let found = own.map(|own| (own, PublicKeyOrigin::PrivateKeyObject));
    let found = found.or_else(|| {
        let separate = public_key_in_separate_object(session, key)?;
        Some((separate, PublicKeyOrigin::PublicKeyObject))
    });
    match found {
        Some((Ok(public), origin)) => Ok((public, origin)),
        Some((Err(kind), _)) => Err(MissingPublicKey::Unsupported(kind)),
        None => Err(MissingPublicKey::Withheld),
    }
}

/// The public key in an object's own attributes. An unsupported kind is recognised even without a public key, by
/// CKA_KEY_TYPE or by the curve in CKA_EC_PARAMS.
fn public_key_in_object(
    session: &Session,
    object: ObjectHandle,
) -> Option<Result<PublicKey, UnsupportedKey>> {
    let read = |kind| bytes(session, object, kind);
    match attribute(session, object, AttributeType::KeyType)? {
        Attribute::KeyType(KeyType::RSA) => {
            let modulus = read(AttributeType::Modulus)?;
            let exponent = read(AttributeType::PublicExponent)?;
            Some(PublicKey::from_rsa(&modulus, &exponent))
        }
        Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS) => {
            let params = read(AttributeType::EcParams)?;
            match (ec_algorithm(&params), read(AttributeType::EcPoint)) {
                (Err(_), _) if has_explicit_parameters(&params) => None,
                (Err(kind), _) => Some(Err(kind)),
                (Ok(_), None) => None,
                (Ok(_), Some(point)) => Some(PublicKey::from_ec(&params, &point)),
            }
        }
        Attribute::KeyType(other) => Some(Err(UnsupportedKey::named(match other {
            KeyType::DSA => "DSA".to_owned(),
            KeyType::DH | KeyType::X9_42_DH => "Diffie-Hellman".to_owned(),
            KeyType::EC_MONTGOMERY => "X25519 or X448".to_owned(),
            other => other.to_string(),
        }))),
        _ => None,
    }
}

/// Whether CKA_EC_PARAMS gives the curve by its parameters, not by its OID. It may be a supported curve; only a
/// certificate shows that.
fn has_explicit_parameters(params: &[u8]) -> bool {
    params.first() == Some(&0x30)
}

/// The public key in the CKO_PUBLIC_KEY object with the private key's CKA_ID. If there are two, as a key rollover
/// leaves them, the label decides; if it does not, none is taken.
fn public_key_in_separate_object(
    session: &Session,
    key: ObjectHandle,
) -> Option<Result<PublicKey, UnsupportedKey>> {
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
    public_key_in_object(session, *object)
}
