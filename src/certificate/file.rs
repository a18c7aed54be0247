//! Reads certificate files, in PEM or DER.

use std::fs;
use std::path::Path;

use der::{Reader, SliceReader};

use super::file_format::{self, Encoding, FileFormat};
use super::{Certificate, CertificateError, pem};

/// The PEM labels of a certificate, with the older ones of RFC 7468, section 5.1.
const LABELS: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "X.509 CERTIFICATE"];

/// Parses all certificates in PEM or DER. `input` is the name of their origin in errors. If a CA certificate is the first
/// and exactly one is not a CA certificate, that one is moved to the front: PKCS#7 sorts certificates by their bytes.
///
/// # Errors
/// There is no certificate, one is malformed, or the file holds a private key.
pub fn read(bytes: &[u8], input: &str) -> Result<Vec<Certificate>, CertificateError> {
    let bytes = pem::from_utf16(bytes);
    let blocks = pem::blocks(&bytes);
    let not_a_certificate = |format: FileFormat| match format {
        // Someone has exported a private key, which the operator has to know.
        FileFormat::PrivateKey => CertificateError::PrivateKeyInFile(input.to_owned()),
        FileFormat::Unknown => CertificateError::Empty(input.to_owned()),
        format => CertificateError::NotACertificate {
            input: input.to_owned(),
            format,
        },
    };
    if file_format::has_private_key(&bytes) {
        return Err(not_a_certificate(FileFormat::PrivateKey));
    }
    let mut certificates = Vec::new();
    for block in &blocks {
        if !LABELS.contains(&block.label.as_str()) {
            continue;
        }
        let der = block.der().map_err(|why| CertificateError::Malformed {
            input: input.to_owned(),
            why,
        })?;
        let read = Certificate::from_der(&der, input);
        match (read, file_format::detect_der(&der, Encoding::Pem)) {
            (Ok(certificate), _) => certificates.push(certificate),
            // Some tools write PKCS#7 with the label of a certificate.
            (Err(_), Some(format)) if format != FileFormat::OtherDer => {
                return Err(not_a_certificate(format));
            }
            (Err(error), _) => return Err(error),
        }
    }
    if certificates.is_empty() {
        certificates = parse_concatenated_der(&bytes);
    }
    if certificates.is_empty() {
        return Err(not_a_certificate(file_format::detect(&bytes, &blocks)));
    }
    let leaf = match certificates.first() {
        Some(first) if first.is_ca() => {
            let leaves = certificates
                .iter()
                .enumerate()
                .filter(|(_, certificate)| !certificate.is_ca());
            let leaves: Vec<_> = leaves.map(|(index, _)| index).collect();
            <[usize; 1]>::try_from(leaves).map_or(0, |[only]| only)
        }
        _ => 0,
    };
    certificates[..=leaf].rotate_right(1);
    Ok(certificates)
}

/// Parses concatenated certificates in DER; empty if there is anything else.
fn parse_concatenated_der(bytes: &[u8]) -> Vec<Certificate> {
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

/// Parses all certificates of a PEM text.
///
/// # Errors
/// As [`read`].
pub fn read_pem(text: &str, input: &str) -> Result<Vec<Certificate>, CertificateError> {
    read(text.as_bytes(), input)
}

/// Reads all certificates of a file.
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
