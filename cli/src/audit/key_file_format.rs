//! Formats of private keys in files: PEM, PKCS#8, PKCS#1, SEC 1, JWK, and keystores and archives that are only recognised.
//!
//! Only the public components of a private key are decoded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use secrecy::zeroize::Zeroizing;

use super::{jwk, text_encodings};
use hsm_mtls::internal::key::public::PublicKey;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A part of a file.
pub(super) enum Content {
    NoPrivateKey,
    /// The public key of a private key.
    Key(PublicKey),
    /// A private key whose public key is not known, and why.
    Unknown(&'static str),
}

/// How often an encoding is looked for within another: base64 of a PEM file is two.
const MAX_DEPTH: usize = 3;

/// Every private key of a file, in whichever encoding.
pub(super) fn private_keys(bytes: &[u8]) -> Vec<Content> {
    let mut contents = Vec::new();
    keys_within(bytes, MAX_DEPTH, &mut contents);
    contents
}

fn keys_within(bytes: &[u8], depth: usize, contents: &mut Vec<Content>) {
    contents.push(binary(bytes));
    contents.extend(not_readable(bytes).map(Content::Unknown));
    pem_blocks(bytes, contents);
    der_within(bytes, contents);
    contents.extend(jwk::private_keys(bytes).into_iter().map(|key| match key {
        Ok(public_key) => Content::Key(public_key),
        Err(reason) => Content::Unknown(reason),
    }));
    if memchr::memmem::find(bytes, b"PuTTY-User-Key-File").is_some() {
        contents.push(Content::Unknown(
            "a private key of PuTTY's form, which is not compared",
        ));
    }
    if depth > 0 {
        for text in text_encodings::decoded(bytes) {
            keys_within(&text, depth - 1, contents);
        }
    }
}

fn pem_blocks(bytes: &[u8], contents: &mut Vec<Content>) {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, BEGIN) {
        rest = &rest[at + BEGIN.len()..];
        let label = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
        let body = rest.get(label.len() + 5..).unwrap_or_default();
        // Five hyphens: headers of an encrypted key (DEK-Info) contain single ones.
        let end = memchr::memmem::find(body, b"-----").unwrap_or(body.len());
        if label.ends_with(b"PRIVATE KEY") {
            contents.push(pem(label, &body[..end]));
        }
    }
}

/// Private keys in DER wherever they begin: in an archive, a dump, or behind other bytes.
fn der_within(bytes: &[u8], contents: &mut Vec<Content>) {
    for start in memchr::memchr_iter(0x30, bytes) {
        let der = &bytes[start..];
        // SEQUENCE of a long length, and a version of 0 or 1 as its first element.
        let is_candidate = matches!(
            der,
            [_, 0x81, _, 0x02, 0x01, 0 | 1, ..]
                | [_, 0x82, _, _, 0x02, 0x01, 0 | 1, ..]
                | [_, 0x00..=0x7f, 0x02, 0x01, 0 | 1, ..]
        );
        if !is_candidate {
            continue;
        }
        let length = SliceReader::new(der)
            .ok()
            .and_then(|mut reader| reader.tlv_bytes().ok().map(<[u8]>::len));
        let Some(der) = length.and_then(|length| der.get(..length)) else {
            continue;
        };
        if let key @ Content::Key(_) = private_key(der) {
            contents.push(key);
        }
    }
}

/// Why a file's content cannot be looked at: it is compressed or an archive whose members are.
fn not_readable(bytes: &[u8]) -> Option<&'static str> {
    const FORMATS: [(&[u8], &str); 7] = [
        (&[0x1f, 0x8b], "gzip data, which are not looked into"),
        (b"PK\x03\x04", "a zip archive, which is not looked into"),
        (
            &[0x28, 0xb5, 0x2f, 0xfd],
            "Zstandard data, which are not looked into",
        ),
        (b"\xfd7zXZ\0", "xz data, which are not looked into"),
        (b"BZh", "bzip2 data, which are not looked into"),
        (
            b"7z\xbc\xaf\x27\x1c",
            "a 7z archive, which is not looked into",
        ),
        (b"Salted__", "data that `openssl enc` encrypted"),
    ];
    let found = FORMATS.iter().find(|(magic, _)| bytes.starts_with(magic));
    found.map(|(_, reason)| *reason)
}

/// A private key of a PEM block.
fn pem(label: &[u8], body: &[u8]) -> Content {
    if label.starts_with(b"ENCRYPTED") || body.windows(9).any(|window| window == b"ENCRYPTED") {
        return Content::Unknown("an encrypted private key, which cannot be compared");
    }
    if label.starts_with(b"OPENSSH") {
        return Content::Unknown("a private key of OpenSSH's form, which is not compared");
    }
    let mut der = Zeroizing::new(vec![0; body.len()]);
    let text = text_encodings::without_white_space(&text_encodings::unescaped(body));
    let decoded = STANDARD.decode_slice(&text[..], &mut der);
    let Ok(length) = decoded else {
        return Content::Unknown("a private key that is not whole");
    };
    match private_key(&der[..length]) {
        Content::NoPrivateKey => Content::Unknown("a private key of a form that is not known"),
        other => other,
    }
}

/// The beginnings, in DER, of the object identifiers of encryption by a password: of PKCS#5 (1.2.840.113549.1.5, RFC 8018,
/// appendix A) and of PKCS#12 (1.2.840.113549.1.12.1, RFC 7292, appendix C).
const BY_PASSWORD: [&[u8]; 2] = [
    &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05],
    &[
        0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01,
    ],
];

/// A private key of a binary file, or a keystore.
fn binary(bytes: &[u8]) -> Content {
    // JKS and JCEKS.
    const KEYSTORES: [&[u8]; 2] = [&[0xfe, 0xed, 0xfe, 0xed], &[0xce, 0xce, 0xce, 0xce]];
    if KEYSTORES.iter().any(|magic| bytes.starts_with(magic)) {
        return Content::Unknown("a Java keystore, whose keys cannot be compared");
    }
    // PFX (RFC 7292, section 4): a SEQUENCE that begins with version 3.
    let pkcs12 = || {
        let mut outer = SliceReader::new(bytes).ok()?;
        outer
            .sequence(|inner| inner.decode::<u8>())
            .map_or_else(|_| first_integer(bytes), Some)
            .filter(|version| *version == 3)
    };
    // A PFX in BER may have an indefinite length.
    if bytes.starts_with(&[0x30, 0x80, 0x02, 0x01, 0x03]) {
        return Content::Unknown("a PKCS#12 keystore, whose keys cannot be compared");
    }
    let is_encrypted = || {
        let mut schemes = BY_PASSWORD.iter();
        schemes.any(|scheme| memchr::memmem::find(bytes, scheme).is_some())
    };
    match private_key(bytes) {
        Content::NoPrivateKey if bytes.first() == Some(&0x30) && pkcs12().is_some() => {
            Content::Unknown("a PKCS#12 keystore, whose keys cannot be compared")
        }
        Content::NoPrivateKey if is_encrypted() => {
            Content::Unknown("something that a password encrypts, as private keys are")
        }
        other => other,
    }
}

fn first_integer(bytes: &[u8]) -> Option<u8> {
    let mut outer = SliceReader::new(bytes).ok()?;
    let header = der::Header::decode(&mut outer).ok()?;
    (header.tag() == Tag::Sequence).then_some(())?;
    outer.decode().ok()
}

/// A private key in DER: PKCS#8, PKCS#1 or SEC 1. Only its public components are decoded.
fn private_key(der: &[u8]) -> Content {
    if let Some(key) = pkcs1(der) {
        return Content::Key(key);
    }
    if let Some(content) = sec1(der, None) {
        return content;
    }
    pkcs8(der).unwrap_or(Content::NoPrivateKey)
}

/// RSAPrivateKey (RFC 8017, appendix A.1.2): version, modulus and public exponent come first.
fn pkcs1(der: &[u8]) -> Option<PublicKey> {
    let mut outer = SliceReader::new(der).ok()?;
    let header = der::Header::decode(&mut outer).ok()?;
    (header.tag() == Tag::Sequence).then_some(())?;
    (outer.decode::<u8>().ok()? == 0).then_some(())?;
    let modulus: der::asn1::UintRef<'_> = outer.decode().ok()?;
    let exponent: der::asn1::UintRef<'_> = outer.decode().ok()?;
    PublicKey::from_rsa(modulus.as_bytes(), exponent.as_bytes()).ok()
}

/// ECPrivateKey (RFC 5915): the private key is skipped, the optional public key is decoded.
fn sec1(der: &[u8], curve: Option<Vec<u8>>) -> Option<Content> {
    let mut outer = SliceReader::new(der).ok()?;
    let header = der::Header::decode(&mut outer).ok()?;
    (header.tag() == Tag::Sequence).then_some(())?;
    (outer.decode::<u8>().ok()? == 1).then_some(())?;
    let secret = outer.tlv_bytes().ok()?;
    (secret.first() == Some(&0x04)).then_some(())?;
    let (mut curve, mut point) = (curve, None);
    while !outer.is_finished() {
        let field = outer.tlv_bytes().ok()?;
        let mut inside = SliceReader::new(field).ok()?;
        let tag = der::Header::decode(&mut inside).ok()?.tag();
        let value = inside.tlv_bytes().ok()?;
        match tag {
            Tag::ContextSpecific {
                number: TagNumber(0),
                ..
            } => curve = Some(value.to_vec()),
            Tag::ContextSpecific {
                number: TagNumber(1),
                ..
            } => {
                let bits = der::asn1::BitStringRef::from_der(value).ok()?;
                point = Some(bits.as_bytes()?.to_vec());
            }
            _ => return None,
        }
    }
    let key = PublicKey::from_ec(&curve?, &point.unwrap_or_default());
    Some(key.map_or(
        Content::Unknown("a private key of a curve without its public half"),
        Content::Key,
    ))
}

/// PrivateKeyInfo (RFC 5208): the algorithm decides what the octets contain.
fn pkcs8(der: &[u8]) -> Option<Content> {
    let mut outer = SliceReader::new(der).ok()?;
    let header = der::Header::decode(&mut outer).ok()?;
    (header.tag() == Tag::Sequence).then_some(())?;
    (outer.decode::<u8>().ok()? <= 1).then_some(())?;
    let algorithm: spki::AlgorithmIdentifier<der::Any> = outer.decode().ok()?;
    let inside: &OctetStringRef = outer.decode().ok()?;
    let parameters = algorithm.parameters.as_ref();
    let content = match algorithm.oid {
        RSA => pkcs1(inside.as_bytes()).map(Content::Key),
        EC => sec1(
            inside.as_bytes(),
            parameters.and_then(|curve| curve.to_der().ok()),
        ),
        _ => None,
    };
    Some(content.unwrap_or(Content::Unknown(
        "a private key whose public half is not told",
    )))
}
