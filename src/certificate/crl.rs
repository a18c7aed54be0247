//! Whether a certificate is on a revocation list that its issuer signed (RFC 5280, section 5).

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use der::asn1::ObjectIdentifier;
use der::{Decode, Reader, SliceReader};
use x509_cert::crl::CertificateList;

use super::Certificate;
use super::name::DistinguishedName;
use crate::key::scheme::Scheme;

/// deltaCRLIndicator and issuingDistributionPoint
const PARTIAL: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("2.5.29.27"),
    ObjectIdentifier::new_unwrap("2.5.29.28"),
];

/// A revocation list, as a file has it.
#[derive(Debug)]
pub struct RevocationList {
    der: Vec<u8>,
    parsed: CertificateList,
}

impl RevocationList {
    /// Reads the lists of a file: one in DER, or any number in PEM, as the trust in servers takes them.
    ///
    /// # Errors
    /// It cannot be read, or holds no revocation list.
    pub fn read(path: &Path) -> io::Result<Vec<Self>> {
        let bytes = fs::read(path)?;
        let none = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("it is no revocation list: {error}"))
        };
        const BEGIN: &str = "-----BEGIN X509 CRL-----";
        const END: &str = "-----END X509 CRL-----";
        let text = str::from_utf8(&bytes).ok();
        let lists = match text.filter(|text| text.contains("-----BEGIN")) {
            None => vec![bytes],
            Some(text) => {
                let blocks = text.split(BEGIN).skip(1);
                let blocks = blocks.map(|rest| rest.split_once(END).map_or(rest, |(list, _)| list));
                let decoded = blocks.map(|list| {
                    let list = format!("{BEGIN}{list}{END}\n");
                    let (_, der) = der::pem::decode_vec(list.as_bytes()).map_err(|e| none(&e))?;
                    Ok(der)
                });
                decoded.collect::<io::Result<_>>()?
            }
        };
        if lists.is_empty() {
            return Err(none(&"there is none in it"));
        }
        let parsed = lists.into_iter().map(|der| {
            let parsed = CertificateList::from_der(&der).map_err(|error| none(&error))?;
            Ok(Self { der, parsed })
        });
        parsed.collect()
    }

    /// Whether `issuer` issued and signed it.
    pub fn is_of(&self, issuer: &Certificate) -> bool {
        let named = DistinguishedName::of(&self.parsed.tbs_cert_list.issuer) == issuer.subject();
        let scheme = Scheme::of_x509(self.parsed.signature_algorithm.oid);
        let signed = SliceReader::new(&self.der).and_then(|mut der| {
            der.sequence(|list| {
                let tbs = list.tlv_bytes()?;
                let _algorithm = list.tlv_bytes()?;
                let _signature = list.tlv_bytes()?;
                Ok(tbs)
            })
        });
        match (named, scheme, signed, issuer.public_key()) {
            (true, Some(scheme), Ok(signed), Some(key)) => {
                key.verifies(scheme, signed, self.parsed.signature.raw_bytes())
            }
            _ => false,
        }
    }

    /// Whether it may leave certificates out: a list of changes, or of a part only (RFC 5280, sections 5.2.4
    /// and 5.2.5). What it does not name may be revoked all the same.
    pub fn is_partial(&self) -> bool {
        let extensions = self.parsed.tbs_cert_list.crl_extensions.iter().flatten();
        extensions
            .into_iter()
            .any(|extension| PARTIAL.contains(&extension.extn_id))
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
