//! Detects the format of DER and BER by its structure. The secret fields of a private key are not read.

use der::asn1::{Any, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use x509_cert::request::CertReq;

use super::super::{Certificate, crl, pem};
use super::{Encoding, FileFormat};
use crate::key::public::Spki;

/// Detects the format of DER; `None` if it is not DER.
pub(in crate::certificate) fn detect_der(der: &[u8], encoding: Encoding) -> Option<FileFormat> {
    let mut reader = SliceReader::new(der).ok()?;
    let whole: Any = reader.decode().ok()?;
    if whole.tag() != Tag::Sequence || !reader.is_finished() {
        return None;
    }
    if Certificate::from_der(der, "").is_ok() {
        return Some(FileFormat::Certificate(encoding));
    }
    if is_private_key(whole.value()) {
        return Some(FileFormat::PrivateKey);
    }
    if is_pkcs7(whole.value()) {
        return Some(FileFormat::Pkcs7(encoding));
    }
    if is_pkcs12(whole.value()) {
        return Some(FileFormat::Pkcs12(encoding));
    }
    if CertReq::from_der(der).is_ok() {
        return Some(FileFormat::Request);
    }
    if crl::is_list(der) {
        return Some(FileFormat::RevocationList);
    }
    if Spki::from_der(der).is_ok() {
        return Some(FileFormat::PublicKey);
    }
    Some(FileFormat::OtherDer)
}

/// Detects PKCS#7 and PKCS#12 with the indefinite lengths of BER (X.690, section 8.1.3.6) by their first bytes.
pub(super) fn detect_ber(bytes: &[u8]) -> Option<FileFormat> {
    /// The common prefix of the OBJECT IDENTIFIERs below 1.2.840.113549.1.7.
    const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";
    const VERSION_3: &[u8] = b"\x02\x01\x03\x30";
    let start = bytes.get(..bytes.len().min(32))?;
    match (start.first(), pem::find(start, PKCS7)) {
        (Some(0x30), Some(2..=6)) => Some(FileFormat::Pkcs7(Encoding::Der)),
        (Some(0x30), Some(7..=16)) if pem::find(start, VERSION_3).is_some() => {
            Some(FileFormat::Pkcs12(Encoding::Der))
        }
        _ => None,
    }
}

/// Whether this is the content of a private key of PKCS#1, SEC 1 or PKCS#8, by its first fields.
fn is_private_key(content: &[u8]) -> bool {
    let Ok(mut reader) = SliceReader::new(content) else {
        return false;
    };
    match reader.decode::<Any>() {
        // The version is followed by the modulus (PKCS#1), the key (SEC 1) or the algorithm (PKCS#8).
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
        // EncryptedPrivateKeyInfo: an algorithm, then an OCTET STRING.
        Ok(first) if first.tag() == Tag::Sequence => {
            let is_algorithm = SliceReader::new(first.value())
                .is_ok_and(|mut inner| inner.decode::<ObjectIdentifier>().is_ok());
            is_algorithm && reader.decode::<&OctetStringRef>().is_ok() && reader.is_finished()
        }
        _ => false,
    }
}

/// Whether only integers follow, at least five: an RSA key has eight after the version, a DSA key five.
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

/// Whether this is the content of a ContentInfo (RFC 5652, section 3), which begins with the OID of its content type.
fn is_pkcs7(content: &[u8]) -> bool {
    const PKCS7: &str = "1.2.840.113549.1.7.";
    SliceReader::new(content)
        .and_then(|mut reader| reader.decode::<ObjectIdentifier>())
        .is_ok_and(|oid| oid.to_string().starts_with(PKCS7))
}

/// Whether this is the content of a PFX (RFC 7292, section 4): version 3, then a ContentInfo.
fn is_pkcs12(content: &[u8]) -> bool {
    SliceReader::new(content).is_ok_and(|mut reader| {
        reader.decode::<u8>().is_ok_and(|version| version == 3)
            && reader
                .decode::<Any>()
                .is_ok_and(|inner| inner.tag() == Tag::Sequence && is_pkcs7(inner.value()))
    })
}
