//! The messages with certificates: those of both sides (RFC 5246, sections 7.4.2 and 7.4.6), the status of the server's (RFC
//! 6066, section 8), and the request for the client's (RFC 5246, section 7.4.4).

use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

use super::byte_reader::ByteReader;
use crate::certificate::Certificate;
use crate::certificate::name::DistinguishedName;

const MAX_CERTIFICATES: usize = 10;
/// In bytes, of all certificates of one side.
const MAX_CHAIN: usize = 32 << 10;
const MAX_OCSP_RESPONSE: usize = 16 << 10;
const OCSP: u8 = 1;
/// Sixteen are registered.
const MAX_CERTIFICATE_TYPES: usize = 16;
const MAX_SCHEMES: usize = 64;
/// In bytes, of the names of all CAs: those of all public roots are 20 KiB.
const MAX_AUTHORITIES: usize = 32 << 10;

/// The certificates of a Certificate message, the leaf first: at least one.
pub(super) fn certificates(body: &[u8]) -> Result<Vec<Certificate>, &'static str> {
    let mut reader = ByteReader::new(body);
    let mut list = reader.vector24().ok_or("certificate_list")?;
    reader.end().ok_or("end")?;
    if list.rest().len() > MAX_CHAIN {
        return Err("certificate_list");
    }
    let mut found = Vec::new();
    while !list.is_empty() {
        let der = list.vector24().ok_or("certificate_list")?.rest();
        if found.len() == MAX_CERTIFICATES {
            return Err("certificate_list");
        }
        found.push(Certificate::from_der(der, "the handshake").map_err(|_| "certificate")?);
    }
    match found.is_empty() {
        true => Err("certificate_list"),
        false => Ok(found),
    }
}

/// Checks a CertificateStatus: a successful OCSP response (RFC 6960, section 4.2.1). Our TLS client looks at no more of it.
pub(super) fn check_status(body: &[u8]) -> Result<(), &'static str> {
    let mut reader = ByteReader::new(body);
    if reader.u8() != Some(OCSP) {
        return Err("status_type");
    }
    let response = reader.vector24().ok_or("response")?.rest();
    reader.end().ok_or("end")?;
    match response.len() <= MAX_OCSP_RESPONSE && is_ocsp_response(response).is_some() {
        true => Ok(()),
        false => Err("response"),
    }
}

/// `Some` if it is one.
fn is_ocsp_response(der: &[u8]) -> Option<()> {
    const EXPLICIT_0: Tag = Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(0),
    };
    let response = AnyRef::from_der(der).ok()?;
    let [status, bytes] = values(&response, Tag::Sequence)?.try_into().ok()?;
    let is_successful = status.tag() == Tag::Enumerated && status.value() == [0];
    let [bytes] = values(&bytes, EXPLICIT_0)?.try_into().ok()?;
    let [kind, content] = values(&bytes, Tag::Sequence)?.try_into().ok()?;
    let is_typed = kind.tag() == Tag::ObjectIdentifier && content.tag() == Tag::OctetString;
    (is_successful && is_typed).then_some(())
}

/// The values in one of this tag.
fn values<'a>(outer: &AnyRef<'a>, tag: Tag) -> Option<Vec<AnyRef<'a>>> {
    if outer.tag() != tag {
        return None;
    }
    let mut reader = SliceReader::new(outer.value()).ok()?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(found)
}

/// The signature schemes that a CertificateRequest accepts. The names of its CAs are checked.
pub(super) fn certificate_request(body: &[u8]) -> Result<Vec<u16>, &'static str> {
    let mut reader = ByteReader::new(body);
    let types = reader.vector8().ok_or("certificate_types")?.rest();
    if !(1..=MAX_CERTIFICATE_TYPES).contains(&types.len()) {
        return Err("certificate_types");
    }
    let schemes = reader.vector16().and_then(ByteReader::distinct_numbers);
    let schemes = schemes.filter(|list| list.len() <= MAX_SCHEMES);
    let schemes = schemes.ok_or("supported_signature_algorithms")?;
    let mut names = reader.vector16().ok_or("certificate_authorities")?;
    reader.end().ok_or("end")?;
    if names.rest().len() > MAX_AUTHORITIES {
        return Err("certificate_authorities");
    }
    while !names.is_empty() {
        let name = names.vector16();
        let name = name.and_then(|name| DistinguishedName::from_der(name.rest()));
        name.ok_or("certificate_authorities")?;
    }
    Ok(schemes)
}
