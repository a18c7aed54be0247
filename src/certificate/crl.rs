//! Certificate revocation lists (RFC 5280, section 5).

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use der::asn1::ObjectIdentifier;
use der::{Decode, Header, SliceReader, Tag};
use x509_cert::crl::CertificateList;

use super::file_format::{self, FileFormat};
use super::name::DistinguishedName;
use super::pem::{self, Block};
use super::{Certificate, LenientProfile, SignatureError, signature};

/// The extensions of partial CRLs: deltaCRLIndicator and issuingDistributionPoint.
const PARTIAL_CRL_EXTENSIONS: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("2.5.29.27"),
    ObjectIdentifier::new_unwrap("2.5.29.28"),
];

/// A parsed CRL with its DER.
#[derive(Debug)]
pub struct RevocationList {
    der: Vec<u8>,
    parsed: CertificateList<LenientProfile>,
}

impl RevocationList {
    /// Reads the CRLs in a file: one in DER, or any number in PEM.
    ///
    /// # Errors
    /// The file cannot be read, or contains no CRL that can be parsed.
    pub fn read(path: &Path) -> io::Result<Vec<Self>> {
        let not_a_crl = |why: &dyn std::fmt::Display| {
            io::Error::other(format!("it is no revocation list: {why}"))
        };
        let lists = extract_ders(&fs::read(path)?).map_err(|why| not_a_crl(&why))?;
        let parsed = lists.iter().map(|der| {
            Self::from_der(der).map_err(|error| match is_version_1(der) {
                true => io::Error::other("a list of version 1 is not supported here"),
                false => not_a_crl(&error),
            })
        });
        parsed.collect()
    }

    /// Parses DER.
    ///
    /// # Errors
    /// The DER is not a CRL.
    pub fn from_der(der: &[u8]) -> der::Result<Self> {
        Ok(Self {
            der: der.to_vec(),
            parsed: CertificateList::from_der(der)?,
        })
    }

    /// Whether the subject of `issuer` is this CRL's issuer.
    pub fn names_as_issuer(&self, issuer: &Certificate) -> bool {
        self.issuer() == issuer.subject()
    }

    /// The issuer.
    pub fn issuer(&self) -> DistinguishedName {
        DistinguishedName::new(&self.parsed.tbs_cert_list.issuer)
    }

    /// Verifies the signature by the key of `issuer`.
    ///
    /// # Errors
    /// The signature does not match, or its algorithm or the key is not supported.
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        signature::verify(
            &self.der,
            &self.parsed.signature_algorithm,
            self.parsed.signature.raw_bytes(),
            issuer.parsed.tbs_certificate().subject_public_key_info(),
        )
    }

    /// Whether this is a delta CRL or has an issuingDistributionPoint (RFC 5280, sections 5.2.4 and 5.2.5). A certificate
    /// that such a CRL does not list may still be revoked.
    pub fn is_partial(&self) -> bool {
        let extensions = self.parsed.tbs_cert_list.crl_extensions.iter().flatten();
        extensions
            .into_iter()
            .any(|extension| PARTIAL_CRL_EXTENSIONS.contains(&extension.extn_id))
    }

    /// Whether the CRL has a nextUpdate.
    pub fn has_next_update(&self) -> bool {
        self.parsed.tbs_cert_list.next_update.is_some()
    }

    /// Whether the CRL lists the serial number of `certificate`.
    pub fn lists(&self, certificate: &Certificate) -> bool {
        let serial = certificate.parsed.tbs_certificate().serial_number();
        let revoked = self.parsed.tbs_cert_list.revoked_certificates.iter();
        revoked
            .flatten()
            .any(|entry| entry.serial_number == *serial)
    }

    /// nextUpdate in RFC 3339.
    pub fn next_update(&self) -> Option<String> {
        let next = self.parsed.tbs_cert_list.next_update?;
        Some(next.to_date_time().to_string())
    }

    /// Whether nextUpdate is before `now`.
    pub fn is_outdated(&self, now: SystemTime) -> bool {
        let next = self.parsed.tbs_cert_list.next_update;
        next.is_some_and(|next| next.to_system_time() < now)
    }
}

/// The DER of each CRL in a file, not parsed.
///
/// # Errors
/// The file contains no CRL; the text is its format.
pub(crate) fn extract_ders(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    /// RFC 7468, section 6.
    const LABELS: [&str; 2] = ["X509 CRL", "CRL"];
    let bytes = pem::from_utf16(bytes);
    let blocks = pem::blocks(&bytes);
    let lists = blocks
        .iter()
        .filter(|block| LABELS.contains(&block.label.as_str()));
    let lists = lists.map(Block::der).collect::<Result<Vec<_>, _>>()?;
    match (lists.is_empty(), file_format::detect(&bytes, &blocks)) {
        (false, _) => Ok(lists),
        // DER that this crate does not parse as a CRL, but rustls may.
        (true, FileFormat::RevocationList | FileFormat::OtherDer)
            if blocks.is_empty() && bytes.first() == Some(&0x30) =>
        {
            Ok(vec![bytes.into_owned()])
        }
        (true, FileFormat::Unknown) => Err("it holds no CRL".to_owned()),
        (true, found) => Err(format!("it holds no CRL: {found}")),
    }
}

/// Whether a CRL is of version 1 (RFC 5280, section 5.1.2.1). It has no version field, and so begins with the signature
/// algorithm.
pub(crate) fn is_version_1(der: &[u8]) -> bool {
    let first = signature::to_be_signed(der).and_then(|list| {
        let mut reader = SliceReader::new(list)?;
        Header::decode(&mut reader)?;
        Tag::peek(&reader)
    });
    first == Ok(Tag::Sequence)
}
