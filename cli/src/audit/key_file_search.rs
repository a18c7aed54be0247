//! Private keys that lie in files: a copy of the key outside of the token is the worst finding there is.
//!
//! A file is read to see which public key it belongs to, and nothing of it is kept: the buffers are wiped,
//! and of a private key only the public components are ever decoded.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use rustix::fs::{Mode, OFlags};
use secrecy::zeroize::Zeroizing;

use super::jwk;
use hsm_mtls::internal::key::public::PublicKey;

/// A key is no longer than this, in bytes.
const LONGEST: u64 = 1 << 20;
/// So many files are looked at in all.
const MOST_FILES: usize = 100_000;
/// Folders below each other.
const DEEPEST: usize = 32;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// What was found in the folders.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Files that hold the key.
    pub(super) copies: Vec<PathBuf>,
    /// Files of private keys that cannot be compared, and why.
    pub(super) unread: Vec<String>,
    /// Other private keys.
    pub(super) others: usize,
    /// Files that were looked at.
    pub(super) files: usize,
    /// Files and folders that could not be, and why.
    pub(super) denied: Vec<String>,
    /// Links, which are not followed.
    pub(super) links: usize,
}

/// What a file holds.
pub(super) enum Content {
    /// No private key.
    Nothing,
    Key(PublicKey),
    /// A private key whose public half is not told.
    Unknown(&'static str),
}

/// Looks for `wanted` in all files of these folders. Links below them are not followed.
pub(super) fn search(folders: &[PathBuf], wanted: &PublicKey) -> Search {
    let mut found = Search::default();
    for folder in folders {
        // What was named is meant, also where it is a link.
        match fs::canonicalize(folder) {
            Ok(folder) => look(&folder, wanted, DEEPEST, &mut found),
            Err(error) => found.denied.push(format!("{}: {error}", folder.display())),
        }
    }
    found
}

fn look(place: &Path, wanted: &PublicKey, depth: usize, found: &mut Search) {
    let denied = |error: io::Error| format!("{}: {error}", place.display());
    let meta = match fs::symlink_metadata(place) {
        Ok(meta) => meta,
        Err(error) => return found.denied.push(denied(error)),
    };
    if meta.is_symlink() {
        found.links += 1;
    }
    if meta.is_dir() {
        let entries = match fs::read_dir(place) {
            Ok(entries) => entries,
            Err(error) => return found.denied.push(denied(error)),
        };
        if depth == 0 {
            return found.denied.push(format!("{}: too deep", place.display()));
        }
        for entry in entries {
            match entry {
                Ok(entry) => look(&entry.path(), wanted, depth - 1, found),
                Err(error) => return found.denied.push(denied(error)),
            }
        }
        return;
    }
    if !meta.is_file() {
        return;
    }
    if meta.len() > LONGEST {
        let why = "longer than 1 MiB, and not looked at";
        return found.denied.push(format!("{}: {why}", place.display()));
    }
    if found.files >= MOST_FILES {
        // Said once.
        let most = format!("more than {MOST_FILES} files: the rest was not looked at");
        if found.denied.last() != Some(&most) {
            found.denied.push(most);
        }
        return;
    }
    found.files += 1;
    match read(place) {
        Err(error) => found.denied.push(denied(error)),
        Ok(bytes) => {
            take(place, contents(&bytes), wanted, found);
        }
    }
}

/// A whole file. What was a file a moment ago may be a pipe or a link by now, put there by
/// somebody who waits for us: neither is opened.
fn read(place: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(place, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    // Room for all of it at once: a growing buffer would leave copies behind.
    let length = file.metadata()?.len().min(LONGEST);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn take(place: &Path, contents: Vec<Content>, wanted: &PublicKey, found: &mut Search) {
    let mut unread = BTreeSet::new();
    let mut copy = false;
    for content in contents {
        match content {
            Content::Nothing => {}
            Content::Key(key) if key == *wanted => copy = true,
            Content::Key(_) => found.others += 1,
            Content::Unknown(why) => drop(unread.insert(why)),
        }
    }
    if copy {
        found.copies.push(place.to_owned());
    }
    let unread = unread.into_iter();
    let said = unread.map(|why| format!("{}: {why}", place.display()));
    found.unread.extend(said);
}

/// Every private key of a file.
fn contents(bytes: &[u8]) -> Vec<Content> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut all = Vec::new();
    let mut rest = bytes;
    let mut is_pem = false;
    while let Some(at) = rest.windows(BEGIN.len()).position(|window| window == BEGIN) {
        is_pem = true;
        rest = &rest[at + BEGIN.len()..];
        let label = rest.split(|byte| *byte == b'-').next().unwrap_or_default();
        let body = rest.get(label.len() + 5..).unwrap_or_default();
        // Headers of an encrypted key have a hyphen too.
        let end = body
            .windows(5)
            .position(|window| window == b"-----")
            .unwrap_or(body.len());
        if label.ends_with(b"PRIVATE KEY") {
            all.push(pem(label, &body[..end]));
        }
    }
    if !is_pem {
        all.push(binary(bytes));
        all.extend(jwk::private_keys(bytes));
    }
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if WRAPPED.iter().any(|text| holds(text)) {
        all.push(Content::Unknown(
            "the base64 of a private key, which is not compared",
        ));
    }
    if bytes.starts_with(b"PuTTY-User-Key-File") {
        all.push(Content::Unknown(
            "a private key of PuTTY's form, which is not compared",
        ));
    }
    all
}

/// How the base64 of a PEM private key begins, as secrets of Kubernetes hold it.
const WRAPPED: [&[u8]; 4] = [
    b"LS0tLS1CRUdJTiBQUklWQVRFIEtFWS",
    b"LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVkt",
    b"LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS",
    b"LS0tLS1CRUdJTiBFTkNSWVBURUQgUFJJVkFU",
];

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
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode_slice(&text[..], &mut der);
    let Ok(length) = decoded else {
        return Content::Unknown("a private key that is not whole");
    };
    match private_key(&der[..length]) {
        Content::Nothing => Content::Unknown("a private key of a form that is not known"),
        other => other,
    }
}

fn binary(bytes: &[u8]) -> Content {
    // JKS, and PKCS#12: a SEQUENCE of version 3 and what is in it.
    const STORES: [&[u8]; 2] = [&[0xfe, 0xed, 0xfe, 0xed], &[0xce, 0xce, 0xce, 0xce]];
    if STORES.iter().any(|magic| bytes.starts_with(magic)) {
        return Content::Unknown("a Java keystore, whose keys cannot be compared");
    }
    let pkcs12 = || {
        let mut outer = SliceReader::new(bytes).ok()?;
        outer
            .sequence(|inner| inner.decode::<u8>())
            .map_or_else(|_| first_integer(bytes), Some)
            .filter(|version| *version == 3)
    };
    // In BER the length may be left open, and the version of PKCS#12 comes first all the same.
    if bytes.starts_with(&[0x30, 0x80, 0x02, 0x01, 0x03]) {
        return Content::Unknown("a PKCS#12 keystore, whose keys cannot be compared");
    }
    match private_key(bytes) {
        Content::Nothing if bytes.first() == Some(&0x30) && pkcs12().is_some() => {
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

/// PKCS#8, PKCS#1 or SEC 1: as far as its public half.
fn private_key(der: &[u8]) -> Content {
    if let Some(key) = pkcs1(der) {
        return Content::Key(key);
    }
    if let Some(content) = sec1(der, None) {
        return content;
    }
    pkcs8(der).unwrap_or(Content::Nothing)
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

/// ECPrivateKey (RFC 5915): what is secret is skipped, and the public key, where it is there, taken.
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
        let content = inside.tlv_bytes().ok()?;
        match tag {
            Tag::ContextSpecific {
                number: TagNumber(0),
                ..
            } => curve = Some(content.to_vec()),
            Tag::ContextSpecific {
                number: TagNumber(1),
                ..
            } => {
                let bits = der::asn1::BitStringRef::from_der(content).ok()?;
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

/// PrivateKeyInfo (RFC 5208): the algorithm says what the octets inside are.
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
