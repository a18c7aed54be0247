//! Files of certificates: what the Trust Framework issued, in whatever form it reached the machine.

use std::fs;
use std::path::Path;

use der::{Reader, SliceReader};

use super::contents::{self, Contents, Form};
use super::{Certificate, CertificateError, pem};

/// The labels of a certificate. RFC 7468, section 5.1 has old ones taken for the new.
const LABELS: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "X.509 CERTIFICATE"];

/// Reads every certificate of a file in PEM, or in DER. `place` names its origin in the error. Where a CA's
/// comes first and one alone is no CA's, that one is put first: PKCS#7 sorts its certificates by their bytes.
///
/// # Errors
/// There is none, or one is malformed, or a private key lies among them.
pub fn read(bytes: &[u8], place: &str) -> Result<Vec<Certificate>, CertificateError> {
    let bytes = pem::from_utf16(bytes);
    let blocks = pem::blocks(&bytes);
    let not_one = |found: Contents| match found {
        // Somebody exported the key: say so before it is copied about any further.
        Contents::PrivateKey => CertificateError::PrivateKeyInFile(place.to_owned()),
        Contents::Unknown => CertificateError::Empty(place.to_owned()),
        found => CertificateError::NotACertificate {
            place: place.to_owned(),
            found,
        },
    };
    if contents::names_a_private_key(&bytes) {
        return Err(not_one(Contents::PrivateKey));
    }
    let mut certificates = Vec::new();
    for block in &blocks {
        if !LABELS.contains(&block.label.as_str()) {
            continue;
        }
        let der = block.der().map_err(|why| CertificateError::Malformed {
            place: place.to_owned(),
            why,
        })?;
        let read = Certificate::from_der(&der, place);
        match (read, contents::of_der(&der, Form::Pem)) {
            (Ok(certificate), _) => certificates.push(certificate),
            // Some put their PKCS#7 under this label.
            (Err(_), Some(found)) if found != Contents::OtherDer => return Err(not_one(found)),
            (Err(error), _) => return Err(error),
        }
    }
    if certificates.is_empty() {
        certificates = all_in_der(&bytes);
    }
    if certificates.is_empty() {
        return Err(not_one(contents::of(&bytes, &blocks)));
    }
    let leaf = match certificates.first() {
        Some(first) if first.is_ca() => {
            let no_cas = certificates
                .iter()
                .enumerate()
                .filter(|(_, it)| !it.is_ca());
            let no_cas: Vec<_> = no_cas.map(|(index, _)| index).collect();
            <[usize; 1]>::try_from(no_cas).map_or(0, |[only]| only)
        }
        _ => 0,
    };
    certificates[..=leaf].rotate_right(1);
    Ok(certificates)
}

/// One certificate after the other, with nothing else.
fn all_in_der(bytes: &[u8]) -> Vec<Certificate> {
    let one_by_one = || {
        let mut reader = SliceReader::new(bytes).ok()?;
        let mut all = Vec::new();
        while !reader.is_finished() {
            all.push(Certificate::from_der(reader.tlv_bytes().ok()?, "").ok()?);
        }
        Some(all)
    };
    one_by_one().unwrap_or_default()
}

/// Reads every certificate of a PEM text.
///
/// # Errors
/// As [`read`].
pub fn read_pem(text: &str, place: &str) -> Result<Vec<Certificate>, CertificateError> {
    read(text.as_bytes(), place)
}

/// Reads every certificate of a file.
///
/// # Errors
/// The file cannot be read, or as [`read`].
pub fn read_file(path: &Path) -> Result<Vec<Certificate>, CertificateError> {
    let bytes = fs::read(path).map_err(|source| CertificateError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    read(&bytes, &path.display().to_string())
}
