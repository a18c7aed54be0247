//! `[trust]`: the trust anchors and CRLs that authenticate the hub. The mode is mandatory, and there is no fallback
//! from one mode to another.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The trust anchors to which the hub's certificate may chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustMode {
    /// The roots of the configured bundle.
    TrustFramework,
    /// The public roots of the operating system's store.
    Public,
    /// Either of the two.
    Both,
}

impl TrustMode {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrustFramework => "trust-framework",
            Self::Public => "public",
            Self::Both => "both",
        }
    }

    /// Whether the Trust Framework's root satisfies this mode.
    pub fn takes_trust_framework(self) -> bool {
        matches!(self, Self::TrustFramework | Self::Both)
    }

    /// Whether a public root satisfies this mode.
    pub fn takes_public(self) -> bool {
        matches!(self, Self::Public | Self::Both)
    }
}

/// `[trust]`: trust anchors and CRLs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Which trust anchors are accepted.
    pub mode: TrustMode,
    /// The Trust Framework's bundle (PEM): Issuing CA and Root. Mandatory in every mode: the client certificate is
    /// checked against it, and the Issuing CA is sent with the leaf.
    pub anchors: PathBuf,
    /// The SHA-256 fingerprints of the roots that the bundle may contain. Empty: any root.
    #[serde(default)]
    pub pins: Vec<Fingerprint>,
    /// Files with the CRLs (PEM or DER) that certificates of the Trust Framework are checked against.
    #[serde(default)]
    pub crls: Vec<PathBuf>,
}

impl Trust {
    pub(crate) fn relative_to(mut self, folder: &Path) -> Self {
        self.anchors = folder.join(&self.anchors);
        self.crls = self.crls.iter().map(|path| folder.join(path)).collect();
        self
    }
}

/// A SHA-256 hash: of a certificate's DER, a public key, a file or a ledger record. Its `Display` is `sha256:` and 64
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The SHA-256 of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        // A single write, since each record of the ledger has several fingerprints.
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in self.0 {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bare = text
            .strip_prefix("sha256:")
            .unwrap_or(&text)
            .replace(':', "");
        let digits: Option<Vec<u8>> = bare
            .chars()
            .map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        let bytes: Option<Vec<u8>> = digits.filter(|digits| digits.len() == 64).map(|digits| {
            digits
                .chunks(2)
                .map(|pair| pair[0] << 4 | pair[1])
                .collect()
        });
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                serde::de::Error::custom(
                    "a SHA-256 is 64 hexadecimal digits: of a file as `sha256sum` prints them, of a certificate as \
                     `openssl x509 -noout -fingerprint -sha256`",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_accepted_as_openssl_prints_it() {
        #[derive(Deserialize)]
        struct Table {
            pin: Fingerprint,
        }
        let colons = vec!["AB"; 32].join(":");
        let table: Table = toml::from_str(&format!("pin = '{colons}'")).unwrap();
        assert_eq!(table.pin, Fingerprint([0xab; 32]));
        assert_eq!(table.pin.to_string(), format!("sha256:{}", "ab".repeat(32)));
        assert!(toml::from_str::<Table>("pin = 'abcd'").is_err());
        assert!(toml::from_str::<Table>(&format!("pin = '{}'", "é".repeat(64))).is_err());
    }
}
