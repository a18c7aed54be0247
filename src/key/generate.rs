//! A key pair made inside the token, that cannot leave it and can only sign.

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

/// A key pair that was made.
#[derive(Debug)]
pub struct Generated {
    /// The private key.
    pub key: Key,
    /// Restrictions that this token does not know and the key therefore lacks, as CKA_ names.
    pub not_restricted: Vec<&'static str>,
}

/// Makes a key pair in the token: private, sensitive, not extractable, for signing only, and not
/// modifiable or copyable where the token can do that. `session` must be read-write.
///
/// # Errors
/// The label is taken (nothing is made), the token cannot make such a key, or the key that it made
/// is not what was asked for.
pub fn generate(
    token: &Token,
    session: &Session,
    algorithm: KeyAlgorithm,
    label: &str,
) -> Result<Generated, KeyError> {
    refuse_taken_label(token, session, label)?;
    let (mechanism, mut public) = mechanism_and_parameters(algorithm)?;
    let kind = mechanism.mechanism_type();
    if !token.mechanisms().can_generate(kind) {
        return Err(KeyError::CannotGenerate(algorithm.to_string()));
    }
    let names = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(random_id()?),
    ];
    public.extend(names.clone());
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ]);
    let mut private = names.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        // Each said, whatever the key's type: SoftHSM lets an EC key decrypt unless it is told.
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    let begun = token
        .recorder()
        .begin(&Entry::KeyGeneration(KeyGeneration {
            token: &token.description().uri().to_string(),
            label,
            algorithm: &algorithm.to_string(),
            process: Process::current(),
        }))?;
    let (made, not_restricted) = match make(session, &mechanism, &public, &private) {
        Ok(made) => made,
        Err(fault) => {
            begun.fail(fault.failure());
            return Err(KeyError::Call(fault));
        }
    };
    let key = Key::describe(session, token, made.private);
    let public_key = key.public_key().ok();
    let recorded = begun.finish(Completion {
        spki: public_key.map(PublicKey::fingerprint),
        ..Completion::default()
    });
    if let Err(error) = recorded {
        destroy(token, session, &key, &made);
        return Err(error.into());
    }
    if let Some(why) = fault(&key, session) {
        // Nobody has used it yet, and nobody should: it goes again, as far as the token lets it.
        destroy(token, session, &key, &made);
        return Err(KeyError::NotAsAsked {
            uri: key.uri().to_string(),
            why: why.to_owned(),
        });
    }
    Ok(Generated {
        key,
        not_restricted,
    })
}

/// A pair that is not wanted goes also where the ledger takes no record: it was never used.
fn destroy(token: &Token, session: &Session, key: &Key, made: &Made) {
    let begun = token
        .recorder()
        .begin(&Entry::KeyDestruction(KeyDestruction {
            key: &key.uri().to_string(),
            process: Process::current(),
        }));
    let destroyed = [made.private, made.public].map(|object| {
        let session = session.pkcs11()?;
        session.destroy_object(object).map_err(Fault::of)
    });
    let failed = destroyed.into_iter().find_map(Result::err);
    match (begun, failed) {
        (Ok(begun), Some(fault)) => begun.fail(fault.failure()),
        (Ok(begun), None) => {
            if let Err(error) = begun.finish(Completion::default()) {
                tracing::error!(%error, "that the key pair was destroyed is not on record");
            }
        }
        (Err(error), _) => {
            tracing::error!(%error, "the destruction of the key pair is not on record");
        }
    }
}

struct Made {
    public: ObjectHandle,
    private: ObjectHandle,
}

/// Calls C_GenerateKeyPair with every restriction, and with fewer as the token refuses them: not
/// every token knows CKA_COPYABLE or CKA_SIGN_RECOVER, and some allow no CKA_MODIFIABLE of false at
/// generation.
fn make(
    session: &Session,
    mechanism: &Mechanism<'_>,
    public: &[Attribute],
    private: &[Attribute],
) -> Result<(Made, Vec<&'static str>), Fault> {
    let restrictions = [
        ("CKA_MODIFIABLE", Attribute::Modifiable(false)),
        ("CKA_COPYABLE", Attribute::Copyable(false)),
        ("CKA_SIGN_RECOVER", Attribute::SignRecover(false)),
    ];
    let mut refusal = None;
    for kept in (0..=restrictions.len()).rev() {
        let (said, unsaid) = restrictions.split_at(kept);
        let said: Vec<_> = said
            .iter()
            .map(|(_, attribute)| attribute.clone())
            .collect();
        let template = [private, &said].concat();
        let lacking = unsaid.iter().map(|(name, _)| *name).collect();
        match session
            .pkcs11()?
            .generate_key_pair(mechanism, public, &template)
        {
            Ok((public, private)) => return Ok((Made { public, private }, lacking)),
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

/// What the token claims of the new key that was not asked for.
fn fault(key: &Key, session: &Session) -> Option<&'static str> {
    let claimed = key.attributes(session);
    match () {
        () if claimed.extractable != Some(false) => Some("CKA_EXTRACTABLE not false"),
        () if claimed.sensitive != Some(true) => Some("CKA_SENSITIVE not true"),
        () if claimed.decrypt == Some(true) => Some("CKA_DECRYPT true"),
        () if claimed.unwrap == Some(true) => Some("CKA_UNWRAP true"),
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

pub(super) fn mechanism_and_parameters(
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

/// A CKA_ID of our own: 16 random bytes, so that two keys made for a rotation never share one.
fn random_id() -> Result<Vec<u8>, KeyError> {
    let mut id = [0; 16];
    rand::fill(&mut id)
        .map_err(|_| KeyError::Call(Fault::answer("the system gave no random bytes")))?;
    Ok(id.to_vec())
}
