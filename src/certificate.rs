//! Our certificate chain: parsed, checked for its purpose, completed with the Issuing CA.

pub mod anchors;
pub mod name;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::{Decode, Encode, EncodePem, pem::LineEnding};
use thiserror::Error;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::config::environment::Environment;
use crate::config::trust::Fingerprint;
use crate::key::public::PublicKey;
use name::DistinguishedName;

const CLIENT_AUTH: der::oid::ObjectIdentifier =
    der::oid::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_EXTENDED_KEY_USAGE: der::oid::ObjectIdentifier =
    der::oid::ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Why a certificate does not serve.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No certificate in it.
    #[error("{0} holds no PEM certificate")]
    Empty(String),
    /// A private key in it.
    #[error("{0} holds a private key")]
    PrivateKeyInFile(String),
    /// Not X.509, or of a kind that is not supported.
    #[error("{place} holds a certificate that cannot be used: {why}")]
    Malformed {
        /// Where.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The token holds none, or several.
    #[error("{} certificates in the token match {uri}{}", candidates.len(), listed(candidates))]
    NotOneInToken {
        /// What was asked for.
        uri: String,
        /// What matches.
        candidates: Vec<String>,
    },
    /// notBefore lies ahead.
    #[error("the certificate {subject} is not valid before {not_before}")]
    NotYetValid {
        /// Whose.
        subject: String,
        /// RFC 3339
        not_before: String,
    },
    /// notAfter has passed.
    #[error("the certificate {subject} expired on {not_after}")]
    Expired {
        /// Whose.
        subject: String,
        /// RFC 3339
        not_after: String,
    },
    /// It may not authenticate a client.
    #[error("the certificate {subject} is not for TLS clients: {why}")]
    NotForClients {
        /// Whose.
        subject: String,
        /// Which extension says so.
        why: &'static str,
    },
    /// Its issuer is not of the configured environment.
    #[error("the certificate was issued by {issuer}, which is not of the {environment} anchors ({})", anchors.join("; "))]
    NotOfEnvironment {
        /// The issuer.
        issuer: String,
        /// The configured environment.
        environment: Environment,
        /// Subjects of the bundle.
        anchors: Vec<String>,
    },
    /// The chain does not verify up to a root of the bundle.
    #[error("the certificate's chain does not verify: {0}")]
    Chain(String),
    /// The bundle has no root.
    #[error("{} holds no self-signed root", .0.display())]
    NoRoot(PathBuf),
    /// A root of the bundle is not among the pins.
    #[error("the root {subject} ({fingerprint}) is not among the pins of [trust]")]
    NotPinned {
        /// The root.
        subject: String,
        /// Its SHA-256.
        fingerprint: Fingerprint,
    },
}

fn listed(candidates: &[String]) -> String {
    match candidates {
        [] => String::new(),
        some => format!(": {}", some.join(", ")),
    }
}

impl CertificateError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check the path in the configuration; a new certificate is put there by `hsm-mtls cert install FILE`".to_owned()
            }
            Self::Unwritable { .. } => "run this as a user who may write there; nothing was changed".to_owned(),
            Self::Empty(_) => "give the PEM file that the Trust Framework issued: -----BEGIN CERTIFICATE-----".to_owned(),
            Self::PrivateKeyInFile(_) => {
                "a private key outside the token is not used, and is to be treated as exposed: make a new one with \
                 `hsm-mtls key generate`, and give a file of certificates only"
                    .to_owned()
            }
            Self::Malformed { .. } => "look at it with `openssl x509 -text`; fetch it anew from the Trust Framework".to_owned(),
            Self::NotOneInToken { .. } => {
                "make `certificate` of [c3] name exactly one (add id=), or keep the certificate in a file".to_owned()
            }
            Self::NotYetValid { .. } => "check this machine's clock".to_owned(),
            Self::Expired { .. } => "request a new one (`hsm-mtls csr`) and install it; check this machine's clock too".to_owned(),
            Self::NotForClients { .. } => {
                "the C3 transport certificate is for clients; is this the Sig4 or a server's certificate?".to_owned()
            }
            Self::NotOfEnvironment { environment, .. } => format!(
                "the {environment} hub takes certificates of the {} Trust Framework only; is this one of the other environment, or are the anchors?",
                environment.trust_framework()
            ),
            Self::Chain(_) => "give leaf and Issuing CA, and check `anchors` of [trust]".to_owned(),
            Self::NoRoot(_) => "`anchors` takes the Trust Framework's bundle: Issuing CA and Root".to_owned(),
            Self::NotPinned { .. } => {
                "compare the fingerprint with the Trust Framework over another channel before changing `pins`".to_owned()
            }
        }
    }
}

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

    /// The public key; `None` where it is of a kind that is not supported.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &self.der).as_ref());
        Fingerprint(hash)
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

    /// Whether subject and issuer are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        // What was decoded from DER encodes again.
        self.parsed.to_pem(LineEnding::LF).unwrap_or_default()
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
            return Some("it is a CA certificate");
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
