//! `[c3]`, the transport identity: the private key, its certificate, and the subject of a certificate request.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::field;
use super::subject::SubjectConfig;
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
    /// What key and certificate are for: not in the file, and [`KeyRole::C3`] unless [`super::Config::for_sig4`] says else.
    #[serde(skip)]
    pub role: KeyRole,
}

/// The commands that take `--sig4`.
const OF_EITHER_ROLE: [&str; 16] = [
    "hsm-mtls csr",
    "hsm-mtls key generate",
    "hsm-mtls key list",
    "hsm-mtls cert install",
    "hsm-mtls cert show",
    "hsm-mtls token check",
    "hsm-mtls token list",
    "hsm-mtls pin accept-count-low",
    "hsm-mtls rotate start",
    "hsm-mtls rotate install",
    "hsm-mtls rotate test",
    "hsm-mtls rotate switch",
    "hsm-mtls rotate back",
    "hsm-mtls rotate retire",
    "hsm-mtls rotate abandon",
    "hsm-mtls rotate status",
];

/// What a key and its certificate are for, in the scheme's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyRole {
    /// Transport: client authentication in TLS.
    #[default]
    C3,
    /// Signing: JWT Auth.
    Sig4,
}

impl KeyRole {
    /// The section of the configuration, without its brackets.
    pub fn section(self) -> &'static str {
        match self {
            Self::C3 => "c3",
            Self::Sig4 => "sig4",
        }
    }

    /// The scheme's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::C3 => "C3",
            Self::Sig4 => "Sig4",
        }
    }

    /// Advice that is worded for C3, worded for this role: with its section, its name and the option of the commands.
    pub fn advice(self, of_c3: &str) -> String {
        if self == Self::C3 {
            return of_c3.to_owned();
        }
        let section = of_c3
            .replace("[c3]", "[sig4]")
            .replace("the C3", "the Sig4");
        let with_option = |text: String, command: &&str| {
            let option = format!("{command} --sig4");
            // Where the advice has the option already, it stays as it is.
            text.replace(&option, command).replace(command, &option)
        };
        OF_EITHER_ROLE.iter().fold(section, with_option)
    }
}

/// Where a certificate chain is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// A PEM file, leaf first.
    File(PathBuf),
    /// A certificate object in the token; the Issuing CA is taken from the anchors.
    Token(Box<Pkcs11Uri>),
}

impl C3Config {
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        self.certificate = relative_source(self.certificate, folder);
        self
    }
}

pub(super) fn relative_source(source: CertificateSource, folder: &Path) -> CertificateSource {
    match source {
        CertificateSource::File(path) => CertificateSource::File(folder.join(path)),
        in_token @ CertificateSource::Token(_) => in_token,
    }
}

impl CertificateSource {
    /// The URI, if it is an object in the token.
    pub(super) fn in_token(&self) -> Option<&Pkcs11Uri> {
        match self {
            Self::Token(uri) => Some(uri),
            Self::File(_) => None,
        }
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

#[cfg(test)]
mod tests {
    use super::KeyRole;

    #[test]
    fn advice_names_section_and_option_of_the_role() {
        let of_c3 = "correct `key` of [c3], or make the C3 key with `hsm-mtls key generate` (`hsm-mtls csr --sig4`, [c3.subject])";
        assert_eq!(KeyRole::C3.advice(of_c3), of_c3);
        assert_eq!(
            KeyRole::Sig4.advice(of_c3),
            "correct `key` of [sig4], or make the Sig4 key with `hsm-mtls key generate --sig4` (`hsm-mtls csr --sig4`, [c3.subject])"
        );
    }
}
