//! Destroys a key pair that was in use, on record: the last step of a rotation. It is found by the public key, so that no key of
//! another certificate is destroyed whose label or CKA_ID is the same.

use cryptoki::object::{ObjectClass, ObjectHandle};

use super::attributes::public_key_in_object;
use super::{Key, KeyError, find_all, find_objects};
use crate::config::trust::Fingerprint;
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::ledger::{Entry, KeyDestruction, Process};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// Destroys the private key that `uri` names by label and CKA_ID and whose public key is `expected`, and the public-key objects
/// with the same label and CKA_ID, unless they show that they are of another key. False: there was none, as after a call that was interrupted. `session` must be read-write.
///
/// # Errors
/// The key that is there is another, or does not show its public key; the record cannot be written (nothing is destroyed); or an
/// object is still on the token.
pub fn destroy(
    token: &Token,
    session: &Session,
    uri: &Pkcs11Uri,
    expected: Fingerprint,
) -> Result<bool, KeyError> {
    let uri = Pkcs11Uri {
        object_type: Some(ObjectType::Private),
        ..uri.clone()
    };
    let keys = find_all(session, token, &uri)?;
    let is_expected = |key: &&Key| {
        key.public_key()
            .is_ok_and(|public| public.fingerprint() == expected)
    };
    let found: Vec<&Key> = keys.iter().filter(is_expected).collect();
    if found.len() < keys.len() {
        return Err(KeyError::NotOfCertificate {
            uri: uri.to_string(),
            expected: expected.to_string(),
            candidates: keys.iter().map(|key| key.uri.to_string()).collect(),
        });
    }
    let mut objects: Vec<ObjectHandle> = found.iter().map(|key| key.handle).collect();
    // A URI without label and CKA_ID would name every public key.
    if uri.object.is_some() || uri.id.is_some() {
        let public = find_objects(session, &uri, ObjectClass::PUBLIC_KEY)?;
        objects.extend(public.into_iter().filter(|object| {
            let key = public_key_in_object(session, *object);
            key.is_none_or(|key| key.is_ok_and(|key| key.fingerprint() == expected))
        }));
    }
    if objects.is_empty() {
        return Ok(false);
    }
    destroy_object(token, session, &objects, &uri)?;
    Ok(true)
}

/// C_DestroyObject of these objects of one key pair, with one record. `uri` names the pair in it.
///
/// # Errors
/// [`KeyError::Ledger`]: nothing is destroyed. [`KeyError::LeftBehind`]: an object is still on the token.
pub(super) fn destroy_object(
    token: &Token,
    session: &Session,
    objects: &[ObjectHandle],
    uri: &Pkcs11Uri,
) -> Result<(), KeyError> {
    let operation = token
        .recorder()
        .begin(&Entry::KeyDestruction(KeyDestruction {
            key: &uri.to_string(),
            process: Process::current(),
        }))?;
    let destroyed = objects.iter().try_for_each(|object| -> Result<(), Fault> {
        let call = session.pkcs11()?;
        call.destroy_object(*object)
            .map_err(|error| session.fault(error))
    });
    match destroyed {
        Ok(()) => {
            operation.succeed();
            Ok(())
        }
        Err(fault) => {
            operation.fail(fault.failure());
            Err(KeyError::LeftBehind {
                uri: uri.to_string(),
                why: fault,
            })
        }
    }
}
