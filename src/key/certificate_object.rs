//! Certificates that lie in the token beside their keys (CKO_CERTIFICATE).

use cryptoki::object::{Attribute, CertificateType, ObjectClass};

use super::{Key, KeyError, attributes, find_objects, object_uri};
use crate::config::uri::{ObjectType, Pkcs11Uri};
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;
use cryptoki::object::AttributeType;

/// What PKCS#11 stores of a certificate beside its DER (section 4.6.3 of 3.1).
#[derive(Debug)]
pub struct Parts<'a> {
    /// The certificate, CKA_VALUE.
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

/// Stores a certificate so that `uri` finds it: with the URI's label and CKA_ID, else the key's.
/// The same one a second time changes nothing. `session` must be read-write.
///
/// # Errors
/// `uri` names another certificate already, or C_CreateObject failed, or what was stored is not
/// what `uri` finds.
pub fn store(
    session: &Session,
    token: &Token,
    uri: &Pkcs11Uri,
    key: &Key,
    parts: &Parts<'_>,
) -> Result<(), KeyError> {
    let there = find(session, token, uri)?;
    if let Some((other, _)) = there.iter().find(|(_, der)| der != parts.der) {
        return Err(KeyError::CertificateThere {
            uri: other.to_string(),
        });
    }
    if there.is_empty() {
        let mut template = vec![
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Subject(parts.subject.to_vec()),
            Attribute::Issuer(parts.issuer.to_vec()),
            Attribute::SerialNumber(parts.serial.to_vec()),
            Attribute::Value(parts.der.to_vec()),
        ];
        let label = uri.object.as_ref().or(key.uri().object.as_ref());
        let id = uri.id.as_ref().or(key.uri().id.as_ref());
        template.extend(label.map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(id.map(|id| Attribute::Id(id.clone())));
        session
            .pkcs11()
            .map_err(KeyError::Call)?
            .create_object(&template)
            .map_err(|error| KeyError::Call(Fault::of(error)))?;
    }
    match find(session, token, uri)?.as_slice() {
        [(_, der)] if der == parts.der => Ok(()),
        _ => Err(KeyError::Call(Fault::answer(format!(
            "the token took the certificate, but {uri} does not find it"
        )))),
    }
}
