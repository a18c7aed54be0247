//! X.509 certificates: parsing, the client certificate's chain, path validation, CRLs.

pub mod anchors;
mod attribute_type;
mod chain;
pub mod crl;
pub mod crl_successor;
mod error;
mod file;
pub mod file_format;
pub(crate) mod generation;
pub mod name;
pub mod new_anchors;
mod path_validation;
mod pem;
pub mod revocation;
pub(crate) mod rsassa_pss;
pub(crate) mod signature;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::ObjectIdentifier;
use der::pem::LineEnding;
use der::{Decode, Encode};
use x509_cert::certificate::{CertificateInner, Profile};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use crate::config::KeyRole;
use crate::config::trust::Fingerprint;
use crate::key::public::PublicKey;
use crate::key::unsupported::UnsupportedKey;
pub use error::CertificateError;
pub use file::{read, read_file, read_pem};
use name::DistinguishedName;
pub use signature::SignatureError;

const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Accepts serial numbers of any length and sign, and UTCTime and GeneralizedTime for any year. RFC 5280 restricts what CAs
/// issue, and requires certificate users to handle more (section 4.1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LenientProfile;

impl Profile for LenientProfile {
    fn check_serial_number(_: &SerialNumber<Self>) -> der::Result<()> {
        Ok(())
    }

    fn time_encoding(time: Time) -> der::Result<Time> {
        Ok(time)
    }
}

/// A parsed X.509 certificate, with its DER.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: CertificateInner<LenientProfile>,
    public_key: Result<PublicKey, UnsupportedKey>,
}

impl Certificate {
    /// Parses DER. `input` is the name of its origin in the error: a path, or `the token`.
    ///
    /// # Errors
    /// The DER is not an X.509 certificate.
    pub fn from_der(der: &[u8], input: &str) -> Result<Self, CertificateError> {
        let parsed =
            CertificateInner::from_der(der).map_err(|error| CertificateError::Malformed {
                input: input.to_owned(),
                why: error.to_string(),
            })?;
        let spki = parsed.tbs_certificate().subject_public_key_info();
        let public_key = PublicKey::from_spki(&spki.to_der().unwrap_or_default());
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
        DistinguishedName::new(self.parsed.tbs_certificate().subject())
    }

    /// The issuer.
    pub fn issuer(&self) -> DistinguishedName {
        DistinguishedName::new(self.parsed.tbs_certificate().issuer())
    }

    /// The serial number as a DER INTEGER.
    pub fn serial_der(&self) -> Vec<u8> {
        let serial = self.parsed.tbs_certificate().serial_number();
        // Cannot fail: it was decoded from DER.
        serial.to_der().unwrap_or_default()
    }

    /// The public key; `None` if its type or size is not supported.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref().ok()
    }

    /// The type of the public key; `None` if it is supported.
    pub fn unsupported_key(&self) -> Option<&UnsupportedKey> {
        self.public_key.as_ref().err()
    }

    /// The SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// `x5t#S256` (RFC 7515, section 4.1.8): the SHA-256 of the DER in base64url. The Open Finance scheme uses it as `kid`.
    pub fn x5t_s256(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.fingerprint().0)
    }

    /// notBefore in RFC 3339.
    pub fn not_before(&self) -> String {
        let validity = self.parsed.tbs_certificate().validity();
        validity.not_before.to_date_time().to_string()
    }

    /// notAfter in RFC 3339.
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

    /// The time from notBefore to notAfter, in whole days.
    pub fn lifetime_days(&self) -> i64 {
        let validity = self.parsed.tbs_certificate().validity();
        let seconds = |time: &Time| time.to_unix_duration().as_secs() as i64;
        (seconds(&validity.not_after) - seconds(&validity.not_before)).div_euclid(86_400)
    }

    /// notBefore as a system time.
    pub fn not_before_time(&self) -> SystemTime {
        let validity = self.parsed.tbs_certificate().validity();
        validity.not_before.to_system_time()
    }

    /// notAfter as a system time.
    pub fn not_after_time(&self) -> SystemTime {
        let validity = self.parsed.tbs_certificate().validity();
        validity.not_after.to_system_time()
    }

    /// Whether subject and issuer are the same name (self-issued, RFC 5280, section 3.2).
    pub fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }

    /// Whether the subject of `issuer` is this certificate's issuer, and its key signed it.
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        self.names_as_issuer(issuer) && self.check_signature(issuer).is_ok()
    }

    /// Whether the subject of `issuer` is this certificate's issuer.
    pub fn names_as_issuer(&self, issuer: &Self) -> bool {
        issuer.subject() == self.issuer()
    }

    /// Whether nothing beside the signed part is free: the algorithm there is the one that is signed (RFC 5280, section
    /// 4.1.1.2), and the signature is of whole bytes.
    pub(crate) fn is_signed_whole(&self) -> bool {
        let one_algorithm =
            self.parsed.tbs_certificate().signature() == self.parsed.signature_algorithm();
        one_algorithm && self.parsed.signature().as_bytes().is_some()
    }

    /// Verifies the signature by the key of `issuer`, whatever its name.
    ///
    /// # Errors
    /// The signature does not match, or its algorithm or the key is not supported.
    pub fn check_signature(&self, issuer: &Self) -> Result<(), SignatureError> {
        signature::verify(
            &self.der,
            self.parsed.signature_algorithm(),
            self.parsed.signature().raw_bytes(),
            issuer.parsed.tbs_certificate().subject_public_key_info(),
        )
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        der::pem::encode_string("CERTIFICATE", LineEnding::LF, &self.der).unwrap_or_default()
    }

    /// Checks that the certificate is valid at `now`, has a supported key, and is for client authentication.
    ///
    /// # Errors
    /// It has expired or is not valid yet, its key is not supported, or an extension excludes client authentication.
    pub fn check_client(&self, now: SystemTime) -> Result<(), CertificateError> {
        self.check_role(KeyRole::C3, now)
    }

    /// As [`Certificate::check_client`], for the role: a Sig4 certificate need not be for client authentication.
    ///
    /// # Errors
    /// It has expired or is not valid yet, its key is not supported, or an extension excludes the role.
    pub fn check_role(&self, role: KeyRole, now: SystemTime) -> Result<(), CertificateError> {
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
        if let Some(key_type) = self.unsupported_key() {
            return Err(CertificateError::UnsupportedKey {
                subject: subject(),
                key_type: key_type.clone(),
            });
        }
        match (role, self.usage_error(role)) {
            (_, None) => Ok(()),
            (KeyRole::C3, Some(why)) => Err(CertificateError::NotForClients {
                subject: subject(),
                why,
            }),
            (KeyRole::Sig4, Some(why)) => Err(CertificateError::NotForSignatures {
                subject: subject(),
                why,
            }),
        }
    }

    /// Whether it is a CA certificate (basicConstraints).
    pub fn is_ca(&self) -> bool {
        let constraints = self
            .parsed
            .tbs_certificate()
            .get_extension::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
    }

    /// Whether keyUsage allows it to sign CRLs (RFC 5280, section 4.2.1.3).
    pub(crate) fn may_sign_crls(&self) -> bool {
        let usage = self.parsed.tbs_certificate().get_extension::<KeyUsage>();
        usage.is_ok_and(|usage| usage.is_none_or(|(_, usage)| usage.crl_sign()))
    }

    /// Which extension excludes the role, and how; `None` if none does.
    fn usage_error(&self, role: KeyRole) -> Option<&'static str> {
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
        if role == KeyRole::Sig4 {
            return None;
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
