//! Generates a key pair in the token that is not extractable and can only sign: by the first of the algorithm's mechanisms
//! that the token carries out (`key_pair_generator`), where the token's family makes keys that way at all.

use cryptoki::object::ObjectClass;

pub use super::key_pair_generator::{Claims, GeneratedKey};
use super::key_pair_generator::{Generated, Generator};
use super::scheme::KeyAlgorithm;
use super::{KeyError, find_objects, known_claims, object_uri, vendor_tool};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::token::session::Session;
use crate::token::{Role, Token};

/// The key pair that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct KeyPairRequest<'a> {
    /// Kind and size.
    pub algorithm: KeyAlgorithm,
    /// CKA_LABEL
    pub label: &'a str,
    /// CKA_ID, of 16 bytes; `None`: random ones. A token may take a part of it only, or another.
    pub id: Option<&'a [u8]>,
    /// What it may claim.
    pub claims: Claims,
    /// The role that makes it.
    pub role: Role,
}

impl KeyPairRequest<'_> {
    /// Whether the token's family makes such keys at all, for this role, and whether its known claims are accepted. Nothing
    /// is asked of the token, so it can be called before a login.
    ///
    /// # Errors
    /// [`KeyError::VendorTool`] or [`KeyError::KnownClaims`].
    pub fn check_family(&self, token: &Token) -> Result<(), KeyError> {
        vendor_tool::refuse_in_vain(token, self.role)?;
        let is_accepted = self.claims == Claims::AnyUse;
        known_claims::refuse_unless_accepted(token.profile(), self.algorithm, is_accepted)
    }
}

/// Generates a key pair in the token: private, sensitive, not extractable, for signing only, and not modifiable or
/// copyable where the token supports that. `session` must be read-write.
///
/// # Errors
/// The label is taken (nothing is generated), the token cannot generate such a key, or the generated key does not
/// have the requested attributes; [`KeyError::LeftBehind`] if a key that is not kept could not be destroyed.
pub fn generate(
    token: &Token,
    session: &Session,
    request: &KeyPairRequest<'_>,
) -> Result<GeneratedKey, KeyError> {
    request.check_family(token)?;
    refuse_taken_label(token, session, request.label)?;
    let algorithm = request.algorithm;
    let explain = |error| vendor_tool::explain(token, &algorithm.to_string(), error);
    let mut refusal = None;
    for generator in Generator::of_each_mechanism(token, session, algorithm, request.claims)? {
        match generator
            .generate(request.label, request.id)
            .map_err(explain)?
        {
            Generated::Made(key) => return Ok(*key),
            Generated::Refused(fault) => refusal = Some(fault),
        }
    }
    Err(explain(match refusal {
        Some(fault) => KeyError::Call(fault),
        None => KeyError::CannotGenerate(algorithm.to_string()),
    }))
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
