//! Generates a key pair in the token that is not extractable and can only sign.

use aws_lc_rs::rand;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use der::Encode;
use der::asn1::ObjectIdentifier;

use super::public::PublicKey;
use super::scheme::KeyAlgorithm;
use super::{Key, KeyError, find_objects, object_uri};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::ledger::{Completion, Entry, KeyDestruction, KeyGeneration, Process};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// A key pair that was generated.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private key.
    pub key: Key,
    /// The CKA_ names of restrictions that the token does not support, so that the key does not have them.
    pub not_restricted: Vec<&'static str>,
}

/// Generates a key pair in the token: private, sensitive, not extractable, for signing only, and not modifiable or
/// copyable where the token supports that. `session` must be read-write.
///
/// # Errors
/// The label is taken (nothing is generated), the token cannot generate such a key, or the generated key does not
/// have the requested attributes.
pub fn generate(
    token: &Token,
    session: &Session,
    algorithm: KeyAlgorithm,
    label: &str,
) -> Result<GeneratedKey, KeyError> {
    refuse_taken_label(token, session, label)?;
    let (mechanism, mut public) = generation_mechanism(algorithm)?;
    let mechanism_type = mechanism.mechanism_type();
    if !token.mechanisms().can_generate(mechanism_type) {
        return Err(KeyError::CannotGenerate(algorithm.to_string()));
    }
    let common = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(random_id()?),
    ];
    public.extend(common.clone());
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ]);
    let mut private = common.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        // Set explicitly for each key type: by default, SoftHSM lets an EC key decrypt.
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    let operation = token
        .recorder()
        .begin(&Entry::KeyGeneration(KeyGeneration {
            token: &token.description().uri().to_string(),
            label,
            algorithm: &algorithm.to_string(),
            process: Process::current(),
        }))?;
    let (handles, not_restricted) = match generate_key_pair(session, &mechanism, &public, &private)
    {
        Ok(generated) => generated,
        Err(fault) => {
            operation.fail(fault.failure());
            return Err(KeyError::Call(fault));
        }
    };
    let key = Key::read(session, token, handles.private);
    let public_key = key.public_key().ok();
    let recorded = operation.finish(Completion {
        spki: public_key.map(PublicKey::fingerprint),
        ..Completion::default()
    });
    if let Err(error) = recorded {
        destroy_key_pair(token, session, &key, &handles);
        return Err(error.into());
    }
    if let Some(why) = wrong_attribute(&key, session) {
        // The key was never used; it is destroyed if the token allows it.
        destroy_key_pair(token, session, &key, &handles);
        return Err(KeyError::NotAsAsked {
            uri: key.uri().to_string(),
            why: why.to_owned(),
        });
    }
    Ok(GeneratedKey {
        key,
        not_restricted,
    })
}

/// Destroys a new key pair that was never used, even if the ledger cannot record the destruction.
fn destroy_key_pair(token: &Token, session: &Session, key: &Key, handles: &KeyPairHandles) {
    let operation = token
        .recorder()
        .begin(&Entry::KeyDestruction(KeyDestruction {
            key: &key.uri().to_string(),
            process: Process::current(),
        }));
    let destroyed = [handles.private, handles.public].map(|object| {
        let session = session.pkcs11()?;
        session.destroy_object(object).map_err(Fault::of)
    });
    let failed = destroyed.into_iter().find_map(Result::err);
    match (operation, failed) {
        (Ok(operation), Some(fault)) => operation.fail(fault.failure()),
        (Ok(operation), None) => {
            if let Err(error) = operation.finish(Completion::default()) {
                tracing::error!(%error, "that the key pair was destroyed is not on record");
            }
        }
        (Err(error), _) => {
            tracing::error!(%error, "the destruction of the key pair is not on record");
        }
    }
}

struct KeyPairHandles {
    public: ObjectHandle,
    private: ObjectHandle,
}

/// Calls C_GenerateKeyPair with all restrictions, and with one fewer each time that the token refuses them: some tokens do
/// not know CKA_COPYABLE or CKA_SIGN_RECOVER, and some do not accept CKA_MODIFIABLE false at generation. Returns the names
/// of the restrictions that were left out.
fn generate_key_pair(
    session: &Session,
    mechanism: &Mechanism<'_>,
    public: &[Attribute],
    private: &[Attribute],
) -> Result<(KeyPairHandles, Vec<&'static str>), Fault> {
    let restrictions = [
        ("CKA_MODIFIABLE", Attribute::Modifiable(false)),
        ("CKA_COPYABLE", Attribute::Copyable(false)),
        ("CKA_SIGN_RECOVER", Attribute::SignRecover(false)),
    ];
    let mut refusal = None;
    for kept in (0..=restrictions.len()).rev() {
        let (kept, left_out) = restrictions.split_at(kept);
        let kept: Vec<_> = kept
            .iter()
            .map(|(_, attribute)| attribute.clone())
            .collect();
        let template = [private, &kept].concat();
        let missing = left_out.iter().map(|(name, _)| *name).collect();
        match session
            .pkcs11()?
            .generate_key_pair(mechanism, public, &template)
        {
            Ok((public, private)) => return Ok((KeyPairHandles { public, private }, missing)),
            Err(Error::Pkcs11(
                code @ (RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::AttributeReadOnly
                | RvError::TemplateInconsistent),
                function,
            )) => refusal = Some(Fault::new(code, function)),
            Err(error) => return Err(Fault::of(error)),
        }
    }
    Err(refusal.unwrap_or_else(|| Fault::answer("no attempt at C_GenerateKeyPair was made")))
}

/// The first attribute of the new key that the token reports with another value than requested.
fn wrong_attribute(key: &Key, session: &Session) -> Option<&'static str> {
    let reported = key.attributes(session);
    match () {
        () if reported.extractable != Some(false) => Some("CKA_EXTRACTABLE not false"),
        () if reported.sensitive != Some(true) => Some("CKA_SENSITIVE not true"),
        () if reported.decrypt == Some(true) => Some("CKA_DECRYPT true"),
        () if reported.unwrap == Some(true) => Some("CKA_UNWRAP true"),
        () => None,
    }
}

fn refuse_taken_label(token: &Token, session: &Session, label: &str) -> Result<(), KeyError> {
    let uri = Pkcs11Uri {
        object: Some(label.to_owned()),
        ..Pkcs11Uri::default()
    };
    for (class, object_type) in [
        (ObjectClass::PRIVATE_KEY, ObjectType::Private),
        (ObjectClass::PUBLIC_KEY, ObjectType::Public),
    ] {
        if let Some(object) = find_objects(session, &uri, class)?.first() {
            let taken = object_uri(session, token, *object, object_type);
            return Err(KeyError::LabelTaken {
                label: label.to_owned(),
                uri: taken.to_string(),
            });
        }
    }
    Ok(())
}

/// The mechanism of C_GenerateKeyPair for an algorithm, and the public template's attributes for it.
pub(super) fn generation_mechanism(
    algorithm: KeyAlgorithm,
) -> Result<(Mechanism<'static>, Vec<Attribute>), KeyError> {
    let curve = |mechanism, oid: &str| {
        let params = ObjectIdentifier::new(oid)
            .ok()
            .and_then(|oid| oid.to_der().ok())
            .ok_or_else(|| KeyError::CannotGenerate(algorithm.to_string()))?;
        Ok((mechanism, vec![Attribute::EcParams(params)]))
    };
    match algorithm {
        KeyAlgorithm::Rsa { bits } => Ok((
            Mechanism::RsaPkcsKeyPairGen,
            vec![
                Attribute::ModulusBits((bits as u64).into()),
                Attribute::PublicExponent(vec![0x01, 0x00, 0x01]),
            ],
        )),
        KeyAlgorithm::EcP256 => curve(Mechanism::EccKeyPairGen, "1.2.840.10045.3.1.7"),
        KeyAlgorithm::EcP384 => curve(Mechanism::EccKeyPairGen, "1.3.132.0.34"),
        KeyAlgorithm::EcP521 => curve(Mechanism::EccKeyPairGen, "1.3.132.0.35"),
        KeyAlgorithm::Ed25519 => curve(Mechanism::EccEdwardsKeyPairGen, "1.3.101.112"),
    }
}

/// A CKA_ID of 16 random bytes, so that the two keys of a key rollover never share one.
fn random_id() -> Result<Vec<u8>, KeyError> {
    let mut id = [0; 16];
    rand::fill(&mut id)
        .map_err(|_| KeyError::Call(Fault::answer("the system gave no random bytes")))?;
    Ok(id.to_vec())
}
