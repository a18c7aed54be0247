//! The attributes of a private key that matter for its custody, for the audit: their CKA_ names and values.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType};
use cryptoki::types::Date;
use serde::{Deserialize, Serialize};

use super::Key;
use super::attributes::{allowed_mechanisms, attribute, flag};
use crate::token::session::Session;

/// The attributes of type CK_BBOOL (PKCS#11 3.1, sections 4.4, 4.7 and 4.9).
const FLAGS: [(&str, AttributeType); 17] = [
    ("CKA_TOKEN", AttributeType::Token),
    ("CKA_PRIVATE", AttributeType::Private),
    ("CKA_SENSITIVE", AttributeType::Sensitive),
    ("CKA_EXTRACTABLE", AttributeType::Extractable),
    ("CKA_ALWAYS_SENSITIVE", AttributeType::AlwaysSensitive),
    ("CKA_NEVER_EXTRACTABLE", AttributeType::NeverExtractable),
    ("CKA_LOCAL", AttributeType::Local),
    ("CKA_MODIFIABLE", AttributeType::Modifiable),
    ("CKA_COPYABLE", AttributeType::Copyable),
    ("CKA_DESTROYABLE", AttributeType::Destroyable),
    ("CKA_WRAP_WITH_TRUSTED", AttributeType::WrapWithTrusted),
    ("CKA_SIGN", AttributeType::Sign),
    ("CKA_SIGN_RECOVER", AttributeType::SignRecover),
    ("CKA_DECRYPT", AttributeType::Decrypt),
    ("CKA_UNWRAP", AttributeType::Unwrap),
    ("CKA_DERIVE", AttributeType::Derive),
    ("CKA_ALWAYS_AUTHENTICATE", AttributeType::AlwaysAuthenticate),
];

/// Attribute values as the module reports them: claims, not proofs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CustodyAttributes {
    flags: Vec<(String, Option<bool>)>,
    /// CKA_KEY_TYPE
    pub key_type: Option<String>,
    /// CKA_KEY_GEN_MECHANISM
    pub key_gen_mechanism: Option<String>,
    /// CKA_ALLOWED_MECHANISMS; `None` if the token does not report it, or the list is empty.
    pub allowed_mechanisms: Option<Vec<String>>,
    /// CKA_START_DATE as YYYY-MM-DD, empty if none is set; `None` if the token does not report it.
    pub start_date: Option<String>,
    /// CKA_END_DATE, likewise.
    pub end_date: Option<String>,
}

impl CustodyAttributes {
    /// A flag by its CKA_ name; `None` if the token does not report it.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let mut flags = self.flags.iter();
        flags.find(|(known, _)| known == name)?.1
    }

    /// All attributes with their values as text.
    pub fn rows(&self) -> Vec<(String, String)> {
        let reported = |value: Option<&str>| value.unwrap_or("not told").to_owned();
        let date = |value: &Option<String>| match value.as_deref() {
            Some("") => Some("none".to_owned()),
            other => other.map(str::to_owned),
        };
        let flag =
            |value: Option<bool>| reported(value.map(|on| if on { "true" } else { "false" }));
        let mut all: Vec<_> = self
            .flags
            .iter()
            .map(|(name, value)| (name.clone(), flag(*value)))
            .collect();
        let allowed = self.allowed_mechanisms.as_ref().map(|all| all.join(", "));
        for (name, value) in [
            ("CKA_KEY_TYPE", &self.key_type),
            ("CKA_KEY_GEN_MECHANISM", &self.key_gen_mechanism),
            ("CKA_ALLOWED_MECHANISMS", &allowed),
            ("CKA_START_DATE", &date(&self.start_date)),
            ("CKA_END_DATE", &date(&self.end_date)),
        ] {
            all.push((name.to_owned(), reported(value.as_deref())));
        }
        all
    }
}

impl Key {
    /// Reads the attributes that matter for the key's custody.
    pub fn custody_attributes(&self, session: &Session) -> CustodyAttributes {
        let read = |attribute_type| attribute(session, self.handle, attribute_type);
        let flag = |attribute_type| flag(session, self.handle, attribute_type);
        let date = |attribute_type| match read(attribute_type)? {
            Attribute::StartDate(date) | Attribute::EndDate(date) => format_date(&date),
            _ => None,
        };
        let allowed = allowed_mechanisms(session, self.handle);
        CustodyAttributes {
            flags: FLAGS
                .iter()
                .map(|(name, attribute_type)| ((*name).to_owned(), flag(*attribute_type)))
                .collect(),
            key_type: match read(AttributeType::KeyType) {
                Some(Attribute::KeyType(key_type)) => Some(key_type_name(key_type)),
                _ => None,
            },
            key_gen_mechanism: match read(AttributeType::KeyGenMechanism) {
                Some(Attribute::KeyGenMechanism(mechanism)) => Some(mechanism.to_string()),
                _ => None,
            },
            allowed_mechanisms: allowed
                .map(|all| all.iter().map(MechanismType::to_string).collect()),
            start_date: date(AttributeType::StartDate),
            end_date: date(AttributeType::EndDate),
        }
    }
}

fn key_type_name(key_type: KeyType) -> String {
    match key_type {
        KeyType::RSA => "CKK_RSA".to_owned(),
        KeyType::EC => "CKK_EC".to_owned(),
        KeyType::EC_EDWARDS => "CKK_EC_EDWARDS".to_owned(),
        other => other.to_string(),
    }
}

/// Formats a CK_DATE, which has eight digits, as YYYY-MM-DD. An empty one has zeros or spaces, and becomes an empty text.
fn format_date(date: &Date) -> Option<String> {
    let all = [&date.year[..], &date.month, &date.day];
    let empty = |byte: &u8| matches!(byte, 0 | b' ' | b'0');
    if all.iter().all(|part| part.iter().all(empty)) {
        return Some(String::new());
    }
    let digits = |bytes: &&[u8]| bytes.iter().all(u8::is_ascii_digit);
    let parts = all.map(|part| str::from_utf8(part).unwrap_or_default());
    all.iter().all(digits).then(|| parts.join("-"))
}
