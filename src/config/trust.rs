//! `[trust]`: the trust anchors and CRLs that authenticate the hub. The mode is mandatory, and there is no fallback
//! from one mode to another.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::environment::Environment;

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
    /// The CRLs that certificates of the Trust Framework are checked against.
    #[serde(default)]
    pub crls: Vec<CrlSource>,
    /// What a CRL that is outdated means for the hub's certificate.
    #[serde(default)]
    pub crl_stale: StaleCrl,
    /// Where `trust update` looks for Issuing CA and Root. `None`: where the scheme documents them for the environment.
    #[serde(default, deserialize_with = "anchor_urls")]
    pub anchor_urls: Option<Vec<Url>>,
}

/// A file with CRLs (PEM or DER).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlSource {
    /// The file.
    pub file: PathBuf,
    /// Where `trust update` fetches the list that it writes there. `None`: the file is somebody else's to renew.
    pub url: Option<Url>,
}

/// What a CRL means after its nextUpdate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaleCrl {
    /// The hub's certificate is refused: the list may lack what was revoked since.
    #[default]
    Refuse,
    /// The list counts as far as it goes, with a warning: whoever keeps newer lists away is not noticed otherwise.
    Warn,
}

impl StaleCrl {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Warn => "warn",
        }
    }
}

impl Trust {
    pub(crate) fn relative_to(mut self, folder: &Path) -> Self {
        self.anchors = folder.join(&self.anchors);
        for crl in &mut self.crls {
            crl.file = folder.join(&crl.file);
        }
        self
    }

    /// Where `trust update` looks for Issuing CA and Root.
    pub fn anchor_urls(&self, environment: Environment) -> Vec<Url> {
        let documented = || {
            let urls = environment.anchor_urls();
            urls.iter().filter_map(|url| Url::parse(url).ok()).collect()
        };
        self.anchor_urls.clone().unwrap_or_else(documented)
    }

    /// The files of the CRLs.
    pub fn crl_files(&self) -> impl Iterator<Item = &Path> {
        self.crls.iter().map(|crl| crl.file.as_path())
    }
}

impl From<PathBuf> for CrlSource {
    fn from(file: PathBuf) -> Self {
        Self { file, url: None }
    }
}

impl<'de> Deserialize<'de> for CrlSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CrlVisitor)
    }
}

/// Takes `"file"` and `{ file = "file", url = "http://.." }`.
struct CrlVisitor;

impl<'de> Visitor<'de> for CrlVisitor {
    type Value = CrlSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a file, or { file = \"/etc/hsm-mtls/issuer.crl\", url = \"http://host/issuer.crl\" }",
        )
    }

    fn visit_str<E: de::Error>(self, file: &str) -> Result<CrlSource, E> {
        Ok(PathBuf::from(file).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CrlSource, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            file: PathBuf,
            url: String,
        }
        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let url = fetch_url(&table.url, &["http", "https"]).ok_or_else(|| {
            de::Error::custom(
                "`url` of a CRL is an http or https URL without user and fragment: a list is believed by its signature, not by \
                 where it comes from",
            )
        })?;
        Ok(CrlSource {
            file: table.file,
            url: Some(url),
        })
    }
}

fn anchor_urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Url>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let urls = texts.iter().map(|text| fetch_url(text, &["https"]));
    let urls: Option<Vec<_>> = urls.collect();
    let urls = urls.filter(|urls| !urls.is_empty());
    urls.map(Some).ok_or_else(|| {
        de::Error::custom(
            "`anchor_urls` are https URLs without user and fragment, such as [\"https://pki.example/issuer-ca.pem\"]",
        )
    })
}

/// A URL to fetch from, of one of these schemes.
fn fetch_url(text: &str, schemes: &[&str]) -> Option<Url> {
    Url::parse(text).ok().filter(|url| {
        schemes.contains(&url.scheme())
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    })
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

    /// The SHA-256 of a file's content, which is read in pieces: a module may have tens of megabytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut piece = vec![0; 32 << 10];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => context.update(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Ok(Self(hash))
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

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix("sha256:")
            .unwrap_or(text)
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
                "a SHA-256 is 64 hexadecimal digits: of a file as `sha256sum` prints them, of a certificate as \
                 `openssl x509 -noout -fingerprint -sha256`"
                    .to_owned()
            })
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_file_or_a_file_with_the_url_that_it_is_fetched_from() {
        #[derive(Debug, Deserialize)]
        struct Table {
            crls: Vec<CrlSource>,
        }
        let read = |crls: &str| toml::from_str::<Table>(&format!("crls = [{crls}]"));
        let table = read("'a.crl', { file = 'b.crl', url = 'http://h/b.crl' }").unwrap();
        assert_eq!(table.crls[0], PathBuf::from("a.crl").into());
        assert_eq!(table.crls[1].file, Path::new("b.crl"));
        assert_eq!(
            table.crls[1].url.as_ref().unwrap().as_str(),
            "http://h/b.crl"
        );
        for wrong in [
            "{ file = 'b.crl' }",
            "{ url = 'http://h/b.crl' }",
            "{ file = 'b', url = 'ftp://h/b' }",
            "{ file = 'b', url = 'http://u:p@h/b' }",
            "{ file = 'b', url = 'http://h/b', fetch = true }",
            "7",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

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
