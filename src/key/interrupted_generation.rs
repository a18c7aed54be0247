//! What a process left in the token that was ended while it made a key pair: nothing, one half, or a pair that nobody has used
//! yet. The next process goes on with the pair, so that a rotation makes one key, however often it is interrupted.

use cryptoki::object::{AttributeType, ObjectClass, ObjectHandle};

use super::attributes::{bytes, has_unwanted_use, unfit};
use super::destruction::destroy_object;
use super::generate::KeyPairRequest;
use super::key_pair_generator::Claims;
use super::new_key_pair::NewKeyPair;
use super::{Key, KeyError, find_objects, object_uri};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::token::Token;
use crate::token::session::Session;

/// The pair with the label of the request, where a process has made it that was ended then. It is restricted as a new one is.
/// One that is not as requested was never used: it is destroyed, and so is a half. `None`: it is to be made.
///
/// `session` must be read-write, and the caller sure that the label was free when that process began.
///
/// # Errors
/// Something else has the label, or the token failed.
pub fn resume(
    token: &Token,
    session: &Session,
    request: &KeyPairRequest<'_>,
) -> Result<Option<Key>, KeyError> {
    let uri = Pkcs11Uri {
        object: Some(request.label.to_owned()),
        ..Pkcs11Uri::default()
    };
    let private = find_objects(session, &uri, ObjectClass::PRIVATE_KEY)?;
    let public = find_objects(session, &uri, ObjectClass::PUBLIC_KEY)?;
    for (objects, object_type) in [
        (&private, ObjectType::Private),
        (&public, ObjectType::Public),
    ] {
        let foreign = |object: &&ObjectHandle| is_foreign(session, **object, request.id);
        let other = objects.get(1).or_else(|| objects.iter().find(foreign));
        if let Some(other) = other {
            return Err(KeyError::LabelTaken {
                label: request.label.to_owned(),
                uri: object_uri(session, token, *other, object_type).to_string(),
            });
        }
    }
    match (private.first(), public.first()) {
        (None, None) => Ok(None),
        (Some(private), Some(public)) => {
            let pair = NewKeyPair::found(token, session, (*private, *public), request.label);
            pair.restrict(&[]);
            let key = Key::read(session, token, *private);
            let reported = key.attributes(session);
            let is_as_requested = unfit(&reported).is_none()
                && (request.claims == Claims::AnyUse || !has_unwanted_use(&reported))
                && key
                    .public_key()
                    .is_ok_and(|public| public.algorithm() == request.algorithm);
            if is_as_requested {
                pair.keep();
                return Ok(Some(key));
            }
            pair.destroy()?;
            Ok(None)
        }
        (Some(half), None) => destroy_half(token, session, *half, ObjectType::Private),
        (None, Some(half)) => destroy_half(token, session, *half, ObjectType::Public),
    }
}

/// Whether the object has a CKA_ID of 16 bytes, as those that are requested have, and another than this one.
fn is_foreign(session: &Session, object: ObjectHandle, requested: Option<&[u8]>) -> bool {
    let id = bytes(session, object, AttributeType::Id);
    match (id, requested) {
        (Some(id), Some(requested)) => id.len() == requested.len() && id != requested,
        _ => false,
    }
}

fn destroy_half(
    token: &Token,
    session: &Session,
    half: ObjectHandle,
    object_type: ObjectType,
) -> Result<Option<Key>, KeyError> {
    let uri = object_uri(session, token, half, object_type);
    destroy_object(token, session, &[half], &uri)?;
    Ok(None)
}
