//! Certificate revocation lists (RFC 5280, section 5).

mod scan;
mod scope;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use der::asn1::{Any, BitString, ObjectIdentifier};
use der::{Decode, Header, Reader, SliceReader, Tag};
use spki::AlgorithmIdentifier;
use x509_cert::ext::Extensions;
use x509_cert::name::Name;
use x509_cert::time::Time;

use self::scan::{Parts, entries, significant};
use super::file_format::{self, FileFormat};
use super::name::DistinguishedName;
use super::pem::{self, Block};
use super::{Certificate, SignatureError, signature};

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");

/// The names of CRLReason (RFC 5280, section 5.3.1), by number. 7 is not used.
const REASONS: [&str; 11] = [
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "unspecified",
    "removeFromCRL",
    "privilegeWithdrawn",
    "aACompromise",
];

/// A CRL with its DER. Its entries stay in there, and are read one by one: a list may have a million.
#[derive(Debug)]
pub struct RevocationList {
    /// Shared: a list may have 50 MB.
    der: Arc<Vec<u8>>,
    algorithm: AlgorithmIdentifier<Any>,
    signature: BitString,
    issuer: Name,
    this_update: Time,
    next_update: Option<Time>,
    extensions: Extensions,
    count: usize,
}

/// An entry of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedEntry {
    /// revocationDate in RFC 3339.
    pub since: String,
    /// reasonCode by its name in RFC 5280, if there is one.
    pub reason: Option<&'static str>,
}

impl RevocationList {
    /// Reads the CRLs in a file: one in DER, or any number in PEM.
    ///
    /// # Errors
    /// The file cannot be read, or contains no CRL that can be parsed.
    pub fn read(path: &Path) -> io::Result<Vec<Self>> {
        Self::read_bytes(read_file(path)?)
    }

    /// The same of the content of a file.
    ///
    /// # Errors
    /// It contains no CRL that can be parsed.
    pub fn read_bytes(bytes: Vec<u8>) -> io::Result<Vec<Self>> {
        let not_a_crl = |why: &dyn std::fmt::Display| {
            io::Error::other(format!("it is no revocation list: {why}"))
        };
        let lists = extract_ders(bytes).map_err(|why| not_a_crl(&why))?;
        let parsed = lists.into_iter().map(|der| {
            let version_1 = is_version_1(&der);
            Self::from_der(der).map_err(|error| match version_1 {
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
    pub fn from_der(der: impl Into<Vec<u8>>) -> der::Result<Self> {
        Self::from_shared(Arc::new(der.into()))
    }

    /// Parses DER that others have too.
    ///
    /// # Errors
    /// The DER is not a CRL.
    pub(crate) fn from_shared(der: Arc<Vec<u8>>) -> der::Result<Self> {
        let parts = Parts::decode(&der)?;
        let count = parts.count_entries()?;
        Ok(Self {
            algorithm: parts.algorithm,
            signature: parts.signature,
            issuer: parts.issuer,
            this_update: parts.this_update,
            next_update: parts.next_update,
            extensions: parts.extensions,
            count,
            der,
        })
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether the subject of `issuer` is this CRL's issuer.
    pub fn names_as_issuer(&self, issuer: &Certificate) -> bool {
        self.issuer() == issuer.subject()
    }

    /// The issuer.
    pub fn issuer(&self) -> DistinguishedName {
        DistinguishedName::new(&self.issuer)
    }

    /// Verifies the signature by the key of `issuer`.
    ///
    /// # Errors
    /// The signature does not match, or its algorithm or the key is not supported.
    pub fn check_signature(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        signature::verify(
            &self.der,
            &self.algorithm,
            self.signature.raw_bytes(),
            issuer.parsed.tbs_certificate().subject_public_key_info(),
        )
    }

    /// Whether the CRL has a nextUpdate.
    pub fn has_next_update(&self) -> bool {
        self.next_update.is_some()
    }

    /// The number of entries.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether the CRL lists the serial number of `certificate`.
    pub fn lists(&self, certificate: &Certificate) -> bool {
        self.entry_of(certificate).is_some()
    }

    /// The entry with the serial number of `certificate`.
    pub fn entry_of(&self, certificate: &Certificate) -> Option<RevokedEntry> {
        let serial = certificate.serial_der();
        let serial = significant(&serial);
        let revoked = Parts::decode(&self.der).ok()?.revoked;
        let mut entries = entries(revoked).filter_map(Result::ok);
        let (_, entry) = entries.find(|(number, _)| significant(number) == serial)?;
        let mut entry = SliceReader::new(entry).ok()?;
        let since = Time::decode(&mut entry).ok()?;
        let extensions = Extensions::decode(&mut entry).unwrap_or_default();
        let reason = extensions.iter().find(|it| it.extn_id == REASON_CODE);
        let reason = reason.and_then(|reason| match reason.extn_value.as_bytes() {
            // ENUMERATED of one byte.
            [10, 1, number] => REASONS.get(usize::from(*number)).copied(),
            _ => None,
        });
        Some(RevokedEntry {
            since: since.to_date_time().to_string(),
            reason,
        })
    }

    /// cRLNumber (RFC 5280, section 5.2.3) as a big-endian number. Numbers are in the order of their lengths, then of their bytes.
    pub fn number(&self) -> Option<Vec<u8>> {
        let number = self.extensions.iter().find(|it| it.extn_id == CRL_NUMBER)?;
        let mut reader = SliceReader::new(number.extn_value.as_bytes()).ok()?;
        let number = reader.tlv_bytes().ok()?;
        Some(significant(number).to_vec())
    }

    /// thisUpdate in RFC 3339.
    pub fn this_update(&self) -> String {
        self.this_update.to_date_time().to_string()
    }

    /// thisUpdate as a system time.
    pub fn this_update_time(&self) -> SystemTime {
        self.this_update.to_system_time()
    }

    /// nextUpdate in RFC 3339.
    pub fn next_update(&self) -> Option<String> {
        Some(self.next_update?.to_date_time().to_string())
    }

    /// nextUpdate as a system time.
    pub fn next_update_time(&self) -> Option<SystemTime> {
        Some(self.next_update?.to_system_time())
    }

    /// Whether nextUpdate is before `now`.
    pub fn is_outdated(&self, now: SystemTime) -> bool {
        self.next_update_time().is_some_and(|next| next < now)
    }
}

/// Reads a file of CRLs. A large one gets a mapping of its own, which goes back to the system when it is freed: glibc keeps smaller pieces
/// (up to its largest threshold for mappings, 32 MiB) for each thread that reads one, and each reload has its own thread.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    const LARGE: usize = 1 << 20;
    const OWN_MAPPING: usize = 33 << 20;
    let mut file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    // One byte more, in which the end is found.
    let mut bytes = Vec::with_capacity(match len {
        LARGE.. => OWN_MAPPING.max(len + 1),
        len => len + 1,
    });
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The DER of each CRL in a file, not parsed.
///
/// # Errors
/// The file contains no CRL; the text is its format.
pub(crate) fn extract_ders(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    /// RFC 7468, section 6.
    const LABELS: [&str; 2] = ["X509 CRL", "CRL"];
    // DER that holds no PEM: a list may be large, and is not copied.
    if bytes.first() == Some(&0x30) && pem::blocks(&bytes).is_empty() {
        if is_list(&bytes) {
            return Ok(vec![bytes]);
        }
        match file_format::detect(&bytes, &[]) {
            // rustls may parse what this crate does not.
            FileFormat::RevocationList | FileFormat::OtherDer => return Ok(vec![bytes]),
            FileFormat::Unknown => return Err("it holds no CRL".to_owned()),
            found => return Err(format!("it holds no CRL: {found}")),
        }
    }
    let bytes = pem::from_utf16(&bytes);
    let blocks = pem::blocks(&bytes);
    let lists = blocks
        .iter()
        .filter(|block| LABELS.contains(&block.label.as_str()));
    let lists = lists.map(Block::der).collect::<Result<Vec<_>, _>>()?;
    if !lists.is_empty() {
        return Ok(lists);
    }
    match file_format::detect(&bytes, &blocks) {
        FileFormat::Unknown => Err("it holds no CRL".to_owned()),
        found => Err(format!("it holds no CRL: {found}")),
    }
}

/// Whether DER is a CRL.
pub(super) fn is_list(der: &[u8]) -> bool {
    Parts::decode(der).is_ok_and(|parts| parts.count_entries().is_ok())
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
