//! Distinguished names, parsed and built as DER. Legal names contain commas, dots and quotes, so a name is neither built by
//! joining strings nor compared by splitting a string at its commas.

use std::fmt::{self, Display};

use der::asn1::{Any, Ia5String, ObjectIdentifier, PrintableString, SetOfVec, Utf8StringRef};
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

pub use super::attribute_type::{
    COMMON_NAME, COUNTRY, ORGANIZATION, ORGANIZATIONAL_UNIT, attribute_type,
};
use super::attribute_type::{
    DOMAIN_COMPONENT, EMAIL_ADDRESS, JURISDICTION_COUNTRY, SERIAL_NUMBER, SHORT_NAMES,
};

/// A distinguished name (RFC 5280, section 4.1.2.4). Names are compared by section 7.1: string type, case and runs of
/// white space do not matter.
#[derive(Clone, Debug)]
pub struct DistinguishedName(Name);

impl PartialEq for DistinguishedName {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for DistinguishedName {}

/// An attribute value, normalised for comparison.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// The DER of a value that is not a string.
    Other(Vec<u8>),
}

impl DistinguishedName {
    pub(super) fn new(name: &Name) -> Self {
        Self(name.clone())
    }

    /// Parses a DER Name.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        Name::from_der(der).ok().map(Self)
    }

    /// Builds a name with one attribute per RDN, in this order, in the string types that RFC 5280 (appendix A.1) requires:
    /// PrintableString for a country and serialNumber, IA5String for DC and emailAddress; all others are UTF8Strings. `None`
    /// if a value has a character that its type does not allow.
    pub fn build(attributes: &[(ObjectIdentifier, &str)]) -> Option<Self> {
        let mut sequence = RdnSequence::default();
        for (oid, text) in attributes {
            let value = match *oid {
                COUNTRY | SERIAL_NUMBER | JURISDICTION_COUNTRY => {
                    Any::from(&PrintableString::new(text).ok()?)
                }
                DOMAIN_COMPONENT | EMAIL_ADDRESS => Any::from(&Ia5String::new(text).ok()?),
                _ => Any::from(Utf8StringRef::new(text).ok()?),
            };
            let mut set = SetOfVec::new();
            set.insert(AttributeTypeAndValue { oid: *oid, value })
                .ok()?;
            sequence.push(RelativeDistinguishedName::from(set));
        }
        Self::from_der(&sequence.to_der().ok()?)
    }

    /// The DER.
    pub fn der(&self) -> Vec<u8> {
        // Cannot fail: the name was decoded from DER.
        self.0.to_der().unwrap_or_default()
    }

    /// The RDNs in order, each as a sorted list of normalised attributes.
    fn canonical(&self) -> Vec<Vec<(ObjectIdentifier, Value)>> {
        let value = |value: &Any| match string_value(value) {
            Some(text) => Value::Text(normalize(&text)),
            None => Value::Other(value.to_der().unwrap_or_default()),
        };
        let rdn = |rdn: &RelativeDistinguishedName| {
            let attributes = rdn.iter();
            let mut attributes: Vec<_> = attributes
                .map(|attribute| (attribute.oid, value(&attribute.value)))
                .collect();
            attributes.sort();
            attributes
        };
        self.0.iter_rdn().map(rdn).collect()
    }

    /// Whether this name is `base` or a name below it in the directory, as a name constraint requires.
    pub(crate) fn is_within(&self, base: &Self) -> bool {
        self.canonical().starts_with(&base.canonical())
    }

    pub(crate) fn as_x509(&self) -> &Name {
        &self.0
    }

    /// The first value of an attribute that is a string.
    pub fn first(&self, oid: ObjectIdentifier) -> Option<String> {
        self.all(oid).into_iter().next()
    }

    /// All values of an attribute that are strings.
    pub fn all(&self, oid: ObjectIdentifier) -> Vec<String> {
        let of_type = self.0.iter().filter(|attribute| attribute.oid == oid);
        Vec::from_iter(of_type.filter_map(|attribute| string_value(&attribute.value)))
    }

    fn attributes(&self) -> Option<Vec<(String, String)>> {
        self.0
            .iter()
            .map(|attribute| Some((attribute.oid.to_string(), string_value(&attribute.value)?)))
            .collect()
    }

    /// Compares this name with a name that a server rendered as text, as sets of attributes. Order and escaping of such a
    /// text are not specified, so only a difference that no rendering explains is a mismatch.
    pub fn compare(&self, rendered: &str) -> Comparison {
        let Some(attributes) = self.attributes() else {
            return Comparison::Inconclusive;
        };
        let Some(mut parsed) = parse(rendered) else {
            return Comparison::Inconclusive;
        };
        if parsed.len() != attributes.len() {
            return Comparison::Mismatch;
        }
        let mut inconclusive = false;
        for (oid, value) in attributes {
            if let Some(at) = parsed
                .iter()
                .position(|(other, text)| *other == oid && normalize(text) == normalize(&value))
            {
                parsed.swap_remove(at);
            } else if !value.is_ascii() && parsed.iter().any(|(other, _)| *other == oid) {
                // Servers garble non-ASCII characters in many ways: a difference there proves nothing.
                inconclusive = true;
            } else {
                return Comparison::Mismatch;
            }
        }
        if inconclusive {
            Comparison::Inconclusive
        } else {
            Comparison::Match
        }
    }
}

/// The result of comparing a rendered name with a certificate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same attributes with the same values.
    Match,
    /// A different name, however it is rendered.
    Mismatch,
    /// The rendering has an unknown form, or is garbled.
    Inconclusive,
}

/// Normalises case and white space (RFC 5280, section 7.1).
fn normalize(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// The text of a value of any string type; `None` for other types.
fn string_value(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => value.decode_as::<String>().ok(),
        Tag::PrintableString => value
            .decode_as::<PrintableString>()
            .ok()
            .map(|text| text.to_string()),
        Tag::Ia5String => value
            .decode_as::<Ia5String>()
            .ok()
            .map(|text| text.to_string()),
        // TeletexString is Latin-1 in practice; BMPString is UTF-16.
        Tag::NumericString | Tag::VisibleString | Tag::TeletexString => {
            Some(value.value().iter().map(|byte| char::from(*byte)).collect())
        }
        Tag::BmpString => {
            let pairs = value.value().chunks_exact(2);
            let units: Vec<u16> = pairs
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// Formats the attributes in the order of the certificate, with the escapes of RFC 4514.
impl Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attribute) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let oid = attribute.oid.to_string();
            let name = SHORT_NAMES
                .iter()
                .find(|(_, known)| *known == oid)
                .map_or(oid.as_str(), |(name, _)| name);
            let value = string_value(&attribute.value).unwrap_or_else(|| "(unreadable)".to_owned());
            write!(f, "{separator}{name}={}", escape(&value))?;
        }
        Ok(())
    }
}

fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (index, c) in value.char_indices() {
        let at_edge = index == 0 || index + c.len_utf8() == value.len();
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (c == ' ' && at_edge)
            || (c == '#' && index == 0);
        if special {
            out.push('\\');
        }
        // Control characters could manipulate the reader's terminal.
        out.push(if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        });
    }
    out
}

/// Parses RFC 4514 (either separator, either order, and RFC 1779's quotes) and OpenSSL's one-line form into (OID,
/// value). `None` if the text is neither.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let (text, separators): (&str, &[char]) = match text.strip_prefix('/') {
        Some(rest) => (rest, &['/']),
        None => (text, &[',', ';', '+']),
    };
    let mut attributes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = parse_value(after, separators)?;
        attributes.push((parse_attribute_type(name.trim())?, value));
        rest = after;
    }
    Some(attributes)
}

/// The OID of an attribute type's short name or dotted OID.
fn parse_attribute_type(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("OID.").unwrap_or(&upper);
    SHORT_NAMES
        .iter()
        .find(|(known, _)| *known == bare)
        .map(|(_, oid)| (*oid).to_owned())
        .or_else(|| ObjectIdentifier::new(bare).ok().map(|oid| oid.to_string()))
}

/// The first value in `text`, unescaped, and the rest behind its separator.
fn parse_value<'a>(text: &'a str, separators: &[char]) -> Option<(String, &'a str)> {
    let text = text.trim_start_matches(' ');
    if text.starts_with('#') {
        // Hexadecimal DER (RFC 4514, section 2.4) is not parsed.
        return None;
    }
    let mut value: Vec<u8> = Vec::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    if text.starts_with('"') {
        quoted = true;
        chars.next();
    }
    // Trailing spaces are removed unless they were escaped.
    let mut keep = 0;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let rest = &text[at + 1..];
                // `\C3` of RFC 4514, `\xC3` of OpenSSL, or an escaped character.
                let (digits, skip) = match rest.strip_prefix('x') {
                    Some(digits) => (digits, 3),
                    None => (rest, 2),
                };
                if let Some(byte) = digits
                    .get(..2)
                    // from_str_radix would accept the sign of `+A`.
                    .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok())
                {
                    value.push(byte);
                    for _ in 0..skip {
                        chars.next();
                    }
                } else {
                    let (_, escaped) = chars.next()?;
                    value.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
                }
                keep = value.len();
            }
            '"' if quoted => {
                let rest = text[at + 1..].trim_start_matches(' ');
                let rest = rest
                    .strip_prefix(separators)
                    .or(Some(rest).filter(|rest| rest.is_empty()))?;
                return Some((String::from_utf8(value).ok()?, rest));
            }
            c if !quoted && separators.contains(&c) => {
                value.truncate(keep.max(value.trim_ascii_end().len()));
                return Some((String::from_utf8(value).ok()?, &text[at + c.len_utf8()..]));
            }
            c => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if quoted {
        return None;
    }
    value.truncate(keep.max(value.trim_ascii_end().len()));
    Some((String::from_utf8(value).ok()?, ""))
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
