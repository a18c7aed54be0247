//! Whether a certificate is on a revocation list that its issuer signed (RFC 5280, section 5).

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use der::asn1::ObjectIdentifier;
use der::{Decode, Header, SliceReader, Tag};
use x509_cert::crl::CertificateList;

use super::contents::{self, Contents};
use super::name::DistinguishedName;
use super::pem::{self, Block};
use super::{AsIssued, Certificate, SignatureFault, signature};

/// deltaCRLIndicator and issuingDistributionPoint
const PARTIAL: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("2.5.29.27"),
    ObjectIdentifier::new_unwrap("2.5.29.28"),
];

/// A revocation list, as a file has it.
#[derive(Debug)]
pub struct RevocationList {
    der: Vec<u8>,
    parsed: CertificateList<AsIssued>,
}

impl RevocationList {
    /// Reads the lists of a file: one in DER, or any number in PEM, as the trust in servers takes them.
    ///
    /// # Errors
    /// It cannot be read, or holds no revocation list.
    pub fn read(path: &Path) -> io::Result<Vec<Self>> {
        let none = |why: &dyn std::fmt::Display| {
            io::Error::other(format!("it is no revocation list: {why}"))
        };
        let lists = ders(&fs::read(path)?).map_err(|why| none(&why))?;
        let parsed = lists.iter().map(|der| {
            Self::from_der(der).map_err(|error| match is_version_1(der) {
                true => io::Error::other("a list of version 1 is not supported here"),
                false => none(&error),
            })
        });
        parsed.collect()
    }

    /// Reads DER.
    ///
    /// # Errors
    /// It is no revocation list.
    pub fn from_der(der: &[u8]) -> der::Result<Self> {
        Ok(Self {
            der: der.to_vec(),
            parsed: CertificateList::from_der(der)?,
        })
    }

    /// Whether `issuer` has the name that the list gives for its issuer.
    pub fn names_as_issuer(&self, issuer: &Certificate) -> bool {
        self.issuer() == issuer.subject()
    }

    /// Who issued it, by its own account.
    pub fn issuer(&self) -> DistinguishedName {
        DistinguishedName::of(&self.parsed.tbs_cert_list.issuer)
    }

    /// Whether the key of `issuer` signed it.
    ///
    /// # Errors
    /// It did not, or that cannot be checked.
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureFault> {
        signature::verify(
            &self.der,
            &self.parsed.signature_algorithm,
            self.parsed.signature.raw_bytes(),
            issuer.parsed.tbs_certificate().subject_public_key_info(),
        )
    }

    /// Whether it may leave certificates out: a list of changes, or of a part only (RFC 5280, sections 5.2.4
    /// and 5.2.5). What it does not name may be revoked all the same.
    pub fn is_partial(&self) -> bool {
        let extensions = self.parsed.tbs_cert_list.crl_extensions.iter().flatten();
        extensions
            .into_iter()
            .any(|extension| PARTIAL.contains(&extension.extn_id))
    }

    /// Whether there is a date by which a newer one is to be had.
    pub fn has_next_update(&self) -> bool {
        self.parsed.tbs_cert_list.next_update.is_some()
    }

    /// Whether it names `certificate`.
    pub fn names(&self, certificate: &Certificate) -> bool {
        let serial = certificate.parsed.tbs_certificate().serial_number();
        let revoked = self.parsed.tbs_cert_list.revoked_certificates.iter();
        revoked
            .flatten()
            .any(|entry| entry.serial_number == *serial)
    }

    /// nextUpdate as RFC 3339, where there is one.
    pub fn next_update(&self) -> Option<String> {
        let next = self.parsed.tbs_cert_list.next_update?;
        Some(next.to_date_time().to_string())
    }

    /// Whether a newer one was to be had before `now`.
    pub fn is_outdated(&self, now: SystemTime) -> bool {
        let next = self.parsed.tbs_cert_list.next_update;
        next.is_some_and(|next| next.to_system_time() < now)
    }
}

/// The DER of the lists in a file, unread.
///
/// # Errors
/// What is in it instead.
pub(crate) fn ders(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    /// RFC 7468, section 6.
    const LABELS: [&str; 2] = ["X509 CRL", "CRL"];
    let bytes = pem::from_utf16(bytes);
    let blocks = pem::blocks(&bytes);
    let lists = blocks
        .iter()
        .filter(|block| LABELS.contains(&block.label.as_str()));
    let lists = lists.map(Block::der).collect::<Result<Vec<_>, _>>()?;
    match (lists.is_empty(), contents::of(&bytes, &blocks)) {
        (false, _) => Ok(lists),
        // What this side cannot read, another may.
        (true, Contents::RevocationList | Contents::OtherDer)
            if blocks.is_empty() && bytes.first() == Some(&0x30) =>
        {
            Ok(vec![bytes.into_owned()])
        }
        (true, Contents::Unknown) => Err("it holds no CRL".to_owned()),
        (true, found) => Err(format!("it holds no CRL: {found}")),
    }
}

/// Whether it is of version 1, which has no version and no extensions (RFC 5280, section 5.1.2.1): the list
/// begins with the algorithm.
pub(crate) fn is_version_1(der: &[u8]) -> bool {
    let first = signature::to_be_signed(der).and_then(|list| {
        let mut reader = SliceReader::new(list)?;
        Header::decode(&mut reader)?;
        Tag::peek(&reader)
    });
    first == Ok(Tag::Sequence)
}
