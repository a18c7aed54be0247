//! What DER and BER hold, by their structure. Of a private key nothing but its outline is looked at.

use der::asn1::{Any, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use x509_cert::crl::CertificateList;
use x509_cert::request::CertReq;

use super::super::pem;
use super::super::{AsIssued, Certificate};
use super::{Contents, Form};
use crate::key::public::Spki;

/// What DER holds, if it is DER.
pub(in crate::certificate) fn of_der(der: &[u8], form: Form) -> Option<Contents> {
    let mut reader = SliceReader::new(der).ok()?;
    let whole: Any = reader.decode().ok()?;
    if whole.tag() != Tag::Sequence || !reader.is_finished() {
        return None;
    }
    if Certificate::from_der(der, "").is_ok() {
        return Some(Contents::Certificate(form));
    }
    if is_private_key(whole.value()) {
        return Some(Contents::PrivateKey);
    }
    if is_pkcs7(whole.value()) {
        return Some(Contents::Pkcs7(form));
    }
    if is_pkcs12(whole.value()) {
        return Some(Contents::Pkcs12(form));
    }
    if CertReq::from_der(der).is_ok() {
        return Some(Contents::Request);
    }
    if CertificateList::<AsIssued>::from_der(der).is_ok() {
        return Some(Contents::RevocationList);
    }
    if Spki::from_der(der).is_ok() {
        return Some(Contents::PublicKey);
    }
    Some(Contents::OtherDer)
}

/// PKCS#7 and PKCS#12 also come with lengths that DER does not have (X.690, section 8.1.3.6): by their beginning.
pub(super) fn of_ber(bytes: &[u8]) -> Option<Contents> {
    /// The OBJECT IDENTIFIER 1.2.840.113549.1.7, as far as its kinds have it in common.
    const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";
    const VERSION_3: &[u8] = b"\x02\x01\x03\x30";
    let start = bytes.get(..bytes.len().min(32))?;
    match (start.first(), pem::find(start, PKCS7)) {
        (Some(0x30), Some(2..=6)) => Some(Contents::Pkcs7(Form::Der)),
        (Some(0x30), Some(7..=16)) if pem::find(start, VERSION_3).is_some() => {
            Some(Contents::Pkcs12(Form::Der))
        }
        _ => None,
    }
}

/// By what it begins with: the parts that are secret are not looked at.
fn is_private_key(content: &[u8]) -> bool {
    let Ok(mut reader) = SliceReader::new(content) else {
        return false;
    };
    match reader.decode::<Any>() {
        // PKCS#1 goes on with the modulus, SEC 1 with the key, PKCS#8 with the algorithm.
        Ok(first) if first.tag() == Tag::Integer && matches!(first.value(), [0 | 1]) => {
            let next = Tag::peek(&reader).ok();
            match next {
                Some(Tag::Integer) => first.value() == [0] && integers_follow(&mut reader),
                Some(Tag::OctetString) => first.value() == [1],
                Some(Tag::Sequence) => {
                    reader.decode::<Any>().is_ok()
                        && Tag::peek(&reader).ok() == Some(Tag::OctetString)
                }
                _ => false,
            }
        }
        // EncryptedPrivateKeyInfo: an algorithm, then octets.
        Ok(first) if first.tag() == Tag::Sequence => {
            let named = SliceReader::new(first.value())
                .is_ok_and(|mut inner| inner.decode::<ObjectIdentifier>().is_ok());
            named && reader.decode::<&OctetStringRef>().is_ok() && reader.is_finished()
        }
        _ => false,
    }
}

/// Of RSA there are eight after the version, of DSA five.
fn integers_follow(reader: &mut SliceReader<'_>) -> bool {
    let mut count = 0;
    while !reader.is_finished() {
        match reader.tlv_bytes() {
            Ok([0x02, ..]) => count += 1,
            _ => return false,
        }
    }
    count >= 5
}

/// ContentInfo (RFC 5652, section 3): the OID of what is in it comes first.
fn is_pkcs7(content: &[u8]) -> bool {
    const PKCS7: &str = "1.2.840.113549.1.7.";
    SliceReader::new(content)
        .and_then(|mut reader| reader.decode::<ObjectIdentifier>())
        .is_ok_and(|oid| oid.to_string().starts_with(PKCS7))
}

/// PFX (RFC 7292, section 4): version 3, then a ContentInfo.
fn is_pkcs12(content: &[u8]) -> bool {
    SliceReader::new(content).is_ok_and(|mut reader| {
        reader.decode::<u8>().is_ok_and(|version| version == 3)
            && reader
                .decode::<Any>()
                .is_ok_and(|inner| inner.tag() == Tag::Sequence && is_pkcs7(inner.value()))
    })
}
