//! PKCS#11 URIs (RFC 7512), which name a token, a key or a certificate without a slot number.
//!
//! Each path attribute of the RFC is a filter. An unknown attribute is refused, not ignored: the URI would match more
//! objects than the operator meant.

use std::fmt::{self, Display, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// The path attributes of a `pkcs11:` URI (RFC 7512, section 2.3). A missing attribute matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pkcs11Uri {
    /// `token`: the label of the token (CK_TOKEN_INFO).
    pub token: Option<String>,
    /// `manufacturer` of the token.
    pub manufacturer: Option<String>,
    /// `model` of the token.
    pub model: Option<String>,
    /// `serial` number of the token.
    pub serial: Option<String>,
    /// `slot-id`. It may not be the only attribute that selects a token ([`Pkcs11Uri::names_only_slot`]).
    pub slot_id: Option<u64>,
    /// `slot-description`.
    pub slot_description: Option<String>,
    /// `slot-manufacturer`.
    pub slot_manufacturer: Option<String>,
    /// `library-description`.
    pub library_description: Option<String>,
    /// `library-manufacturer`.
    pub library_manufacturer: Option<String>,
    /// `library-version`: major and, if written, minor.
    pub library_version: Option<(u8, Option<u8>)>,
    /// `object`: CKA_LABEL.
    pub object: Option<String>,
    /// `id`: CKA_ID, raw bytes.
    pub id: Option<Vec<u8>>,
    /// `type`: CKA_CLASS.
    pub object_type: Option<ObjectType>,
}

/// The `type` attribute of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectType {
    /// `private`: CKO_PRIVATE_KEY
    Private,
    /// `public`: CKO_PUBLIC_KEY
    Public,
    /// `cert`: CKO_CERTIFICATE
    Certificate,
    /// `secret-key`: CKO_SECRET_KEY
    SecretKey,
    /// `data`: CKO_DATA
    Data,
}

impl ObjectType {
    const ALL: [Self; 5] = [
        Self::Private,
        Self::Public,
        Self::Certificate,
        Self::SecretKey,
        Self::Data,
    ];

    /// The value of `type` in RFC 7512.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
            Self::Certificate => "cert",
            Self::SecretKey => "secret-key",
            Self::Data => "data",
        }
    }
}

/// Why a URI is not accepted. No variant holds the text of a value, which may be a PIN.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UriError {
    /// The text does not begin with the scheme.
    #[error("a PKCS#11 URI begins with `pkcs11:`")]
    Scheme,
    /// Something between two `;` is not `name=value`.
    #[error("every attribute of a PKCS#11 URI is written name=value, separated by `;`")]
    NotAPair,
    /// RFC 7512 has no such attribute.
    #[error(
        "`{0}` is not an attribute of RFC 7512 (token, manufacturer, model, serial, slot-id, slot-description, \
         slot-manufacturer, library-description, library-manufacturer, library-version, object, id, type)"
    )]
    Unknown(String),
    /// An attribute of RFC 7512 is written in capital letters.
    #[error("the attributes of a PKCS#11 URI are written in lower case: `{0}`")]
    Capitals(&'static str),
    /// An attribute is written twice.
    #[error("`{0}` is written twice")]
    Twice(String),
    /// `pin-value` would put the PIN in a file, in argv and in logs (RFC 7512, section 4).
    #[error(
        "`pin-value` is refused: a PIN does not belong in a URI; name its source with `pin = {{ file = \"...\" }}`"
    )]
    PinValue,
    /// A query attribute, for which the configuration has a field of its own.
    #[error("`{0}` is refused in a URI: the fields `module` and `pin` of [[token]] say this")]
    Query(String),
    /// A `%` that two hexadecimal digits do not follow, or text that is not UTF-8.
    #[error("the value of `{0}` is not valid percent-encoded text")]
    Encoding(String),
    /// The RFC does not allow this value.
    #[error("the value of `{name}` is not {expected}")]
    Value {
        /// The attribute.
        name: String,
        /// The expected form.
        expected: &'static str,
    },
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text
            .get(..7)
            .filter(|scheme| scheme.eq_ignore_ascii_case("pkcs11:"))
            .and_then(|_| text.get(7..))
            .ok_or(UriError::Scheme)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        if let Some(query) = query {
            refuse_query(query)?;
        }
        let mut uri = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in path.split(';').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(UriError::NotAPair)?;
            if seen.contains(&name) {
                return Err(UriError::Twice(name.to_owned()));
            }
            seen.push(name);
            uri.set(name, value)?;
        }
        Ok(uri)
    }
}

fn refuse_query(query: &str) -> Result<(), UriError> {
    let Some(pair) = query.split('&').find(|pair| !pair.is_empty()) else {
        return Ok(());
    };
    match pair.split_once('=').map_or(pair, |(name, _)| name) {
        "pin-value" => Err(UriError::PinValue),
        name @ ("pin-source" | "module-name" | "module-path") => {
            Err(UriError::Query(name.to_owned()))
        }
        name => Err(UriError::Unknown(attribute_name(name))),
    }
}

/// The attributes of RFC 7512, section 2.3, that name an object, a token, a slot or a library.
const ATTRIBUTES: [&str; 13] = [
    "token",
    "manufacturer",
    "model",
    "serial",
    "slot-id",
    "slot-description",
    "slot-manufacturer",
    "library-description",
    "library-manufacturer",
    "library-version",
    "object",
    "id",
    "type",
];

/// The error for an attribute that is not one of [`ATTRIBUTES`].
fn unknown_attribute(name: &str) -> UriError {
    let lower_case = ATTRIBUTES
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name));
    lower_case.map_or_else(
        || UriError::Unknown(attribute_name(name)),
        UriError::Capitals,
    )
}

/// The name of an attribute for an error message. One that may be part of a secret is replaced.
fn attribute_name(name: &str) -> String {
    let plain = name.len() <= 32
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_');
    if plain { name } else { "(unprintable)" }.to_owned()
}

impl Pkcs11Uri {
    fn set(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        let text = || percent_decode_text(name, value);
        match name {
            "token" => self.token = Some(text()?),
            "manufacturer" => self.manufacturer = Some(text()?),
            "model" => self.model = Some(text()?),
            "serial" => self.serial = Some(text()?),
            "slot-description" => self.slot_description = Some(text()?),
            "slot-manufacturer" => self.slot_manufacturer = Some(text()?),
            "library-description" => self.library_description = Some(text()?),
            "library-manufacturer" => self.library_manufacturer = Some(text()?),
            "object" => self.object = Some(text()?),
            "id" => self.id = Some(percent_decode(name, value)?),
            "slot-id" => {
                self.slot_id = Some(value.parse().map_err(|_| UriError::Value {
                    name: name.to_owned(),
                    expected: "a decimal number",
                })?);
            }
            "library-version" => self.library_version = Some(parse_version(name, value)?),
            "type" => {
                let object_type = ObjectType::ALL.into_iter().find(|t| t.as_str() == value);
                self.object_type = Some(object_type.ok_or(UriError::Value {
                    name: name.to_owned(),
                    expected: "one of private, public, cert, secret-key, data",
                })?);
            }
            "pin-value" => return Err(UriError::PinValue),
            "pin-source" | "module-name" | "module-path" => {
                return Err(UriError::Query(name.to_owned()));
            }
            _ => return Err(unknown_attribute(name)),
        }
        Ok(())
    }

    /// Whether an attribute names an object (`object`, `id` or `type`).
    pub fn names_object(&self) -> bool {
        self.object.is_some() || self.id.is_some() || self.object_type.is_some()
    }

    /// Whether the URI selects the token by its slot number, without `token` or `serial`. Slots are renumbered when a token
    /// is added, so such a URI could select another bank's token later.
    pub fn names_only_slot(&self) -> bool {
        self.slot_id.is_some() && self.token.is_none() && self.serial.is_none()
    }
}

fn parse_version(name: &str, value: &str) -> Result<(u8, Option<u8>), UriError> {
    let invalid = |_| UriError::Value {
        name: name.to_owned(),
        expected: "a version such as 2 or 2.40",
    };
    match value.split_once('.') {
        Some((major, minor)) => Ok((
            major.parse().map_err(invalid)?,
            Some(minor.parse().map_err(invalid)?),
        )),
        None => Ok((value.parse().map_err(invalid)?, None)),
    }
}

fn percent_decode(name: &str, value: &str) -> Result<Vec<u8>, UriError> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(UriError::Encoding(name.to_owned())),
        }
    }
    Ok(out)
}

fn percent_decode_text(name: &str, value: &str) -> Result<String, UriError> {
    String::from_utf8(percent_decode(name, value)?).map_err(|_| UriError::Encoding(name.to_owned()))
}

impl Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs: Vec<String> = Vec::new();
        let mut text = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                pairs.push(format!("{name}={}", percent_encode(value.as_bytes(), true)));
            }
        };
        text("library-description", &self.library_description);
        text("library-manufacturer", &self.library_manufacturer);
        text("slot-description", &self.slot_description);
        text("slot-manufacturer", &self.slot_manufacturer);
        text("token", &self.token);
        text("manufacturer", &self.manufacturer);
        text("model", &self.model);
        text("serial", &self.serial);
        text("object", &self.object);
        if let Some(id) = &self.id {
            pairs.push(format!("id={}", percent_encode(id, false)));
        }
        if let Some(object_type) = self.object_type {
            pairs.push(format!("type={}", object_type.as_str()));
        }
        if let Some(slot) = self.slot_id {
            pairs.push(format!("slot-id={slot}"));
        }
        match self.library_version {
            Some((major, Some(minor))) => pairs.push(format!("library-version={major}.{minor}")),
            Some((major, None)) => pairs.push(format!("library-version={major}")),
            None => {}
        }
        write!(f, "pkcs11:{}", pairs.join(";"))
    }
}

fn percent_encode(bytes: &[u8], text: bool) -> String {
    bytes.iter().fold(String::new(), |mut out, &byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        // CKA_ID is bytes, not text: each byte is percent-encoded, so that the byte 01 and the text "1" differ.
        if text && plain {
            out.push(char::from(byte));
        } else {
            // Cannot fail: a String takes any text.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

impl<'de> Deserialize<'de> for Pkcs11Uri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
