//! Finds and stores certificate objects in the token (CKO_CERTIFICATE).

use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};

use super::{Key, KeyError, attributes, find_objects, object_uri};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// The fields of an X.509 certificate object (PKCS#11 3.1, section 4.6.3).
#[derive(Debug)]
pub struct CertificateFields<'a> {
    /// The certificate in DER, CKA_VALUE.
    pub der: &'a [u8],
    /// DER Name, CKA_SUBJECT.
    pub subject: &'a [u8],
    /// DER Name, CKA_ISSUER.
    pub issuer: &'a [u8],
    /// DER INTEGER, CKA_SERIAL_NUMBER.
    pub serial: &'a [u8],
}

/// The DER of the certificates that `uri` names, with their URIs.
///
/// # Errors
/// The search failed.
pub fn find(
    session: &Session,
    token: &Token,
    uri: &Pkcs11Uri,
) -> Result<Vec<(Pkcs11Uri, Vec<u8>)>, KeyError> {
    if !token.matches_uri(uri) {
        return Ok(Vec::new());
    }
    let found = find_objects(session, uri, ObjectClass::CERTIFICATE)?;
    let read = |object| {
        let value = attributes::bytes(session, object, AttributeType::Value)?;
        let uri = object_uri(session, token, object, ObjectType::Certificate);
        Some((uri, value))
    };
    Ok(found.into_iter().filter_map(read).collect())
}

/// Stores a certificate so that `uri` finds it: with the label and the CKA_ID of the URI, or else of the key. Does nothing
/// if that certificate is stored already. `session` must be read-write.
///
/// # Errors
/// `uri` names another certificate already, C_CreateObject failed, or `uri` does not find the new object.
pub fn store(
    session: &Session,
    token: &Token,
    uri: &Pkcs11Uri,
    key: &Key,
    fields: &CertificateFields<'_>,
) -> Result<(), KeyError> {
    let existing = find(session, token, uri)?;
    if let Some((other, _)) = existing.iter().find(|(_, der)| der != fields.der) {
        return Err(KeyError::CertificateThere {
            uri: other.to_string(),
        });
    }
    if existing.is_empty() {
        let mut template = vec![
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Subject(fields.subject.to_vec()),
            Attribute::Issuer(fields.issuer.to_vec()),
            Attribute::SerialNumber(fields.serial.to_vec()),
            Attribute::Value(fields.der.to_vec()),
        ];
        let label = uri.object.as_ref().or(key.uri().object.as_ref());
        let id = uri.id.as_ref().or(key.uri().id.as_ref());
        template.extend(label.map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(id.map(|id| Attribute::Id(id.clone())));
        session
            .pkcs11()
            .map_err(KeyError::Call)?
            .create_object(&template)
            .map_err(|error| KeyError::Call(session.fault(error)))?;
    }
    match find(session, token, uri)?.as_slice() {
        [(_, der)] if der == fields.der => Ok(()),
        _ => Err(KeyError::Call(Fault::answer(format!(
            "the token took the certificate, but {uri} does not find it"
        )))),
    }
}
