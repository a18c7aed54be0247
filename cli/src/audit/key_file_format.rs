//! Formats of private keys in files: PEM, PKCS#8, PKCS#1, SEC 1, JWK, and keystores that are only recognised.
//!
//! Only the public components of a private key are decoded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use secrecy::zeroize::Zeroizing;

use super::jwk;
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

/// Every private key of a file.
pub(super) fn private_keys(bytes: &[u8]) -> Vec<Content> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut contents = Vec::new();
    let mut rest = bytes;
    let mut is_pem = false;
    while let Some(at) = rest.windows(BEGIN.len()).position(|window| window == BEGIN) {
        is_pem = true;
        rest = &rest[at + BEGIN.len()..];
        let label = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
        let body = rest.get(label.len() + 5..).unwrap_or_default();
        // Five hyphens: headers of an encrypted key (DEK-Info) contain single ones.
        let end = body
            .windows(5)
            .position(|window| window == b"-----")
            .unwrap_or(body.len());
        if label.ends_with(b"PRIVATE KEY") {
            contents.push(pem(label, &body[..end]));
        }
    }
    if !is_pem {
        contents.push(binary(bytes));
        contents.extend(jwk::private_keys(bytes).into_iter().map(|key| match key {
            Ok(public_key) => Content::Key(public_key),
            Err(reason) => Content::Unknown(reason),
        }));
    }
    let contains = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if BASE64_OF_PEM.iter().any(|text| contains(text)) {
        contents.push(Content::Unknown(
            "the base64 of a private key, which is not compared",
        ));
    }
    if bytes.starts_with(b"PuTTY-User-Key-File") {
        contents.push(Content::Unknown(
            "a private key of PuTTY's form, which is not compared",
        ));
    }
    contents
}

/// The beginnings of the base64 of a PEM private key, as in Kubernetes secrets.
const BASE64_OF_PEM: [&[u8]; 4] = [
    b"LS0tLS1CRUdJTiBQUklWQVRFIEtFWS",
    b"LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVkt",
    b"LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS",
    b"LS0tLS1CRUdJTiBFTkNSWVBURUQgUFJJVkFU",
];

/// A private key of a PEM block.
fn pem(label: &[u8], body: &[u8]) -> Content {
    if label.starts_with(b"ENCRYPTED") || body.windows(9).any(|window| window == b"ENCRYPTED") {
        return Content::Unknown("an encrypted private key, which cannot be compared");
    }
    if label.starts_with(b"OPENSSH") {
        return Content::Unknown("a private key of OpenSSH's form, which is not compared");
    }
    let mut der = Zeroizing::new(vec![0; body.len()]);
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(
        body.iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect(),
    );
    let decoded = STANDARD.decode_slice(&text[..], &mut der);
    let Ok(length) = decoded else {
        return Content::Unknown("a private key that is not whole");
    };
    match private_key(&der[..length]) {
        Content::NoPrivateKey => Content::Unknown("a private key of a form that is not known"),
        other => other,
    }
}

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
    match private_key(bytes) {
        Content::NoPrivateKey if bytes.first() == Some(&0x30) && pkcs12().is_some() => {
            Content::Unknown("a PKCS#12 keystore, whose keys cannot be compared")
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
