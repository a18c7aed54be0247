//! Our certificate chain: parsed, checked for its purpose, completed with the Issuing CA.

pub mod anchors;
pub mod crl;
mod error;
pub mod name;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::ObjectIdentifier;
use der::pem::LineEnding;
use der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::config::trust::Fingerprint;
use crate::key::public::PublicKey;
use crate::key::scheme::Scheme;
pub use error::CertificateError;
use name::DistinguishedName;

const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// A parsed certificate with its DER.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
    public_key: Option<PublicKey>,
}

impl Certificate {
    /// Reads DER. `place` names its origin in the error.
    ///
    /// # Errors
    /// It is not an X.509 certificate.
    pub fn from_der(der: &[u8], place: &str) -> Result<Self, CertificateError> {
        let parsed =
            x509_cert::Certificate::from_der(der).map_err(|error| CertificateError::Malformed {
                place: place.to_owned(),
                why: error.to_string(),
            })?;
        let spki = parsed.tbs_certificate().subject_public_key_info();
        let public_key = spki
            .to_der()
            .ok()
            .and_then(|spki| PublicKey::from_spki(&spki));
        Ok(Self {
            der: der.to_vec(),
            parsed,
            public_key,
        })
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject.
    pub fn subject(&self) -> DistinguishedName {
        DistinguishedName::of(self.parsed.tbs_certificate().subject())
    }

    /// The issuer.
    pub fn issuer(&self) -> DistinguishedName {
        DistinguishedName::of(self.parsed.tbs_certificate().issuer())
    }

    /// The serial number as a DER INTEGER.
    pub fn serial_der(&self) -> Vec<u8> {
        let serial = self.parsed.tbs_certificate().serial_number();
        // What was decoded from DER encodes again.
        serial.to_der().unwrap_or_default()
    }

    /// The public key; `None` where it is of a kind that is not supported.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// `x5t#S256` (RFC 7515, section 4.1.8): what the scheme uses as `kid`.
    pub fn x5t_s256(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.fingerprint().0)
    }

    /// notBefore as RFC 3339.
    pub fn not_before(&self) -> String {
        let validity = self.parsed.tbs_certificate().validity();
        validity.not_before.to_date_time().to_string()
    }

    /// notAfter as RFC 3339.
    pub fn not_after(&self) -> String {
        let validity = self.parsed.tbs_certificate().validity();
        validity.not_after.to_date_time().to_string()
    }

    /// Whole days until notAfter; negative once it has passed.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        let day = Duration::from_secs(86_400).as_secs() as i64;
        let end = self
            .parsed
            .tbs_certificate()
            .validity()
            .not_after
            .to_unix_duration();
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        (end.as_secs() as i64 - now.as_secs() as i64).div_euclid(day)
    }

    /// From notBefore to notAfter, in whole days.
    pub fn lifetime_days(&self) -> i64 {
        let validity = self.parsed.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs() as i64;
        (seconds(&validity.not_after) - seconds(&validity.not_before)).div_euclid(86_400)
    }

    /// notBefore.
    pub fn begins(&self) -> SystemTime {
        let validity = self.parsed.tbs_certificate().validity();
        validity.not_before.to_system_time()
    }

    /// Whether subject and issuer are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }

    /// Whether `issuer` has the name that this certificate gives for its issuer, and signed it.
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        if issuer.subject() != self.issuer() {
            return false;
        }
        let scheme = Scheme::of_x509(self.parsed.signature_algorithm().oid);
        // What was signed is the bytes as they came: encoded anew they may differ.
        let signed = SliceReader::new(&self.der).and_then(|mut der| {
            der.sequence(|certificate| {
                let tbs = certificate.tlv_bytes()?;
                let _algorithm = certificate.tlv_bytes()?;
                let _signature = certificate.tlv_bytes()?;
                Ok(tbs)
            })
        });
        match (scheme, signed, &issuer.public_key) {
            (Some(scheme), Ok(signed), Some(key)) => {
                key.verifies(scheme, signed, self.parsed.signature().raw_bytes())
            }
            _ => false,
        }
    }

    /// As PEM, byte for byte as it came.
    pub fn pem(&self) -> String {
        der::pem::encode_string("CERTIFICATE", LineEnding::LF, &self.der).unwrap_or_default()
    }

    /// Whether it is in its time and may authenticate a TLS client.
    ///
    /// # Errors
    /// Expired, not yet valid, or for another purpose.
    pub fn check_client(&self, now: SystemTime) -> Result<(), CertificateError> {
        let subject = || self.subject().to_string();
        let validity = self.parsed.tbs_certificate().validity();
        if validity.not_before.to_system_time() > now {
            return Err(CertificateError::NotYetValid {
                subject: subject(),
                not_before: self.not_before(),
            });
        }
        if validity.not_after.to_system_time() < now {
            return Err(CertificateError::Expired {
                subject: subject(),
                not_after: self.not_after(),
            });
        }
        match self.unfit_for_clients() {
            Some(why) => Err(CertificateError::NotForClients {
                subject: subject(),
                why,
            }),
            None => Ok(()),
        }
    }

    fn unfit_for_clients(&self) -> Option<&'static str> {
        let tbs = self.parsed.tbs_certificate();
        let Ok(constraints) = tbs.get_extension::<BasicConstraints>() else {
            return Some("basicConstraints cannot be read");
        };
        let Ok(usage) = tbs.get_extension::<KeyUsage>() else {
            return Some("keyUsage cannot be read");
        };
        let Ok(extended) = tbs.get_extension::<ExtendedKeyUsage>() else {
            return Some("extendedKeyUsage cannot be read");
        };
        if constraints.is_some_and(|(_, constraints)| constraints.ca) {
            return Some(error::IS_A_CA);
        }
        if usage.is_some_and(|(_, usage)| !usage.digital_signature()) {
            return Some("keyUsage has no digitalSignature");
        }
        match extended {
            Some((_, usages))
                if usages
                    .0
                    .iter()
                    .any(|usage| [CLIENT_AUTH, ANY_EXTENDED_KEY_USAGE].contains(usage)) =>
            {
                None
            }
            Some(_) => Some("extendedKeyUsage has no clientAuth"),
            None => Some("it has no extendedKeyUsage, so no clientAuth"),
        }
    }
}

/// Reads every certificate of a PEM text.
///
/// # Errors
/// There is none, or one is malformed, or a private key lies among them.
pub fn read_pem(text: &str, place: &str) -> Result<Vec<Certificate>, CertificateError> {
    // Somebody exported the key: say so before it is copied about any further.
    if text
        .lines()
        .any(|line| line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY"))
    {
        return Err(CertificateError::PrivateKeyInFile(place.to_owned()));
    }
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN CERTIFICATE-----") {
        let malformed = |why: String| CertificateError::Malformed {
            place: place.to_owned(),
            why,
        };
        const END: &str = "-----END CERTIFICATE-----";
        let length = rest[start..]
            .find(END)
            .ok_or_else(|| malformed("a PEM block has no end".to_owned()))?;
        let (block, after) = rest[start..].split_at(length + END.len());
        let (_, der) =
            der::pem::decode_vec(block.as_bytes()).map_err(|error| malformed(error.to_string()))?;
        certificates.push(Certificate::from_der(&der, place)?);
        rest = after;
    }
    if certificates.is_empty() {
        return Err(CertificateError::Empty(place.to_owned()));
    }
    Ok(certificates)
}

/// Reads every certificate of a PEM file.
///
/// # Errors
/// The file cannot be read, or as [`read_pem`].
pub fn read_file(path: &Path) -> Result<Vec<Certificate>, CertificateError> {
    let bytes = fs::read(path).map_err(|source| CertificateError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let place = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|_| CertificateError::Empty(place.clone()))?;
    read_pem(&text, &place)
}
