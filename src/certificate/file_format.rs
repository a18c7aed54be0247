//! Detects the format of a file that should be a certificate or CRL and is not: a container such as PKCS#12, a certificate
//! request, the HTML page of a failed download. The message names the format, and the hint the command that extracts the
//! certificate.

mod der;

use std::fmt::{self, Display};

use super::pem::{self, Block};
use crate::shell_quote::shell_quoted;
use der::detect_ber;
pub(super) use der::detect_der;

/// The encoding of DER in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Binary DER.
    Der,
    /// PEM.
    Pem,
    /// Base64 without the BEGIN and END lines of PEM.
    Base64,
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// An empty file.
    Empty,
    /// A private key in any format. It is not parsed any further.
    PrivateKey,
    /// PKCS#7 or CMS (RFC 5652): a set of certificates.
    Pkcs7(Encoding),
    /// CMS with the PEM label CMS, which `openssl pkcs7` does not accept.
    Cms,
    /// PKCS#12 (RFC 7292): certificates, and usually a private key.
    Pkcs12(Encoding),
    /// A Java key store.
    JavaKeyStore,
    /// A certificate.
    Certificate(Encoding),
    /// OpenSSL's TRUSTED CERTIFICATE, with trust settings after the certificate.
    TrustedCertificate,
    /// A PKCS#10 certificate request.
    Request,
    /// A CRL.
    RevocationList,
    /// A public key, as SubjectPublicKeyInfo or of SSH.
    PublicKey,
    /// OpenPGP.
    OpenPgp,
    /// An HTML page.
    Html,
    /// JSON or XML, by this name.
    Document(&'static str),
    /// Other DER.
    OtherDer,
    /// PEM whose hyphens a word processor replaced.
    BrokenPem,
    /// None of these.
    Unknown,
}

impl Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |encoding: &Encoding| match encoding {
            Encoding::Der => " in DER",
            Encoding::Pem => "",
            Encoding::Base64 => " in base64 without the lines of PEM around it",
        };
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::PrivateKey => f.write_str("it is a private key"),
            Self::Pkcs7(encoding) => write!(f, "it is a PKCS#7 bag (.p7b){}", suffix(encoding)),
            Self::Cms => f.write_str("it is a CMS bag"),
            Self::Pkcs12(encoding) => write!(f, "it is a PKCS#12 container (.p12, .pfx){}", suffix(encoding)),
            Self::JavaKeyStore => f.write_str("it is a Java key store"),
            Self::Certificate(encoding) => write!(f, "it is a certificate{}", suffix(encoding)),
            Self::TrustedCertificate => {
                f.write_str("it is a TRUSTED CERTIFICATE, a form of OpenSSL's own")
            }
            Self::Request => f.write_str("it is a certificate request"),
            Self::RevocationList => f.write_str("it is a revocation list"),
            Self::PublicKey => f.write_str("it is a public key"),
            Self::OpenPgp => f.write_str("it is of OpenPGP"),
            Self::Html => f.write_str("it is an HTML page"),
            Self::Document(format) => write!(f, "it is {format}"),
            Self::OtherDer => f.write_str("it is DER of another kind"),
            Self::BrokenPem => f.write_str(
                "it has the words of a PEM block, but not \"-----BEGIN CERTIFICATE-----\" with five hyphens on both sides",
            ),
            Self::Unknown => f.write_str("what it is is not known"),
        }
    }
}

impl FileFormat {
    /// What to do if the file `file_name` has this format instead of that of a certificate.
    pub(super) fn hint(self, file_name: &str) -> String {
        let file = shell_quoted(file_name);
        let out = shell_quoted(&format!("{file_name}.pem"));
        let then = format!("then give {out}");
        match self {
            Self::Pkcs7(Encoding::Pem) => {
                format!("take the certificates out of it: `openssl pkcs7 -print_certs -in {file} -out {out}`, {then}")
            }
            Self::Pkcs7(Encoding::Der) => format!(
                "take the certificates out of it: `openssl pkcs7 -inform DER -print_certs -in {file} -out {out}`, {then}"
            ),
            Self::Pkcs7(Encoding::Base64) => format!(
                "take the certificates out of it: `base64 -di {file} | openssl pkcs7 -inform DER -print_certs -out {out}`, {then}"
            ),
            Self::Cms => format!(
                "take the certificates out of it: `openssl cms -cmsout -inform PEM -in {file} -outform DER | openssl pkcs7 -inform DER -print_certs \
                 -out {out}`, {then}"
            ),
            Self::Pkcs12(encoding) => {
                let command = match encoding {
                    Encoding::Der | Encoding::Pem => {
                        format!("openssl pkcs12 -in {file} -nokeys -out {out}")
                    }
                    Encoding::Base64 => {
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
            Self::Certificate(Encoding::Base64) => format!(
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
            Self::Empty | Self::Html | Self::Document(_) => {
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

/// Whether the text holds the marker of a private key in any format.
pub(super) fn has_private_key(text: &[u8]) -> bool {
    const MARKS: [&[u8]; 5] = [
        b"PRIVATE KEY-",
        b"PRIVATE KEY BLOCK-",
        b"PRIVATE KEY -",
        b"PuTTY-User-Key-File",
        b"SSH PRIVATE KEY FILE",
    ];
    MARKS.iter().any(|mark| pem::find(text, mark).is_some())
}

/// Detects the format of a file without a certificate in PEM. `blocks` are its PEM blocks.
pub(super) fn detect(text: &[u8], blocks: &[Block<'_>]) -> FileFormat {
    if has_private_key(text) {
        return FileFormat::PrivateKey;
    }
    let found = blocks.iter().map(from_pem_label);
    // Blocks with other labels, such as EC PARAMETERS, are skipped.
    if let Some(found) = found
        .into_iter()
        .find(|found| *found != FileFormat::Unknown)
    {
        return found;
    }
    if text.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) || text.starts_with(&[0xce; 4]) {
        return FileFormat::JavaKeyStore;
    }
    if let Some(found) = detect_der(text, Encoding::Der) {
        return found;
    }
    if let Some(found) = detect_ber(text) {
        return found;
    }
    let trimmed = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let trimmed = trimmed.trim_ascii();
    if trimmed.is_empty() {
        return FileFormat::Empty;
    }
    if let Some(found) = pem::decode(trimmed).and_then(|der| detect_der(&der, Encoding::Base64)) {
        return found;
    }
    detect_text(trimmed)
}

fn from_pem_label(block: &Block<'_>) -> FileFormat {
    match block.label.as_str() {
        "PKCS7" | "PKCS #7 SIGNED DATA" => FileFormat::Pkcs7(Encoding::Pem),
        "CMS" => FileFormat::Cms,
        "PKCS12" => FileFormat::Pkcs12(Encoding::Pem),
        "TRUSTED CERTIFICATE" => FileFormat::TrustedCertificate,
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => FileFormat::Request,
        "X509 CRL" | "CRL" => FileFormat::RevocationList,
        "PUBLIC KEY" | "RSA PUBLIC KEY" => FileFormat::PublicKey,
        label if label.starts_with("PGP ") => FileFormat::OpenPgp,
        "CERTIFICATE" | "X509 CERTIFICATE" | "X.509 CERTIFICATE" => {
            FileFormat::Certificate(Encoding::Pem)
        }
        _ => FileFormat::Unknown,
    }
}

fn detect_text(text: &[u8]) -> FileFormat {
    let start: Vec<u8> = text.iter().take(512).map(u8::to_ascii_lowercase).collect();
    let has = |word: &[u8]| pem::find(&start, word).is_some();
    match text.first() {
        Some(b'<') if has(b"<html") || has(b"<!doctype html") || has(b"<head") => FileFormat::Html,
        Some(b'<') => FileFormat::Document("XML"),
        // A JWK with its private part (RFC 7517, RFC 7518).
        Some(b'{' | b'[')
            if pem::find(text, b"\"kty\"").is_some() && pem::find(text, b"\"d\"").is_some() =>
        {
            FileFormat::PrivateKey
        }
        Some(b'{' | b'[') => FileFormat::Document("JSON"),
        _ if start.starts_with(b"ssh-")
            || start.starts_with(b"ecdsa-sha2-")
            || start.starts_with(b"---- begin ssh2 public") =>
        {
            FileFormat::PublicKey
        }
        _ if pem::find(text, b"BEGIN CERTIFICATE").is_some()
            || pem::find(text, b"END CERTIFICATE").is_some() =>
        {
            FileFormat::BrokenPem
        }
        _ => FileFormat::Unknown,
    }
}
