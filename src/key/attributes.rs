//! Reads a key's attributes and its public key from the token. They are claims, not proofs: modules misreport in both
//! directions.
//!
//! Attributes are read one by one: if a token does not know one of several, it may leave that out of its output, or fail
//! the whole call. No component of a private key is ever read.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{
    Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle,
};
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
                "the token says not CKA_LOCAL: unless it says so of each key, the key was not made in it, and whoever imported it may have \
                 a copy",
            ),
            None => Some("the token does not say whether the key was made in it (CKA_LOCAL)"),
        }
    }

    pub(crate) fn read(session: &Session, key: ObjectHandle) -> Self {
        let flag = |attribute_type| flag(session, key, attribute_type);
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
    attribute_type: AttributeType,
) -> Option<Attribute> {
    session
        .pkcs11()
        .ok()?
        .get_attributes(object, &[attribute_type])
        .ok()?
        .into_iter()
        .find(|attribute| attribute.attribute_type() == attribute_type)
}

/// One attribute that is true or false; `None` if the token does not report it. The length is read first: for an attribute
/// that they do not know, some modules leave the buffer unchanged, and its zero would be read as false.
pub(super) fn flag(
    session: &Session,
    object: ObjectHandle,
    attribute_type: AttributeType,
) -> Option<bool> {
    let length = session
        .pkcs11()
        .ok()?
        .get_attribute_info(object, &[attribute_type])
        .ok()?;
    if !matches!(length.as_slice(), [AttributeInfo::Available(1)]) {
        return None;
    }
    match attribute(session, object, attribute_type)? {
        Attribute::Token(value)
        | Attribute::Private(value)
        | Attribute::Sensitive(value)
        | Attribute::Extractable(value)
        | Attribute::AlwaysSensitive(value)
        | Attribute::NeverExtractable(value)
        | Attribute::Local(value)
        | Attribute::Modifiable(value)
        | Attribute::Copyable(value)
        | Attribute::Destroyable(value)
        | Attribute::WrapWithTrusted(value)
        | Attribute::Sign(value)
        | Attribute::SignRecover(value)
        | Attribute::Decrypt(value)
        | Attribute::Encrypt(value)
        | Attribute::Unwrap(value)
        | Attribute::Wrap(value)
        | Attribute::Derive(value)
        | Attribute::AlwaysAuthenticate(value) => Some(value),
        _ => None,
    }
}

/// One attribute of bytes; `None` also if it is empty.
pub(super) fn bytes(
    session: &Session,
    object: ObjectHandle,
    attribute_type: AttributeType,
) -> Option<Vec<u8>> {
    match attribute(session, object, attribute_type)? {
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

/// Whether CKA_KEY_TYPE fits the algorithm, or is not reported. Some modules crash with a mechanism of another key type
/// (SoftHSM 2.6.1: RSA-PSS with an EC key).
pub(super) fn may_fit_algorithm(
    session: &Session,
    key: ObjectHandle,
    algorithm: KeyAlgorithm,
) -> bool {
    let Some(Attribute::KeyType(found)) = attribute(session, key, AttributeType::KeyType) else {
        return true;
    };
    // Tokens report the curve of a private key even if they do not report its public key.
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

/// CKA_ALLOWED_MECHANISMS; `None` if any mechanism is allowed. By the standard an empty list allows none, but tokens report
/// it for any.
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
    /// A CKO_PUBLIC_KEY object with the same CKA_ID. It proves nothing: it may have been created independently.
    PublicKeyObject,
}

/// Why the public key of a private key is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MissingPublicKey {
    /// The token does not report it.
    Withheld,
    /// It is of a kind or size that is not supported.
    Unsupported(UnsupportedKey),
}

/// The public key of a private key, as the token reports it.
pub(super) fn public_key(
    session: &Session,
    key: ObjectHandle,
) -> Result<(PublicKey, PublicKeyOrigin), MissingPublicKey> {
    let in_private_key = public_key_in_object(session, key).or_else(|| {
        let info = bytes(session, key, AttributeType::PublicKeyInfo)?;
        Some(PublicKey::from_spki(&info))
    });
    let found = in_private_key.map(|read| (read, PublicKeyOrigin::PrivateKeyObject));
    let found = found.or_else(|| {
        let separate = public_key_in_separate_object(session, key)?;
        Some((separate, PublicKeyOrigin::PublicKeyObject))
    });
    match found {
        Some((Ok(public), origin)) => Ok((public, origin)),
        Some((Err(key), _)) => Err(MissingPublicKey::Unsupported(key)),
        None => Err(MissingPublicKey::Withheld),
    }
}

/// The public key in the attributes of an object. An unsupported key is recognised by CKA_KEY_TYPE or by the curve in
/// CKA_EC_PARAMS, even if there is no public key.
pub(super) fn public_key_in_object(
    session: &Session,
    object: ObjectHandle,
) -> Option<Result<PublicKey, UnsupportedKey>> {
    let read = |attribute_type| bytes(session, object, attribute_type);
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
                (Err(key), _) => Some(Err(key)),
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

/// Whether CKA_EC_PARAMS has the parameters of the curve, not its OID. It may be a supported curve, which only a certificate
/// shows.
fn has_explicit_parameters(params: &[u8]) -> bool {
    params.first() == Some(&0x30)
}

/// The public key in the CKO_PUBLIC_KEY object with the private key's CKA_ID. If there are two, as after a key rollover, the
/// label decides. If the labels are the same too, the result is `None`.
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

/// Why a new key is never kept: it may leave the token, or cannot sign.
pub(super) fn unfit(reported: &KeyAttributes) -> Option<&'static str> {
    match () {
        () if reported.extractable != Some(false) => Some("CKA_EXTRACTABLE not false"),
        () if reported.sensitive != Some(true) => Some("CKA_SENSITIVE not true"),
        () if reported.sign == Some(false) => Some("CKA_SIGN false"),
        () => None,
    }
}

/// Whether the token reports a use other than signing of a new key.
pub(super) fn has_unwanted_use(reported: &KeyAttributes) -> bool {
    reported.decrypt == Some(true) || reported.unwrap == Some(true)
}
