//! `[c3]`, the transport identity: the private key, its certificate, and the subject of a certificate request.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::field;
use super::uri::{ObjectType, Pkcs11Uri};

/// `[c3]`: the transport identity.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct C3Config {
    /// The URI of the private key, which must match exactly one.
    #[serde(deserialize_with = "field::private_key_uri")]
    pub key: Pkcs11Uri,
    /// The source of the certificate.
    pub certificate: CertificateSource,
    /// The subject of a certificate request.
    #[serde(default)]
    pub subject: Option<SubjectConfig>,
}

/// Where a certificate chain is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// A PEM file, leaf first.
    File(PathBuf),
    /// A certificate object in the token; the Issuing CA is taken from the anchors.
    Token(Box<Pkcs11Uri>),
}

/// `[c3.subject]`: what a certificate request asks for, in the order C, O, OU, CN.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectConfig {
    /// C, two letters.
    #[serde(default = "field::default_country")]
    pub country: String,
    /// O, the legal name exactly as registered.
    pub organization: String,
    /// OU, the Trust Framework's organisation id (a UUID).
    pub organizational_unit: String,
    /// CN, the application's client id (a UUID).
    pub common_name: String,
}

impl C3Config {
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        if let CertificateSource::File(certificate) = &mut self.certificate {
            *certificate = folder.join(&*certificate);
        }
        self
    }
}

impl<'de> Deserialize<'de> for CertificateSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with("pkcs11:") {
            let uri: Pkcs11Uri = text.parse().map_err(serde::de::Error::custom)?;
            match uri.object_type {
                None | Some(ObjectType::Certificate) => Ok(Self::Token(Box::new(uri))),
                Some(_) => Err(serde::de::Error::custom(
                    "a certificate in the token has type=cert",
                )),
            }
        } else {
            Ok(Self::File(text.into()))
        }
    }
}
