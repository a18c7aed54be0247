//! What a file holds that was given for a certificate or a revocation list and has none. People hand in
//! the container that it came in, the request that it was made from, or the page that a download ended on:
//! each is told by its name, with the command that takes the certificate out of it.

mod binary;

use std::fmt::{self, Display};

use super::pem::{self, Block};
use binary::of_ber;
pub(super) use binary::of_der;

/// How something binary is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Der,
    /// In PEM.
    Pem,
    /// In base64 without the lines around it.
    Base64,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing.
    Nothing,
    /// A private key of whatever format: nothing more is read of it.
    PrivateKey,
    /// PKCS#7, CMS (RFC 5652): a bag of certificates.
    Pkcs7(Form),
    /// The same under the label of CMS, which `openssl pkcs7` does not take.
    Cms,
    /// PKCS#12 (RFC 7292): certificates, and a private key as a rule.
    Pkcs12(Form),
    /// A key store of Java.
    JavaKeyStore,
    /// A certificate.
    Certificate(Form),
    /// OpenSSL's own form, with trust settings behind the certificate.
    TrustedCertificate,
    /// A PKCS#10 request.
    Request,
    /// A revocation list.
    RevocationList,
    /// A public key, in the form of TLS or of SSH.
    PublicKey,
    /// Something of OpenPGP.
    OpenPgp,
    /// An HTML page.
    Html,
    /// JSON or XML.
    Document(&'static str),
    /// Something else in DER.
    OtherDer,
    /// The words of PEM without its hyphens, as word processors leave it.
    BrokenPem,
    /// PEM of another kind, or text, or anything.
    Unknown,
}

impl Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = |form: &Form| match form {
            Form::Der => " in DER",
            Form::Pem => "",
            Form::Base64 => " in base64 without the lines of PEM around it",
        };
        match self {
            Self::Nothing => f.write_str("it is empty"),
            Self::PrivateKey => f.write_str("it is a private key"),
            Self::Pkcs7(how) => write!(f, "it is a PKCS#7 bag (.p7b){}", form(how)),
            Self::Cms => f.write_str("it is a CMS bag"),
            Self::Pkcs12(how) => write!(f, "it is a PKCS#12 container (.p12, .pfx){}", form(how)),
            Self::JavaKeyStore => f.write_str("it is a Java key store"),
            Self::Certificate(how) => write!(f, "it is a certificate{}", form(how)),
            Self::TrustedCertificate => {
                f.write_str("it is a TRUSTED CERTIFICATE, a form of OpenSSL's own")
            }
            Self::Request => f.write_str("it is a certificate request"),
            Self::RevocationList => f.write_str("it is a revocation list"),
            Self::PublicKey => f.write_str("it is a public key"),
            Self::OpenPgp => f.write_str("it is of OpenPGP"),
            Self::Html => f.write_str("it is an HTML page"),
            Self::Document(kind) => write!(f, "it is {kind}"),
            Self::OtherDer => f.write_str("it is DER of another kind"),
            Self::BrokenPem => f.write_str(
                "it has the words of a PEM block, but not \"-----BEGIN CERTIFICATE-----\" with five hyphens on both sides",
            ),
            Self::Unknown => f.write_str("what it is is not known"),
        }
    }
}

impl Contents {
    /// What to do about it where a certificate was wanted; `place` is the file's name.
    pub(super) fn hint(self, place: &str) -> String {
        let file = quoted(place);
        let out = quoted(&format!("{place}.pem"));
        let then = format!("then give {out}");
        match self {
            Self::Pkcs7(Form::Pem) => {
                format!("take the certificates out of it: `openssl pkcs7 -print_certs -in {file} -out {out}`, {then}")
            }
            Self::Pkcs7(Form::Der) => format!(
                "take the certificates out of it: `openssl pkcs7 -inform DER -print_certs -in {file} -out {out}`, {then}"
            ),
            Self::Pkcs7(Form::Base64) => format!(
                "take the certificates out of it: `base64 -di {file} | openssl pkcs7 -inform DER -print_certs -out {out}`, {then}"
            ),
            Self::Cms => format!(
                "take the certificates out of it: `openssl cms -cmsout -inform PEM -in {file} -outform DER | openssl pkcs7 -inform DER -print_certs \
                 -out {out}`, {then}"
            ),
            Self::Pkcs12(form) => {
                let command = match form {
                    Form::Der | Form::Pem => {
                        format!("openssl pkcs12 -in {file} -nokeys -out {out}")
                    }
                    Form::Base64 => {
                        format!("base64 -di {file} | openssl pkcs12 -nokeys -out {out}")
                    }
                };
                format!(
                    "take the certificates, and no key, out of it: `{command}` (one of older software wants -legacy as well), {then}. \
                     As a rule such a file holds a private key: one outside the token is not used, and is to be treated as exposed"
                )
            }
            Self::JavaKeyStore => format!(
                "take the certificate, and no key, out of it: `keytool -exportcert -rfc -keystore {file} -alias ALIAS -file {out}`, {then}. \
                 A private key in it is not used, and is to be treated as exposed"
            ),
            Self::TrustedCertificate => {
                format!("make a certificate of it: `openssl x509 -in {file} -out {out}`, {then}")
            }
            Self::Certificate(Form::Base64) => format!(
                "make PEM of it: `base64 -di {file} | openssl x509 -inform DER -out {out}`, {then}"
            ),
            Self::Request => {
                "the request goes to the Trust Framework; give the certificate that comes back for it".to_owned()
            }
            Self::RevocationList => {
                "a revocation list is named in `crls` of [trust]; give the certificate here".to_owned()
            }
            Self::PublicKey => {
                "a certificate is more than its public key: give the file that the Trust Framework issued (-----BEGIN CERTIFICATE-----)".to_owned()
            }
            Self::Nothing | Self::Html | Self::Document(_) => {
                "the download failed, or wants a login: fetch the certificate anew from the Trust Framework, and look at the file \
                 before you give it (-----BEGIN CERTIFICATE-----)"
                    .to_owned()
            }
            Self::BrokenPem => {
                "a word processor or a chat changed the text: fetch the file anew from the Trust Framework, and copy it as a file".to_owned()
            }
            Self::PrivateKey
            | Self::Certificate(_)
            | Self::OpenPgp
            | Self::OtherDer
            | Self::Unknown => {
                "give the PEM file that the Trust Framework issued (-----BEGIN CERTIFICATE-----); it is taken in DER too".to_owned()
            }
        }
    }
}

/// A name of a file as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    match name.chars().all(plain) && !name.starts_with('-') {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

/// Whether a private key is in a text, whatever its format and wherever in it.
pub(super) fn names_a_private_key(text: &[u8]) -> bool {
    const MARKS: [&[u8]; 5] = [
        b"PRIVATE KEY-",
        b"PRIVATE KEY BLOCK-",
        b"PRIVATE KEY -",
        b"PuTTY-User-Key-File",
        b"SSH PRIVATE KEY FILE",
    ];
    MARKS.iter().any(|mark| pem::find(text, mark).is_some())
}

/// What it is, where it has no certificate in PEM.
pub(super) fn of(text: &[u8], blocks: &[Block<'_>]) -> Contents {
    if names_a_private_key(text) {
        return Contents::PrivateKey;
    }
    let found = blocks.iter().map(of_block);
    // The parameters of a curve stand beside what matters.
    if let Some(found) = found.into_iter().find(|found| *found != Contents::Unknown) {
        return found;
    }
    if text.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) || text.starts_with(&[0xce; 4]) {
        return Contents::JavaKeyStore;
    }
    if let Some(found) = of_der(text, Form::Der) {
        return found;
    }
    if let Some(found) = of_ber(text) {
        return found;
    }
    let trimmed = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let trimmed = trimmed.trim_ascii();
    if trimmed.is_empty() {
        return Contents::Nothing;
    }
    if let Some(found) = pem::decode(trimmed).and_then(|der| of_der(&der, Form::Base64)) {
        return found;
    }
    of_text(trimmed)
}

fn of_block(block: &Block<'_>) -> Contents {
    match block.label.as_str() {
        "PKCS7" | "PKCS #7 SIGNED DATA" => Contents::Pkcs7(Form::Pem),
        "CMS" => Contents::Cms,
        "PKCS12" => Contents::Pkcs12(Form::Pem),
        "TRUSTED CERTIFICATE" => Contents::TrustedCertificate,
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Contents::Request,
        "X509 CRL" | "CRL" => Contents::RevocationList,
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Contents::PublicKey,
        label if label.starts_with("PGP ") => Contents::OpenPgp,
        "CERTIFICATE" | "X509 CERTIFICATE" | "X.509 CERTIFICATE" => {
            Contents::Certificate(Form::Pem)
        }
        _ => Contents::Unknown,
    }
}

fn of_text(text: &[u8]) -> Contents {
    let start: Vec<u8> = text.iter().take(512).map(u8::to_ascii_lowercase).collect();
    let has = |word: &[u8]| pem::find(&start, word).is_some();
    match text.first() {
        Some(b'<') if has(b"<html") || has(b"<!doctype html") || has(b"<head") => Contents::Html,
        Some(b'<') => Contents::Document("XML"),
        // A JWK with its private part (RFC 7517, RFC 7518).
        Some(b'{' | b'[')
            if pem::find(text, b"\"kty\"").is_some() && pem::find(text, b"\"d\"").is_some() =>
        {
            Contents::PrivateKey
        }
        Some(b'{' | b'[') => Contents::Document("JSON"),
        _ if start.starts_with(b"ssh-")
            || start.starts_with(b"ecdsa-sha2-")
            || start.starts_with(b"---- begin ssh2 public") =>
        {
            Contents::PublicKey
        }
        _ if pem::find(text, b"BEGIN CERTIFICATE").is_some()
            || pem::find(text, b"END CERTIFICATE").is_some() =>
        {
            Contents::BrokenPem
        }
        _ => Contents::Unknown,
    }
}
