//! What can be tried with a key without changing anything and without any of it coming near us: whether
//! the token would tell its private components, and whether it would wrap it.
//!
//! Both are asked for by length only. A length that is answered is the finding; no call here has a place
//! that key material could be written to.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{
    Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle,
};
use serde::{Deserialize, Serialize};

use super::attributes::attribute;
use super::{Key, object_uri};
use crate::config::uri::ObjectType;
use crate::token::Token;
use crate::token::fault::Fault;
use crate::token::session::Session;

/// What a trial came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The token refused, with this return value.
    Refused(String),
    /// It would have done it, or did: what it answered.
    Done(String),
    /// Nothing follows from it, and why.
    NothingFollows(String),
}

/// Something that was asked of the token, and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The call, in the standard's words.
    pub asked: String,
    /// What came of it.
    pub answer: Answer,
}

impl Trial {
    pub(super) fn new(asked: impl Into<String>, answer: Answer) -> Self {
        Self {
            asked: asked.into(),
            answer,
        }
    }
}

/// What makes up a private key (PKCS#11 3.1, sections 6.1.3 and 6.3.4).
fn components(kind: Option<KeyType>) -> &'static [(&'static str, AttributeType)] {
    const RSA: [(&str, AttributeType); 6] = [
        ("CKA_PRIVATE_EXPONENT", AttributeType::PrivateExponent),
        ("CKA_PRIME_1", AttributeType::Prime1),
        ("CKA_PRIME_2", AttributeType::Prime2),
        ("CKA_EXPONENT_1", AttributeType::Exponent1),
        ("CKA_EXPONENT_2", AttributeType::Exponent2),
        ("CKA_COEFFICIENT", AttributeType::Coefficient),
    ];
    const EC: [(&str, AttributeType); 1] = [("CKA_VALUE", AttributeType::Value)];
    match kind {
        Some(KeyType::RSA) => &RSA,
        _ => &EC,
    }
}

impl Key {
    /// Asks how long each private component is: C_GetAttributeValue with no place for the value.
    pub fn try_to_read(&self, session: &Session) -> Vec<Trial> {
        let kind = match attribute(session, self.handle, AttributeType::KeyType) {
            Some(Attribute::KeyType(kind)) => Some(kind),
            _ => None,
        };
        let length = |kind| {
            let session = session.pkcs11()?;
            let told = session.get_attribute_info(self.handle, &[kind]);
            told.map_err(Fault::of)
        };
        let trial = |(name, kind): &(&str, AttributeType)| {
            let answer = match length(*kind).as_deref() {
                Ok([AttributeInfo::Sensitive]) => {
                    Answer::Refused("CKR_ATTRIBUTE_SENSITIVE".to_owned())
                }
                Ok([AttributeInfo::Available(0)]) => {
                    Answer::NothingFollows("a length of 0".to_owned())
                }
                Ok([AttributeInfo::Available(length)]) => {
                    Answer::Done(format!("it is {length} bytes long, and would be told"))
                }
                // Of an attribute that the key does not have, too.
                Ok([AttributeInfo::Unavailable]) => {
                    Answer::NothingFollows("CK_UNAVAILABLE_INFORMATION".to_owned())
                }
                Ok([AttributeInfo::TypeInvalid]) => {
                    Answer::NothingFollows("CKR_ATTRIBUTE_TYPE_INVALID".to_owned())
                }
                Ok(_) => Answer::NothingFollows("no answer for it".to_owned()),
                Err(fault) => of_fault(fault, &READ),
            };
            Trial::new(format!("length of {name}"), answer)
        };
        components(kind).iter().map(trial).collect()
    }

    /// Asks how long this key would be, wrapped by each wrapping key that can be seen here:
    /// C_WrapKey with no place for its output. A list of trials for each wrapping key.
    pub fn try_to_wrap(&self, session: &Session, token: &Token) -> Vec<Vec<Trial>> {
        let mut all = Vec::new();
        for (class, object_type) in [
            (ObjectClass::SECRET_KEY, ObjectType::SecretKey),
            (ObjectClass::PUBLIC_KEY, ObjectType::Public),
        ] {
            let template = [Attribute::Class(class), Attribute::Wrap(true)];
            let found = session
                .pkcs11()
                .and_then(|session| session.find_objects(&template).map_err(Fault::of));
            let found = match found {
                Ok(found) => found,
                Err(fault) => {
                    let asked = "C_FindObjects for wrapping keys";
                    all.push(vec![Trial::new(asked, of_fault(&fault, &[]))]);
                    continue;
                }
            };
            for wrapping_key in found.iter().take(MOST_WRAPPING_KEYS) {
                let uri = object_uri(session, token, *wrapping_key, object_type);
                let mut trials = wrap(session, token, *wrapping_key, self.handle);
                for trial in &mut trials {
                    trial.asked.push_str(&format!(" with {uri}"));
                }
                all.push(trials);
            }
            if found.len() > MOST_WRAPPING_KEYS {
                let asked = format!("C_WrapKey with {} more", found.len() - MOST_WRAPPING_KEYS);
                let why = "not tried: too many".to_owned();
                all.push(vec![Trial::new(asked, Answer::NothingFollows(why))]);
            }
        }
        all
    }
}

/// Of each class. What is beyond it is said to be untried.
const MOST_WRAPPING_KEYS: usize = 16;

/// C_WrapKey by each mechanism that fits the wrapping key and that the token lists.
pub(super) fn wrap(
    session: &Session,
    token: &Token,
    wrapping_key: ObjectHandle,
    key: ObjectHandle,
) -> Vec<Trial> {
    let kind = match attribute(session, wrapping_key, AttributeType::KeyType) {
        Some(Attribute::KeyType(kind)) => Some(kind),
        _ => None,
    };
    let mechanisms = match kind {
        Some(KeyType::AES) => vec![
            Mechanism::AesKeyWrapPad,
            Mechanism::AesKeyWrap,
            Mechanism::AesCbcPad([0; 16]),
        ],
        Some(KeyType::RSA) => vec![
            Mechanism::RsaPkcs,
            Mechanism::RsaPkcsOaep(PkcsOaepParams::new(
                MechanismType::SHA1,
                PkcsMgfType::MGF1_SHA1,
                PkcsOaepSource::empty(),
            )),
        ],
        Some(KeyType::DES3) => vec![Mechanism::Des3Cbc([0; 8])],
        _ => Vec::new(),
    };
    let listed = mechanisms
        .into_iter()
        .filter(|mechanism| token.mechanisms().can_wrap(mechanism.mechanism_type()));
    let trials: Vec<_> = listed
        .map(|mechanism| {
            let answer = match session.wrapped_length(&mechanism, wrapping_key, key) {
                None => Answer::NothingFollows(
                    "through this module the output of C_WrapKey cannot be left out".to_owned(),
                ),
                Some(Ok(0 | u64::MAX)) => {
                    Answer::NothingFollows("no length was answered".to_owned())
                }
                Some(Ok(length)) => {
                    Answer::Done(format!("a length of {length} bytes was answered"))
                }
                Some(Err(fault)) => of_fault(&fault, &WRAP),
            };
            let asked = format!("C_WrapKey by {}", mechanism.mechanism_type());
            Trial::new(asked, answer)
        })
        .collect();
    match trials.is_empty() {
        true => {
            let why = "no mechanism that this program knows, and the token lists, fits it";
            vec![Trial::new(
                "C_WrapKey",
                Answer::NothingFollows(why.to_owned()),
            )]
        }
        false => trials,
    }
}

/// What C_GetAttributeValue returns of a value that is not to be told.
const READ: [&str; 1] = ["CKR_ATTRIBUTE_SENSITIVE"];
/// What C_WrapKey returns of a key that is not to leave. CKR_KEY_NOT_WRAPPABLE is another matter: it says that
/// this key cannot be wrapped in this way.
const WRAP: [&str; 1] = ["CKR_KEY_UNEXTRACTABLE"];
/// What C_CopyObject and C_SetAttributeValue return of a change that is not allowed.
pub(super) const CHANGE: [&str; 3] = [
    "CKR_ATTRIBUTE_READ_ONLY",
    "CKR_ACTION_PROHIBITED",
    "CKR_TEMPLATE_INCONSISTENT",
];

/// Refused, where the token said so by one of these values. One that does not do this at all, or cannot do it
/// now, has not refused it to this key.
pub(super) fn of_fault(fault: &Fault, refusals: &[&str]) -> Answer {
    let said = fault.failure().ckr.unwrap_or_else(|| fault.to_string());
    match refusals.contains(&said.as_str()) {
        true => Answer::Refused(said),
        false => Answer::NothingFollows(said),
    }
}
