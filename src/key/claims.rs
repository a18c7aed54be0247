//! All that a token says of a private key which bears on its custody, attribute by attribute, for an
//! audit: what it claims, in the standard's own names, and what it leaves unsaid.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType};
use cryptoki::types::Date;
use serde::{Deserialize, Serialize};

use super::Key;
use super::attributes::{allowed_mechanisms, attribute};
use crate::token::session::Session;

/// The attributes that are true or false (PKCS#11 3.1, sections 4.4, 4.7 and 4.9).
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

/// What the module claims. Claims, not proofs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Claims {
    flags: Vec<(String, Option<bool>)>,
    /// CKA_KEY_TYPE
    pub key_type: Option<String>,
    /// CKA_KEY_GEN_MECHANISM
    pub key_gen_mechanism: Option<String>,
    /// CKA_ALLOWED_MECHANISMS; `None` where it is not said, or the list is empty.
    pub allowed_mechanisms: Option<Vec<String>>,
    /// CKA_START_DATE as YYYY-MM-DD, empty where none is set; `None` where it is not told.
    pub start_date: Option<String>,
    /// CKA_END_DATE, the same.
    pub end_date: Option<String>,
}

impl Claims {
    /// A flag by its name in the standard; `None` where the token does not say.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let mut flags = self.flags.iter();
        flags.find(|(known, _)| known == name)?.1
    }

    /// All of it in words, in the order of the standard's names above.
    pub fn listed(&self) -> Vec<(String, String)> {
        let said = |value: Option<&str>| value.unwrap_or("not told").to_owned();
        let set = |value: &Option<String>| match value.as_deref() {
            Some("") => Some("none".to_owned()),
            other => other.map(str::to_owned),
        };
        let flag = |value: Option<bool>| said(value.map(|on| if on { "true" } else { "false" }));
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
            ("CKA_START_DATE", &set(&self.start_date)),
            ("CKA_END_DATE", &set(&self.end_date)),
        ] {
            all.push((name.to_owned(), said(value.as_deref())));
        }
        all
    }
}

impl Key {
    /// What the token claims about it, for an audit.
    pub fn claims(&self, session: &Session) -> Claims {
        let read = |kind| attribute(session, self.handle, kind);
        // Asked for its length first: some modules leave the buffer as it was for an attribute that they do
        // not know, and what was zero there would read as false.
        let known = |kind| {
            let told = session
                .pkcs11()
                .ok()?
                .get_attribute_info(self.handle, &[kind]);
            matches!(told.ok()?.as_slice(), [AttributeInfo::Available(1)]).then_some(())
        };
        let flag = |kind| match known(kind).and_then(|()| read(kind))? {
            Attribute::Token(on)
            | Attribute::Private(on)
            | Attribute::Sensitive(on)
            | Attribute::Extractable(on)
            | Attribute::AlwaysSensitive(on)
            | Attribute::NeverExtractable(on)
            | Attribute::Local(on)
            | Attribute::Modifiable(on)
            | Attribute::Copyable(on)
            | Attribute::Destroyable(on)
            | Attribute::WrapWithTrusted(on)
            | Attribute::Sign(on)
            | Attribute::SignRecover(on)
            | Attribute::Decrypt(on)
            | Attribute::Unwrap(on)
            | Attribute::Derive(on)
            | Attribute::AlwaysAuthenticate(on) => Some(on),
            _ => None,
        };
        let date = |kind| match read(kind)? {
            Attribute::StartDate(date) | Attribute::EndDate(date) => written(&date),
            _ => None,
        };
        let allowed = allowed_mechanisms(session, self.handle);
        Claims {
            flags: FLAGS
                .iter()
                .map(|(name, kind)| ((*name).to_owned(), flag(*kind)))
                .collect(),
            key_type: match read(AttributeType::KeyType) {
                Some(Attribute::KeyType(kind)) => Some(type_name(kind)),
                _ => None,
            },
            key_gen_mechanism: match read(AttributeType::KeyGenMechanism) {
                Some(Attribute::KeyGenMechanism(kind)) => Some(kind.to_string()),
                _ => None,
            },
            allowed_mechanisms: allowed
                .map(|all| all.iter().map(MechanismType::to_string).collect()),
            start_date: date(AttributeType::StartDate),
            end_date: date(AttributeType::EndDate),
        }
    }
}

fn type_name(kind: KeyType) -> String {
    match kind {
        KeyType::RSA => "CKK_RSA".to_owned(),
        KeyType::EC => "CKK_EC".to_owned(),
        KeyType::EC_EDWARDS => "CKK_EC_EDWARDS".to_owned(),
        other => other.to_string(),
    }
}

/// CK_DATE is eight digits without a separator. Modules fill an empty one with zeros or spaces.
fn written(date: &Date) -> Option<String> {
    let all = [&date.year[..], &date.month, &date.day];
    let empty = |byte: &u8| matches!(byte, 0 | b' ' | b'0');
    if all.iter().all(|part| part.iter().all(empty)) {
        return Some(String::new());
    }
    let digits = |bytes: &&[u8]| bytes.iter().all(u8::is_ascii_digit);
    let parts = all.map(|part| str::from_utf8(part).unwrap_or_default());
    all.iter().all(digits).then(|| parts.join("-"))
}
